import assert from 'node:assert/strict';
import { isBusError } from '@event-bus/core';
import { COURSE_ARCHIVED, COURSE_CHANGED, app, course, gated, headersOf, logOf } from './app.js';
import { range, type Chapter } from './world.js';

export const busPublish: Chapter = {
  name: 'bus: publish',
  cases: [
    {
      name: 'a send resolves with the metadata and the place of its record',
      async run(world) {
        const transport = await world.open();
        const topic = await world.topic(transport);
        const { bus } = app(world, topic);

        const sent = await bus.send(
          COURSE_CHANGED,
          { course_key: course(1), revision: 7 },
          { headers: { tenant: 'ünï' } },
        );

        const log = await logOf(transport, topic);
        assert.deepEqual(
          log.map(({ partition, offset }) => ({ topic, partition, offset })),
          sent.records,
        );
        const { metadata, headers } = transport.codec.metadata(log[0]!);
        assert.deepEqual(metadata, sent.event);
        assert.equal(headers['tenant'], 'ünï');
        assert.equal(sent.event.type, COURSE_CHANGED.type);
        assert.deepEqual(await transport.codec.decode(COURSE_CHANGED, log[0]!), {
          course_key: course(1),
          revision: 7,
          title: null,
        });
      },
    },
    {
      name: 'events of one key are stored in the order of the sends',
      async run(world) {
        const transport = await world.open();
        const topic = await world.topic(transport);
        const { bus } = app(world, topic);

        await Promise.all(
          range(100).flatMap((revision) =>
            [1, 2, 3].map((n) => bus.send(COURSE_CHANGED, { course_key: course(n), revision })),
          ),
        );

        const revisions = new Map<string, number[]>();
        for (const record of await logOf(transport, topic)) {
          const data = (await transport.codec.decode(COURSE_CHANGED, record)) as {
            course_key: string;
            revision: number;
          };
          revisions.set(data.course_key, [...(revisions.get(data.course_key) ?? []), data.revision]);
        }
        assert.equal(revisions.size, 3);
        for (const own of revisions.values()) assert.deepEqual(own, range(100));
      },
    },
    {
      name: 'an event that does not match its schema is refused, and nothing is stored',
      async run(world) {
        const transport = await world.open();
        const topic = await world.topic(transport);
        const { bus } = app(world, topic);

        const wrong = bus.send(COURSE_CHANGED, { course_key: course(1), revision: 1.5 });

        await assert.rejects(wrong, (error) => isBusError(error, 'BUS_EVENT_INVALID'));
        assert.deepEqual(await logOf(transport, topic), []);
      },
    },
    {
      name: 'a full buffer waits, then rejects at its deadline with nothing stored',
      async run(world) {
        const transport = await world.open();
        const topic = await world.topic(transport);
        const gate = world.gate();
        const { bus } = app(world, topic, {
          buffer: { records: 1 },
          transport: gated(world.make(), (name) => name === topic, gate.opened),
        });
        await bus.open();

        const first = bus.send(COURSE_CHANGED, { course_key: course(1), revision: 1 });
        const second = bus.send(COURSE_CHANGED, { course_key: course(2), revision: 1 }, { deadlineMs: 300 });
        await assert.rejects(
          second,
          (error) => isBusError(error, 'BUS_BUFFER_FULL') && error.details['outcome'] === 'not-stored',
        );
        gate.open();
        await first;

        await bus.send(COURSE_CHANGED, { course_key: course(3), revision: 1 });
        assert.equal((await logOf(transport, topic)).length, 2);
      },
    },
    {
      name: 'a record that is stored twice has the same event id twice',
      faults: ['cut'],
      async run(world) {
        const transport = await world.open();
        const topic = await world.topic(transport);
        const { bus } = app(world, topic);
        await bus.send(COURSE_CHANGED, { course_key: course(1), revision: 0 });

        const sending = range(50).map((n) => bus.send(COURSE_CHANGED, { course_key: course(n % 5), revision: n + 1 }));
        await world.faults.cut();
        const sent = await Promise.allSettled(sending);

        const ids = new Map<number, Set<string>>();
        for (const record of await logOf(transport, topic)) {
          const { revision } = (await transport.codec.decode(COURSE_CHANGED, record)) as { revision: number };
          ids.set(revision, (ids.get(revision) ?? new Set()).add(transport.codec.metadata(record).metadata.id));
        }
        for (const [revision, own] of ids) assert.equal(own.size, 1, `revision ${revision} has ${own.size} ids`);
        for (const [index, result] of sent.entries()) {
          if (result.status === 'fulfilled') assert.deepEqual([...(ids.get(index + 1) ?? [])], [result.value.event.id]);
          else assert.ok(isBusError(result.reason), String(result.reason));
        }
      },
    },
    {
      name: 'an event sent by a handler names its cause and where the chain began',
      async run(world) {
        const transport = await world.open();
        const topic = await world.topic(transport);
        const { bus } = app(world, topic);
        const causes: unknown[] = [];
        bus.handle(COURSE_CHANGED, { id: 'archive' }, async ({ course_key }) => {
          await bus.send(COURSE_ARCHIVED, { course_key });
        });
        bus.handle(COURSE_ARCHIVED, { id: 'view' }, (_, { headers }) => {
          causes.push([headers['causationid'], headers['correlationid']]);
        });
        await bus.start();

        const { event } = await bus.send(COURSE_CHANGED, { course_key: course(1), revision: 1 });

        await world.eventually(
          () => causes.length > 0,
          () => 'the second event did not arrive',
        );
        assert.deepEqual(causes, [[event.id, event.id]]);
        const log = await logOf(transport, topic);
        assert.equal(log.length, 2);
        assert.equal(
          headersOf(log.find((record) => transport.codec.eventType(record) === COURSE_ARCHIVED.type)!)['causationid'],
          event.id,
        );
      },
    },
  ],
};
