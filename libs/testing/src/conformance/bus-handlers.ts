import assert from 'node:assert/strict';
import { exponential } from '@event-bus/core';
import { COURSE_ARCHIVED, COURSE_CHANGED, app, course, finished } from './app.js';
import { range, type Chapter } from './world.js';

const quickly = exponential({ attempts: 5, firstMs: 50, maxMs: 200 });

export const busHandlers: Chapter = {
  name: 'bus: handlers',
  cases: [
    {
      name: 'two handlers of one event fail and retry apart',
      async run(world) {
        const transport = await world.open();
        const topic = await world.topic(transport);
        const { bus, heard } = app(world, topic, { retry: quickly });
        const runs = { good: 0, weak: 0 };
        bus.handle(COURSE_CHANGED, { id: 'good' }, () => void runs.good++);
        bus.handle(COURSE_CHANGED, { id: 'weak' }, () => {
          if (++runs.weak < 3) throw new Error('not yet');
        });
        await bus.start();

        await bus.send(COURSE_CHANGED, { course_key: course(1), revision: 1 });

        await world.eventually(
          () => heard.handled.length >= 2,
          () => `${heard.handled.length} of 2 handlers handled it`,
        );
        await finished(world, transport, topic, bus.service);
        assert.deepEqual(runs, { good: 1, weak: 3 });
        assert.deepEqual(
          heard.retrying.map(({ handler, attempt }) => [handler, attempt]),
          [
            ['weak', 1],
            ['weak', 2],
          ],
        );
        assert.deepEqual(heard.dead, []);
      },
    },
    {
      name: 'order per key holds while a record is being retried',
      async run(world) {
        const topic = await world.topic(await world.open());
        const { bus } = app(world, topic, { retry: quickly });
        const seen: string[] = [];
        let failures = 3;
        bus.handle(COURSE_CHANGED, { id: 'view' }, ({ course_key, revision }) => {
          if (course_key === course('slow') && revision === 0 && failures-- > 0) throw new Error('not yet');
          seen.push(`${course_key} ${revision}`);
        });
        await bus.start();

        for (const revision of range(5)) {
          for (const key of ['slow', 'fast']) await bus.send(COURSE_CHANGED, { course_key: course(key), revision });
        }

        await world.eventually(
          () => seen.length >= 10,
          () => `${seen.length} of 10 events were handled`,
        );
        for (const key of ['slow', 'fast']) {
          assert.deepEqual(
            seen.filter((each) => each.startsWith(`${course(key)} `)),
            range(5).map((revision) => `${course(key)} ${revision}`),
          );
        }
      },
    },
    {
      name: 'different keys run at once, one key never',
      async run(world) {
        const topic = await world.topic(await world.open(), { partitions: 1 });
        const { bus, heard } = app(world, topic);
        const running = new Map<string, number>();
        let most = 0;
        const together = world.gate();
        bus.handle(COURSE_CHANGED, { id: 'view' }, async ({ course_key }) => {
          const own = (running.get(course_key) ?? 0) + 1;
          assert.equal(own, 1, 'two of one key');
          running.set(course_key, own);
          most = Math.max(most, running.size);
          if (most === 8) together.open();
          await together.opened;
          running.delete(course_key);
        });
        await bus.start();

        for (const revision of range(3)) {
          for (const n of range(8)) await bus.send(COURSE_CHANGED, { course_key: course(n), revision });
        }

        await world.eventually(
          () => heard.handled.length >= 24,
          () => `${heard.handled.length} of 24 events were handled, at most ${most} at once`,
        );
        assert.deepEqual([most, heard.handled.length, heard.retrying.length], [8, 24, 0]);
      },
    },
    {
      name: 'a handler that never settles frees its lane at its timeout',
      async run(world) {
        const topic = await world.topic(await world.open());
        const { bus, heard } = app(world, topic, { retry: quickly });
        const seen: number[] = [];
        let reason: unknown;
        bus.handle(COURSE_CHANGED, { id: 'view', timeoutMs: 400 }, ({ revision }, { attempt, signal }) => {
          seen.push(revision);
          if (revision > 0 || attempt > 1) return undefined;
          signal.addEventListener('abort', () => (reason = signal.reason));
          return new Promise(() => {});
        });
        await bus.start();

        for (const revision of range(3)) await bus.send(COURSE_CHANGED, { course_key: course(1), revision });

        await world.eventually(
          () => heard.handled.length >= 3,
          () => `${heard.handled.length} of 3 events were handled`,
        );
        assert.deepEqual(seen, [0, 0, 1, 2]);
        assert.equal((reason as { code?: string }).code, 'BUS_HANDLER_TIMEOUT');
      },
    },
    {
      name: 'a handler switched off stops, the others go on, and nothing is skipped',
      async run(world) {
        const transport = await world.open();
        const topic = await world.topic(transport);
        const { bus } = app(world, topic);
        const seen: Record<string, number[]> = { view: [], audit: [] };
        for (const id of ['view', 'audit']) {
          bus.handle(COURSE_CHANGED, { id }, ({ revision }) => void seen[id]!.push(revision));
        }
        await bus.start();
        bus.pause('view');

        for (const revision of range(10)) await bus.send(COURSE_CHANGED, { course_key: course(1), revision });
        await world.eventually(
          () => seen['audit']!.length >= 10,
          () => `${seen['audit']!.length} of 10 events were handled by the other handler`,
        );
        assert.deepEqual(seen['view'], []);
        bus.resume('view');

        await finished(world, transport, topic, bus.service);
        assert.deepEqual(seen, { view: range(10), audit: range(10) });
      },
    },
    {
      name: 'an event of another type is skipped and counted',
      async run(world) {
        const transport = await world.open();
        const topic = await world.topic(transport);
        const { bus, heard } = app(world, topic);
        bus.handle(COURSE_CHANGED, { id: 'view' }, () => {});
        await bus.start();

        for (const n of range(5)) await bus.send(COURSE_ARCHIVED, { course_key: course(n) });
        await bus.send(COURSE_CHANGED, { course_key: course(1), revision: 1 });

        await world.eventually(
          () => heard.handled.length > 0,
          () => 'the wanted event was not handled',
        );
        await finished(world, transport, topic, bus.service);
        assert.deepEqual(
          heard.skipped.map(({ eventType, rule }) => [eventType, rule]),
          range(5).map(() => [COURSE_ARCHIVED.type, 'no-handler']),
        );
        assert.equal(heard.handled.length, 1);
        assert.deepEqual(heard.dead, []);
      },
    },
    {
      name: 'groups handle apart: one that lags holds nobody up',
      async run(world) {
        const transport = await world.open();
        const topic = await world.topic(transport);
        const { bus, heard } = app(world, topic);
        const gate = world.gate();
        const slow = world.name('slow');
        bus.handle(COURSE_CHANGED, { id: 'view' }, () => {});
        bus.handle(COURSE_CHANGED, { id: 'index', group: slow }, () => gate.opened);
        await bus.start();

        for (const revision of range(5)) await bus.send(COURSE_CHANGED, { course_key: course(1), revision });
        await finished(world, transport, topic, bus.service);
        assert.deepEqual(
          heard.handled.map(({ handler }) => handler),
          range(5).map(() => 'view'),
        );
        gate.open();

        await finished(world, transport, topic, slow);
        assert.equal(heard.handled.length, 10);
      },
    },
  ],
};
