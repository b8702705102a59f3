import assert from 'node:assert/strict';
import { isBusError, type BusErrorCode, type SeekPosition, type Transport } from '@event-bus/core';
import { all, numbersOf, publish, range, record, type Chapter } from './world.js';

export const seek: Chapter = {
  name: 'seek',
  cases: [
    {
      name: 'a running group is not moved',
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const topic = await fresh(transport, { partitions: 1 });
        const group = name('catalog');
        await publish(
          transport,
          topic,
          range(5).map((n) => record('a', n)),
        );
        const member = await join(transport, { topics: [topic], group });
        await eventually(
          () => member.records.length >= 5,
          () => `${member.records.length} of 5 records arrived`,
        );
        await member.commit();

        await assert.rejects(transport.seek({ topic, group, to: 'start' }), (error) => isBusError(error, 'BUS_BUSY'));

        const [position] = await transport.positions({ topic, group });
        assert.equal(position!.committed, position!.end);
      },
    },
    {
      name: 'a stopped group goes to an offset, the start or the end, and its next start obeys',
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const topic = await fresh(transport, { partitions: 1 });
        const group = name('catalog');
        const places = await publish(
          transport,
          topic,
          range(10).map((n) => record('a', n)),
        );
        const first = await join(transport, { topics: [topic], group });
        await eventually(
          () => first.records.length >= 10,
          () => `${first.records.length} of 10 records arrived`,
        );
        await first.subscription.stop();

        let published = 10;
        const readsFrom = async (to: SeekPosition, expected: number) => {
          await transport.seek({ topic, group, to });
          await publish(transport, topic, [record('a', published++)]);
          const member = await join(transport, { topics: [topic], group });
          const wanted = range(published).slice(expected);
          await eventually(
            () => member.records.length >= wanted.length,
            () => `${member.records.length} of ${wanted.length} records arrived`,
          );
          await member.subscription.stop();
          assert.deepEqual(numbersOf(member.records, 'a'), wanted);
        };
        await readsFrom({ offset: places[6]!.offset }, 6);
        await readsFrom('start', 0);
        await readsFrom('end', published);
      },
    },
    {
      name: 'a stopped group goes to a time',
      needs: ['seekByTime'],
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const topic = await fresh(transport, { partitions: 1 });
        const group = name('catalog');
        await publish(
          transport,
          topic,
          range(5).map((n) => record('a', n)),
        );
        await new Promise((resolve) => setTimeout(resolve, 50));
        const [later] = await publish(
          transport,
          topic,
          range(5).map((n) => record('a', n + 5)),
        );
        const time = (await all(transport.read({ topic }))).find(({ offset }) => offset === later!.offset)!.timestamp;

        await transport.seek({ topic, group, to: { time } });

        const member = await join(transport, { topics: [topic], group });
        await eventually(
          () => member.records.length >= 5,
          () => `${member.records.length} of 5 records arrived`,
        );
        assert.deepEqual(numbersOf(member.records, 'a'), [5, 6, 7, 8, 9]);
      },
    },
    {
      name: 'one partition is moved alone when told',
      async run({ open, topic: fresh, name }) {
        const transport = await open();
        const topic = await fresh(transport, { partitions: 4 });
        const group = name('catalog');
        await publish(
          transport,
          topic,
          range(64).map((n) => record(`course-${n}`, n)),
        );

        await transport.seek({ topic, group, to: 'start' });
        await transport.seek({ topic, group, to: 'end', partition: 2 });

        for (const { partition, committed, start, end } of await transport.positions({ topic, group })) {
          assert.equal(committed, partition === 2 ? end : start);
        }
      },
    },
    {
      name: 'a seek to a partition that is not there, to an offset without its partition, or behind the end is refused',
      async run({ open, topic: fresh, name }) {
        const transport = await open();
        const topic = await fresh(transport, { partitions: 2 });
        const group = name('catalog');
        const [place] = await publish(
          transport,
          topic,
          range(4).map((n) => record('a', n)),
        );
        const { partition, offset } = place!;
        const behindTheEnd = { offset: offset.replace(/\d+$/, '1000') };
        const refused = (options: Omit<Parameters<Transport['seek']>[0], 'topic' | 'group'>, code: BusErrorCode) =>
          assert.rejects(transport.seek({ topic, group, ...options }), (error) => isBusError(error, code));

        await refused({ to: 'start', partition: 99 }, 'BUS_TOPIC_MISSING');
        await refused({ to: { offset } }, 'BUS_CONFIG_INVALID');
        await refused({ to: behindTheEnd, partition }, 'BUS_DATA_LOSS');

        const positions = await transport.positions({ topic, group });
        assert.deepEqual(
          positions.map(({ committed }) => committed),
          [undefined, undefined],
        );
      },
    },
  ],
};
