import assert from 'node:assert/strict';
import { createHook } from 'node:async_hooks';
import { isBusError } from '@event-bus/core';
import { all, numbersOf, publish, range, record, valuesOf, type Chapter, type World } from './world.js';

export const close: Chapter = {
  name: 'close',
  cases: [
    {
      name: 'closing waits for what is in hand',
      async run({ open, topic: fresh }) {
        const transport = await open();
        const topic = await fresh(transport, { partitions: 1 });
        const settled: string[] = [];
        const sending = range(20).map((n) =>
          transport.publish(topic, [record('a', n)]).then(([outcome]) => settled.push(outcome!.status)),
        );

        await transport.close();

        assert.equal(settled.length, 20);
        await Promise.all(sending);
        const stored = settled.filter((status) => status === 'stored').length;
        const reader = await open();
        assert.ok((await all(reader.read({ topic }))).length >= stored);
      },
    },
    {
      name: 'closing stops what is subscribed, and keeps what is committed',
      async run({ open, topic: fresh, name, join, eventually }) {
        const [one, other] = [await open(), await open()];
        const topic = await fresh(one);
        const group = name('catalog');
        await publish(
          one,
          topic,
          range(20).map((n) => record('a', n)),
        );
        const first = await join(one, { topics: [topic], group });
        await eventually(
          () => first.records.length >= 20,
          () => `${first.records.length} of 20 records arrived`,
        );

        await one.close();
        await first.subscription.stop();

        assert.equal(first.held.size, 0);
        assert.equal(first.subscription.status().state, 'stopped');
        await publish(other, topic, [record('a', 20)]);
        const second = await join(other, { topics: [topic], group });
        await eventually(
          () => second.records.length > 0,
          () => 'the next record did not arrive',
        );
        assert.deepEqual(numbersOf(second.records, 'a'), [20]);
      },
    },
    {
      name: 'closing twice is harmless, and so is closing what was never opened',
      async run({ open, make }) {
        const transport = await open();
        await Promise.all([transport.close(), transport.close()]);
        await transport.close();
        await make().close();
      },
    },
    {
      name: 'opening twice is one opening',
      async run({ open, topic: fresh }) {
        const transport = await open();
        await Promise.all([transport.open(), transport.open()]);
        const topic = await fresh(transport);
        await publish(transport, topic, [record('a', 1)]);
        assert.deepEqual(valuesOf(await all(transport.read({ topic }))), ['a:1']);
      },
    },
    {
      name: 'publishing after the close is refused by code',
      async run({ open, topic: fresh }) {
        const transport = await open();
        const topic = await fresh(transport);
        await transport.close();
        await assert.rejects(transport.publish(topic, [record('a', 1)]), (error) => isBusError(error, 'BUS_CLOSED'));
        await assert.rejects(transport.topics(), (error) => isBusError(error, 'BUS_CLOSED'));
      },
    },
    {
      name: 'no timer or socket stays behind',
      isAlone: true,
      async run({ open, topic: fresh, name, join, eventually, cleanup, patienceMs }) {
        const before = count();
        const timers = watchTimers(cleanup);
        const transport = await open();
        const topic = await fresh(transport);
        const member = await join(transport, { topics: [topic], group: name('catalog') });
        await publish(transport, topic, [record('a', 1)]);
        await eventually(
          () => member.records.length > 0,
          () => 'the record did not arrive',
        );
        await member.commit();

        await transport.close();

        const left = () =>
          [...count()].filter(([kind, number]) => number > (before.get(kind) ?? 0)).map(([kind]) => kind);
        // A socket takes a moment to go; a timer that ends by itself later was left behind all the same.
        const end = performance.now() + patienceMs / 20;
        while (left().length + timers.left() > 0 && performance.now() < end) await timers.pause(10);
        assert.deepEqual([left(), timers.left()], [[], 0], 'more than before is open; timers');
      },
    },
  ],
};

/** What keeps this process alive besides timers, by kind. */
function count(): Map<string, number> {
  const kinds = new Map<string, number>();
  for (const kind of process.getActiveResourcesInfo())
    if (kind !== 'Timeout') kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  return kinds;
}

/** Timers made from now on that keep this process alive. Those of earlier cases run out meanwhile, so that counting would tell nothing. */
function watchTimers(cleanup: World['cleanup']) {
  const timers = new Map<number, NodeJS.Timeout>();
  const own = new Set<NodeJS.Timeout>();
  const hook = createHook({
    init: (id, type, _trigger, timer) => void (type === 'Timeout' && timers.set(id, timer as NodeJS.Timeout)),
    destroy: (id) => void timers.delete(id),
  }).enable();
  cleanup(async () => void hook.disable());
  return {
    left: () => [...timers.values()].filter((timer) => timer.hasRef() && !own.has(timer)).length,
    pause: (ms: number) => new Promise<void>((resolve) => void own.add(setTimeout(resolve, ms))),
  };
}
