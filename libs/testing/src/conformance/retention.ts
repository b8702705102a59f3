import assert from 'node:assert/strict';
import { assertOnce, numbersOf, publish, range, record, type Chapter } from './world.js';

export const retention: Chapter = {
  name: 'retention',
  cases: [
    {
      name: 'a position before the start of the log is loud, with the exact range',
      faults: ['deleteBefore'],
      async run({ open, topic: fresh, name, join, eventually, faults }) {
        const transport = await open();
        const topic = await fresh(transport, { partitions: 1 });
        const group = name('catalog');
        const places = await publish(
          transport,
          topic,
          range(20).map((n) => record('a', n)),
        );
        const first = await join(transport, { topics: [topic], group, commitsOnRevoke: false });
        await eventually(
          () => first.records.length >= 20,
          () => `${first.records.length} of 20 records arrived`,
        );
        await first.send([{ topic, partition: 0, position: places[4]!.offset, ahead: [] }]);
        await first.subscription.stop();

        await faults.deleteBefore(topic, 0, places[11]!.offset);
        const second = await join(transport, { topics: [topic], group });

        await eventually(
          () => second.records.length >= 9,
          () => `${second.records.length} of 9 records arrived`,
        );
        assert.deepEqual(numbersOf(second.records, 'a'), range(20).slice(11));
        assert.equal(second.lost.length, 1);
        const { from, to } = second.lost[0]!;
        assert.deepEqual([from, to], [places[4]!.offset, places[11]!.offset]);
        assert.deepEqual([second.lost[0]!.topic, second.lost[0]!.partition], [topic, 0]);
      },
    },
    {
      name: 'records that vanish under a running member are loud, or still handed over',
      faults: ['deleteBefore'],
      async run({ open, topic: fresh, name, join, gate, eventually, faults }) {
        const transport = await open();
        const topic = await fresh(transport, { partitions: 1 });
        const busy = gate();
        const value = Buffer.alloc(50_000);
        const places: { offset: string }[] = [];
        const member = await join(transport, {
          topics: [topic],
          group: name('catalog'),
          receive: () => busy.opened,
        });
        for (let round = 0; round < 40; round++) {
          places.push(
            ...(await publish(
              transport,
              topic,
              range(10).map(() => ({ key: null, value, headers: [] })),
            )),
          );
        }
        await eventually(
          () => member.records.length > 0,
          () => 'no batch arrived',
        );

        await faults.deleteBefore(topic, 0, places[390]!.offset);
        busy.open();

        const indexOf = new Map(places.map(({ offset }, index) => [offset, index]));
        await eventually(
          () => member.records.some(({ offset }) => offset === places[399]!.offset),
          () => 'the last record did not arrive',
        );
        assertOnce(member.records);
        const seen = new Set(member.records.map(({ offset }) => indexOf.get(offset)!));
        for (const { from, to } of member.lost) {
          const end = indexOf.get(to) ?? places.length;
          for (let index = indexOf.get(from)!; index < end; index++) {
            assert.ok(!seen.has(index), `record ${index} was handed over and reported as lost`);
            seen.add(index);
          }
        }
        assert.deepEqual(
          range(400).filter((index) => !seen.has(index)),
          [],
          'neither handed over nor reported as lost',
        );
      },
    },
    {
      name: 'a new group begins at the start of what is kept, and misses nothing',
      faults: ['deleteBefore'],
      async run({ open, topic: fresh, name, join, eventually, faults }) {
        const transport = await open();
        const topic = await fresh(transport, { partitions: 1 });
        const places = await publish(
          transport,
          topic,
          range(20).map((n) => record('a', n)),
        );
        await faults.deleteBefore(topic, 0, places[15]!.offset);

        const member = await join(transport, { topics: [topic], group: name('catalog') });

        await eventually(
          () => member.records.length >= 5,
          () => `${member.records.length} of 5 records arrived`,
        );
        assert.deepEqual(numbersOf(member.records, 'a'), [15, 16, 17, 18, 19]);
        assert.deepEqual(member.lost, []);
        const [position] = await transport.positions({ topic });
        assert.equal(position!.start, places[15]!.offset);
      },
    },
  ],
};
