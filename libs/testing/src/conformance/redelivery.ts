import assert from 'node:assert/strict';
import { numbersOf, publish, range, record, type Chapter } from './world.js';

export const redelivery: Chapter = {
  name: 'redelivery',
  cases: [
    {
      name: 'what was not committed comes back, in the same order',
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const topic = await fresh(transport);
        const group = name('catalog');
        const keys = ['a', 'b', 'c'];
        await publish(
          transport,
          topic,
          range(20).flatMap((n) => keys.map((key) => record(key, n))),
        );
        const first = await join(transport, { topics: [topic], group, commitsOnRevoke: false });
        await eventually(
          () => first.records.length >= 60,
          () => `${first.records.length} of 60 records arrived`,
        );
        await first.subscription.stop();

        const second = await join(await open(), { topics: [topic], group });

        await eventually(
          () => second.records.length >= 60,
          () => `${second.records.length} of 60 records came back`,
        );
        assert.equal(second.records.length, 60);
        for (const key of keys) assert.deepEqual(numbersOf(second.records, key), range(20));
      },
    },
    {
      name: 'the receiver may change the array it was given',
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const topic = await fresh(transport);
        const group = name('catalog');
        const first = await join(transport, {
          topics: [topic],
          group,
          commitsOnRevoke: false,
          receive: ({ records }) => void records.splice(0),
        });
        await publish(
          transport,
          topic,
          range(60).map((n) => record(`course-${n % 6}`, n)),
        );
        await eventually(
          () => first.records.length >= 60,
          () => `${first.records.length} of 60 records arrived`,
        );
        assert.equal(first.records.length, 60);
        await first.subscription.stop();

        const second = await join(transport, {
          topics: [topic],
          group,
          receive: ({ records }) => void records.reverse(),
        });
        await eventually(
          () => second.records.length >= 60,
          () => `${second.records.length} of 60 records came back`,
        );
        assert.equal(second.records.length, 60);
        await eventually(
          async () => {
            await second.commit();
            const positions = await transport.positions({ topic, group });
            return positions.every(({ committed, start, end }) => committed === end || start === end);
          },
          () => 'the positions did not reach the end',
        );
      },
    },
  ],
};
