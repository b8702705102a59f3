import assert from 'node:assert/strict';
import { assertOnce, numbersOf, publish, range, record, type Chapter } from './world.js';

export const volume: Chapter = {
  name: 'volume',
  cases: [
    {
      name: '10 000 records over 16 keys keep their order',
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const topic = await fresh(transport);
        const member = await join(transport, { topics: [topic], group: name('catalog') });
        const keys = range(16).map((n) => `course-${n}`);

        const sending = range(25).map((round) =>
          publish(
            transport,
            topic,
            range(25).flatMap((n) => keys.map((key) => record(key, round * 25 + n))),
          ),
        );
        await Promise.all(sending);

        await eventually(
          () => member.records.length >= 10_000,
          () => `${member.records.length} of 10000 records arrived`,
        );
        assert.equal(member.records.length, 10_000);
        for (const key of keys) assert.deepEqual(numbersOf(member.records, key), range(625));
      },
    },
    {
      name: '20 groups each get all',
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const topic = await fresh(transport, { partitions: 2 });
        const group = name('catalog');
        const members = await Promise.all(
          range(20).map((n) => join(transport, { topics: [topic], group: `${group}-${n}` })),
        );

        await publish(
          transport,
          topic,
          range(50).map((n) => record(`course-${n}`, n)),
        );

        await eventually(
          () => members.every(({ records }) => records.length >= 50),
          () => `${members.filter(({ records }) => records.length < 50).length} groups did not get all`,
        );
        for (const { records } of members) {
          assert.equal(records.length, 50);
          assertOnce(records);
        }
      },
    },
    {
      name: '20 topics at once',
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const topics: string[] = [];
        for (const _ of range(20)) topics.push(await fresh(transport, { partitions: 2 }));
        const member = await join(transport, { topics, group: name('catalog') });

        await Promise.all(
          topics.map((topic) =>
            publish(
              transport,
              topic,
              range(25).map((n) => record(topic, n)),
            ),
          ),
        );

        await eventually(
          () => member.records.length >= 500,
          () => `${member.records.length} of 500 records arrived`,
        );
        assert.equal(member.records.length, 500);
        for (const topic of topics) assert.deepEqual(numbersOf(member.records, topic), range(25));
      },
    },
  ],
};
