import assert from 'node:assert/strict';
import { deadLetterTopic, exponential, isBusError } from '@event-bus/core';
import { COURSE_CHANGED, app, course, finished, logOf } from './app.js';
import { range, type Chapter } from './world.js';

export const busStop: Chapter = {
  name: 'bus: stop',
  cases: [
    {
      name: 'running handlers finish, then their work is committed',
      async run(world) {
        const transport = await world.open();
        const topic = await world.topic(transport);
        const service = world.name('catalog');
        const first = app(world, topic, { service, commitIntervalMs: 60_000 });
        first.bus.handle(COURSE_CHANGED, { id: 'view' }, () => new Promise((resolve) => setTimeout(resolve, 500)));
        await first.bus.start();
        for (const n of range(8)) await first.bus.send(COURSE_CHANGED, { course_key: course(n), revision: 1 });
        await world.eventually(
          () => first.heard.delivered.length >= 8,
          () => `${first.heard.delivered.length} of 8 handlers run`,
        );

        await first.bus.stop();

        assert.deepEqual([first.heard.handled.length, first.heard.interrupted.length], [8, 0]);
        await first.bus.send(COURSE_CHANGED, { course_key: course(9), revision: 1 });
        const second = app(world, topic, { service });
        second.bus.handle(COURSE_CHANGED, { id: 'view' }, () => {});
        await second.bus.start();
        await finished(world, transport, topic, service);
        assert.equal(second.heard.handled.length, 1);
      },
    },
    {
      name: 'a handler over the deadline is interrupted and runs again elsewhere, and that is not an attempt',
      async run(world) {
        const transport = await world.open();
        const topic = await world.topic(transport);
        const service = world.name('catalog');
        const options = { service, stopTimeoutMs: 500, retry: exponential({ attempts: 1 }) };
        const first = app(world, topic, options);
        let reason: unknown;
        first.bus.handle(COURSE_CHANGED, { id: 'view' }, (_, { signal }) => {
          signal.addEventListener('abort', () => (reason = signal.reason));
          return new Promise(() => {});
        });
        await first.bus.start();
        await first.bus.send(COURSE_CHANGED, { course_key: course(1), revision: 1 });
        await world.eventually(
          () => first.heard.delivered.length > 0,
          () => 'the handler did not start',
        );

        await first.bus.stop();

        assert.ok(isBusError(reason, 'BUS_INTERRUPTED'));
        assert.equal(first.heard.interrupted.length, 1);
        const second = app(world, topic, options);
        second.bus.handle(COURSE_CHANGED, { id: 'view' }, () => {});
        await second.bus.start();
        await finished(world, transport, topic, service);
        assert.deepEqual(
          second.heard.handled.map(({ attempt }) => attempt),
          [1],
        );
        assert.deepEqual(await logOf(transport, deadLetterTopic(topic, service)), []);
      },
    },
    {
      name: 'a member that leaves hands its work over without handling it twice',
      async run(world) {
        const transport = await world.open();
        const topic = await world.topic(transport, { partitions: 4 });
        const service = world.name('catalog');
        const apps = range(2).map(() => app(world, topic, { service }));
        const seen: string[] = [];
        for (const { bus } of apps) {
          bus.handle(COURSE_CHANGED, { id: 'view' }, async ({ course_key, revision }) => {
            await new Promise((resolve) => setTimeout(resolve, 10));
            seen.push(`${course_key} ${revision}`);
          });
          await bus.start();
        }
        const [first, second] = apps.map(({ bus }) => bus) as [(typeof apps)[0]['bus'], (typeof apps)[0]['bus']];
        const held = () => apps.map(({ bus }) => bus.status().consumers[0]!.subscription?.partitions.length ?? 0);
        await world.eventually(
          () => held().every((count) => count > 0),
          () => `the members hold ${held().join(' and ')} partitions`,
        );

        const sending = (async () => {
          for (const revision of range(20)) {
            for (const n of range(8)) await first.send(COURSE_CHANGED, { course_key: course(n), revision });
          }
        })();
        await world.eventually(
          () => seen.length > 40,
          () => `${seen.length} events were handled`,
        );
        await second.close();
        await sending;

        await finished(world, transport, topic, service);
        assert.equal(seen.length, 160);
        for (const n of range(8)) {
          const own = seen.filter((each) => each.startsWith(`${course(n)} `));
          assert.deepEqual(
            own,
            range(20).map((revision) => `${course(n)} ${revision}`),
          );
        }
      },
    },
    {
      name: 'closing settles what is being sent, and refuses what comes later by code',
      async run(world) {
        const transport = await world.open();
        const topic = await world.topic(transport);
        const { bus } = app(world, topic);
        await bus.open();
        const sending = range(20).map((revision) => bus.send(COURSE_CHANGED, { course_key: course(1), revision }));

        await Promise.all([bus.close(), bus.close()]);

        const sent = (await Promise.allSettled(sending)).filter(({ status }) => status === 'fulfilled');
        assert.equal((await logOf(transport, topic)).length, sent.length);
        assert.equal(sent.length, 20);
        const late = bus.send(COURSE_CHANGED, { course_key: course(1), revision: 20 });
        await assert.rejects(late, (error) => isBusError(error, 'BUS_CLOSED'));
      },
    },
  ],
};
