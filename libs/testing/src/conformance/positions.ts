import assert from 'node:assert/strict';
import type { PartitionPositions } from '@event-bus/core';
import { publish, range, record, type Chapter } from './world.js';

export const positions: Chapter = {
  name: 'positions',
  cases: [
    {
      name: 'start, end, committed and lag agree with what was published',
      needs: ['lagExact'],
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const topic = await fresh(transport, { partitions: 4 });
        const group = name('catalog');
        const places = await publish(
          transport,
          topic,
          range(64).map((n) => record(`course-${n}`, n)),
        );
        const member = await join(transport, { topics: [topic], group, commitsOnRevoke: false });
        await eventually(
          () => member.records.length >= 64,
          () => `${member.records.length} of 64 records arrived`,
        );
        const own = member.records.filter(({ partition }) => partition === 1);

        await member.send([{ topic, partition: 1, position: own[3]!.offset, ahead: [] }]);

        const found = await transport.positions({ topic, group });
        assert.deepEqual(
          found.map(({ partition }) => partition),
          range(4),
        );
        assert.ok(found.every((each) => each.topic === topic));
        assert.equal(found[1]!.committed, own[3]!.offset);
        assert.equal(found[1]!.lag, own.length - 3);
        const counts = await Promise.all(found.map(async (each) => countFrom(each)));
        assert.deepEqual(
          counts,
          range(4).map((partition) => places.filter((each) => each.partition === partition).length),
        );

        async function countFrom({ partition, start, end }: PartitionPositions): Promise<number> {
          let count = 0;
          const bounds = { from: { offset: start! }, to: { offset: end! } };
          for await (const each of transport.read({ topic, partition, ...bounds }))
            count += each.partition === partition ? 1 : 99;
          return count;
        }
      },
    },
    {
      name: 'lag is 0 only when nothing is left',
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const topic = await fresh(transport, { partitions: 1 });
        const group = name('catalog');
        await publish(
          transport,
          topic,
          range(10).map((n) => record('a', n)),
        );
        const member = await join(transport, { topics: [topic], group, commitsOnRevoke: false });
        await eventually(
          () => member.records.length >= 10,
          () => `${member.records.length} of 10 records arrived`,
        );
        const lag = async () => (await transport.positions({ topic, group }))[0]!.lag;

        await member.send([{ topic, partition: 0, position: member.records[9]!.offset, ahead: [] }]);
        assert.notEqual(await lag(), 0);
        await member.commit();
        assert.equal(await lag(), 0);
        await publish(transport, topic, [record('a', 10)]);
        assert.notEqual(await lag(), 0);
      },
    },
    {
      name: 'unknown lag is undefined, never 0',
      async run({ open, topic: fresh, name }) {
        const transport = await open();
        const topic = await fresh(transport);
        await publish(
          transport,
          topic,
          range(40).map((n) => record(`course-${n}`, n)),
        );

        for (const { lag, start, end } of await transport.positions({ topic, group: name('nobody') })) {
          if (start !== end) assert.notEqual(lag, 0);
        }
        for (const { lag, committed } of await transport.positions({ topic }))
          assert.deepEqual([lag, committed], [undefined, undefined]);
      },
    },
    {
      name: 'an unknown group is told apart from one at the start',
      async run({ open, topic: fresh, name }) {
        const transport = await open();
        const topic = await fresh(transport);
        const group = name('catalog');
        await publish(
          transport,
          topic,
          range(40).map((n) => record(`course-${n}`, n)),
        );
        await transport.seek({ topic, group, to: 'start' });

        const known = await transport.positions({ topic, group });
        const unknown = await transport.positions({ topic, group: name('nobody') });

        assert.deepEqual(
          known.map(({ committed }) => committed),
          known.map(({ start }) => start),
        );
        assert.deepEqual(
          unknown.map(({ committed }) => committed),
          unknown.map(() => undefined),
        );
      },
    },
  ],
};
