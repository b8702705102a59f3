import assert from 'node:assert/strict';
import { NonRetryable, deadLetterTopic, exponential, type StoredRecord } from '@event-bus/core';
import { COURSE_CHANGED, app, course, finished, gated, headersOf, logOf } from './app.js';
import { publish, range, type Chapter } from './world.js';

export const busFailures: Chapter = {
  name: 'bus: failures',
  cases: [
    {
      name: 'a dead letter keeps key, value and headers byte for byte, and says why',
      async run(world) {
        const transport = await world.open();
        const topic = await world.topic(transport);
        const { bus, heard } = app(world, topic, { retry: exponential({ attempts: 3, firstMs: 20, maxMs: 50 }) });
        bus.handle(COURSE_CHANGED, { id: 'view' }, () => {
          throw new TypeError('broken view');
        });
        bus.handle(COURSE_CHANGED, { id: 'audit' }, () => {});
        await bus.start();

        await bus.send(COURSE_CHANGED, { course_key: course(1), revision: 1 }, { headers: { tenant: 'ünï' } });

        await finished(world, transport, topic, bus.service);
        const [original] = await logOf(transport, topic);
        const letters = await logOf(transport, deadLetterTopic(topic, bus.service));
        assert.equal(letters.length, 1);
        const [letter] = letters;
        assert.deepEqual(Buffer.from(letter!.key!), Buffer.from(original!.key!));
        assert.deepEqual(Buffer.from(letter!.value!), Buffer.from(original!.value!));
        const plain = (headers: StoredRecord['headers']) =>
          headers.map(([name, value]) => [name, Buffer.from(value).toString('hex')]);
        assert.deepEqual(plain(letter!.headers).slice(0, original!.headers.length), plain(original!.headers));
        const { 'dead-first': first, 'dead-last': last, ...facts } = headersOf(letter!);
        assert.deepEqual(Object.fromEntries(Object.entries(facts).filter(([name]) => name.startsWith('dead-'))), {
          'dead-reason': 'BUS_HANDLER_FAILED',
          'dead-error': 'TypeError',
          'dead-message': 'broken view',
          'dead-handler': 'view',
          'dead-group': bus.service,
          'dead-attempts': '3',
          'dead-topic': topic,
          'dead-partition': String(original!.partition),
          'dead-offset': original!.offset,
          'dead-timestamp': String(original!.timestamp),
        });
        assert.ok(Date.parse(first!) <= Date.parse(last!));
        assert.deepEqual([heard.dead.length, heard.retrying.length], [1, 2]);
      },
    },
    {
      name: 'a dead letter is written before the original is committed, and its key waits for it',
      async run(world) {
        const transport = await world.open();
        const topic = await world.topic(transport);
        const gate = world.gate();
        const { bus, heard } = app(world, topic, {
          transport: gated(world.make(), (name) => name !== topic, gate.opened),
        });
        const seen: string[] = [];
        bus.handle(COURSE_CHANGED, { id: 'view' }, ({ course_key, revision }) => {
          if (course_key === course('bad') && revision === 0) throw new NonRetryable('never');
          seen.push(`${course_key} ${revision}`);
        });
        await bus.start();

        const { records } = await bus.send(COURSE_CHANGED, { course_key: course('bad'), revision: 0 });
        await bus.send(COURSE_CHANGED, { course_key: course('good'), revision: 0 });
        for (const key of ['bad', 'good']) await bus.send(COURSE_CHANGED, { course_key: course(key), revision: 1 });
        await world.eventually(
          () => seen.length >= 2,
          () => `${seen.length} of 2 events of the other key were handled`,
        );
        // Several turns of the commit go by.
        await new Promise((resolve) => setTimeout(resolve, 1_000));
        assert.deepEqual(seen, [`${course('good')} 0`, `${course('good')} 1`]);
        const before = (await transport.positions({ topic, group: bus.service }))[records[0]!.partition]!;
        assert.notEqual(before.committed, before.end);
        assert.deepEqual(heard.dead, []);

        gate.open();
        await finished(world, transport, topic, bus.service);
        assert.equal((await logOf(transport, deadLetterTopic(topic, bus.service))).length, 1);
        assert.deepEqual(seen.slice(2), [`${course('bad')} 1`]);
      },
    },
    {
      name: 'an undecodable record is one dead letter, and the others go on',
      async run(world) {
        const transport = await world.open();
        const topic = await world.topic(transport, { partitions: 1 });
        const { bus, heard } = app(world, topic);
        bus.handle(COURSE_CHANGED, { id: 'view' }, () => {});
        bus.handle(COURSE_CHANGED, { id: 'audit' }, () => {});
        await bus.send(COURSE_CHANGED, { course_key: course(1), revision: 1 });
        const [good] = await logOf(transport, topic);

        const { key, headers } = good!;
        const bad = [
          { key, value: Buffer.from([1]), headers },
          { key, value: null, headers },
          { key, value: good!.value, headers: [] },
          { key: null, value: good!.value, headers: [...headers, ...headers] },
        ];
        await publish(transport, topic, bad);
        await bus.send(COURSE_CHANGED, { course_key: course(1), revision: 2 });
        await bus.start();

        await finished(world, transport, topic, bus.service);
        assert.equal(heard.handled.length, 4);
        const letters = await logOf(transport, deadLetterTopic(topic, bus.service));
        assert.equal(letters.length, bad.length);
        for (const letter of letters) {
          const { 'dead-reason': code, 'dead-handler': handler } = headersOf(letter);
          assert.ok(code === 'BUS_DECODE_FAILED' || code === 'BUS_SCHEMA_UNKNOWN', code);
          assert.equal(handler, '');
        }
      },
    },
    {
      name: 'a registry that is down is a pause, not a dead letter',
      faults: ['registryDown'],
      async run(world) {
        const transport = await world.open();
        const topic = await world.topic(transport);
        const sender = app(world, topic);
        for (const revision of range(3)) await sender.bus.send(COURSE_CHANGED, { course_key: course(1), revision });

        const { bus, heard } = app(world, topic);
        bus.handle(COURSE_CHANGED, { id: 'view' }, () => {});
        const restore = await world.faults.registryDown();
        try {
          await bus.start();
          await world.eventually(
            () => heard.paused.some(({ reason }) => reason === 'registry'),
            () => 'nobody said that the registry is down',
          );
          assert.deepEqual([heard.handled.length, heard.dead.length], [0, 0]);
        } finally {
          await restore();
        }

        await finished(world, transport, topic, bus.service);
        assert.deepEqual([heard.handled.length, heard.dead.length], [3, 0]);
      },
    },
    {
      name: 'a downstream outage does not fill the dead letters, and ends with the first success',
      async run(world) {
        const transport = await world.open();
        const topic = await world.topic(transport);
        const { bus, heard } = app(world, topic, {
          breakerAfter: 5,
          retry: exponential({ attempts: 5, firstMs: 20, maxMs: 50 }),
        });
        let isDown = true;
        bus.handle(COURSE_CHANGED, { id: 'view' }, () => {
          if (isDown) throw new Error('the database is away');
        });
        await bus.open();
        // All there before the first is handled: one by one, the first could use up its attempts before the breaker opens.
        for (const n of range(50)) await bus.send(COURSE_CHANGED, { course_key: course(n), revision: 1 });
        await bus.start();
        await world.eventually(
          () => bus.status().consumers[0]!.brokenHandlers.includes('view'),
          () => 'the breaker did not open',
        );
        const before = heard.delivered.length;
        await new Promise((resolve) => setTimeout(resolve, 1_500));
        assert.ok(
          heard.delivered.length - before < 20,
          `${heard.delivered.length - before} attempts in 1.5 s of outage`,
        );
        isDown = false;

        await finished(world, transport, topic, bus.service);
        assert.deepEqual([heard.handled.length, heard.dead.length], [50, 0]);
        assert.deepEqual(bus.status().consumers[0]!.brokenHandlers, []);
      },
    },
    {
      name: 'a handler that says no is believed at once',
      async run(world) {
        const transport = await world.open();
        const topic = await world.topic(transport);
        const { bus, heard } = app(world, topic);
        bus.handle(COURSE_CHANGED, { id: 'view' }, () => {
          throw new NonRetryable('the course is frozen');
        });
        await bus.start();

        await bus.send(COURSE_CHANGED, { course_key: course(1), revision: 1 });

        await finished(world, transport, topic, bus.service);
        assert.deepEqual(
          heard.dead.map(({ handler, attempts, reason }) => [handler, attempts, reason]),
          [['view', 1, 'BUS_HANDLER_REFUSED']],
        );
        assert.deepEqual(heard.retrying, []);
      },
    },
  ],
};
