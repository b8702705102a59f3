import assert from 'node:assert/strict';
import { isBusError } from '@event-bus/core';
import { all, numbersOf, publish, range, record, valuesOf, type Chapter } from './world.js';

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
      async run({ open, topic: fresh, name, join, eventually }) {
        const before = count();
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
        await eventually(
          () => left().length === 0,
          () => `more than before is open: ${left().join(', ')}`,
        );
      },
    },
  ],
};

/** What keeps this process alive, by kind. */
function count(): Map<string, number> {
  const kinds = new Map<string, number>();
  // The waiting of the case itself is a timer.
  for (const kind of process.getActiveResourcesInfo())
    if (kind !== 'Timeout') kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  const timers = process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
  return kinds.set('Timeout', timers);
}
