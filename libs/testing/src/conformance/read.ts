import assert from 'node:assert/strict';
import { isBusError, type StoredRecord } from '@event-bus/core';
import { all, numbersOf, publish, range, record, valuesOf, type Chapter } from './world.js';

export const read: Chapter = {
  name: 'read',
  cases: [
    {
      name: 'reading a range moves no group',
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const topic = await fresh(transport);
        const group = name('catalog');
        await publish(
          transport,
          topic,
          range(30).map((n) => record(`course-${n % 5}`, n)),
        );
        const member = await join(transport, { topics: [topic], group });
        await eventually(
          () => member.records.length >= 30,
          () => `${member.records.length} of 30 records arrived`,
        );
        await member.commit();
        const before = await transport.positions({ topic, group });

        const found = await all(transport.read({ topic }));

        assert.deepEqual(valuesOf(found).sort(), valuesOf(member.records).sort());
        assert.deepEqual(await transport.positions({ topic, group }), before);
        await publish(transport, topic, [record('course-0', 30)]);
        await eventually(
          () => member.records.length >= 31,
          () => 'the group did not go on',
        );
        assert.equal(member.records.length, 31);
      },
    },
    {
      name: 'reading is from and to an offset',
      async run({ open, topic: fresh }) {
        const transport = await open();
        const topic = await fresh(transport, { partitions: 1 });
        const places = await publish(
          transport,
          topic,
          range(20).map((n) => record('a', n)),
        );
        const [from, to] = [{ offset: places[5]!.offset }, { offset: places[12]!.offset }];

        assert.deepEqual(
          numbersOf(await all(transport.read({ topic, partition: 0, from, to })), 'a'),
          range(12).slice(5),
        );
        assert.deepEqual(numbersOf(await all(transport.read({ topic, partition: 0, from })), 'a'), range(20).slice(5));
        assert.deepEqual(numbersOf(await all(transport.read({ topic, partition: 0, to })), 'a'), range(12));
        assert.deepEqual(await all(transport.read({ topic, partition: 0, from: 'end' })), []);
        assert.deepEqual(await all(transport.read({ topic, partition: 0, to: 'start' })), []);
      },
    },
    {
      name: 'reading is from and to a time',
      needs: ['seekByTime'],
      async run({ open, topic: fresh }) {
        const transport = await open();
        const topic = await fresh(transport, { partitions: 1 });
        await publish(
          transport,
          topic,
          range(5).map((n) => record('a', n)),
        );
        await new Promise((resolve) => setTimeout(resolve, 50));
        const [next] = await publish(
          transport,
          topic,
          range(5).map((n) => record('a', n + 5)),
        );
        const log = await all(transport.read({ topic }));
        const time = log.find(({ offset }) => offset === next!.offset)!.timestamp;

        assert.deepEqual(numbersOf(await all(transport.read({ topic, from: { time } })), 'a'), [5, 6, 7, 8, 9]);
        assert.deepEqual(numbersOf(await all(transport.read({ topic, to: { time } })), 'a'), [0, 1, 2, 3, 4]);
        assert.deepEqual(await all(transport.read({ topic, from: { time: Date.now() + 3_600_000 } })), []);
      },
    },
    {
      name: 'reading ends where the log ended when it began',
      async run({ open, topic: fresh }) {
        const transport = await open();
        const topic = await fresh(transport, { partitions: 1 });
        await publish(
          transport,
          topic,
          range(10).map((n) => record('a', n)),
        );

        const found: StoredRecord[] = [];
        for await (const each of transport.read({ topic })) {
          if (found.length < 10) await publish(transport, topic, [record('a', 10 + found.length)]);
          found.push(each);
        }

        assert.deepEqual(numbersOf(found, 'a'), range(10));
      },
    },
    {
      name: 'reading that follows goes on, until it is aborted',
      async run({ open, topic: fresh, eventually }) {
        const transport = await open();
        const topic = await fresh(transport, { partitions: 2 });
        const keys = ['a', 'b', 'c', 'd'];
        await publish(
          transport,
          topic,
          keys.map((key) => record(key, 0)),
        );
        const stop = new AbortController();
        const found: StoredRecord[] = [];
        let hasEnded = false;
        const reading = (async () => {
          for await (const each of transport.read({ topic, to: 'follow', signal: stop.signal })) found.push(each);
          hasEnded = true;
        })();

        await eventually(
          () => found.length >= 4,
          () => `${found.length} of 4 records were read`,
        );
        await publish(
          transport,
          topic,
          keys.map((key) => record(key, 1)),
        );
        await eventually(
          () => found.length >= 8,
          () => `${found.length} of 8 records were read`,
        );
        assert.equal(hasEnded, false);
        stop.abort();

        await eventually(
          () => hasEnded,
          () => 'the reading did not end',
        );
        await reading;
        for (const key of keys) assert.deepEqual(numbersOf(found, key), [0, 1]);
      },
    },
    {
      name: 'reading may be left before its end',
      async run({ open, topic: fresh }) {
        const transport = await open();
        const topic = await fresh(transport);
        await publish(
          transport,
          topic,
          range(50).map((n) => record(`course-${n}`, n)),
        );

        let count = 0;
        for await (const { topic: from } of transport.read({ topic, to: 'follow' })) {
          assert.equal(from, topic);
          if (++count === 7) break;
        }
        assert.equal(count, 7);
      },
    },
    {
      name: 'reading a partition that is not there, or from an offset that is not in the log, is refused',
      async run({ open, topic: fresh }) {
        const transport = await open();
        const topic = await fresh(transport, { partitions: 1 });
        const [place] = await publish(transport, topic, [record('a', 0)]);
        const behindTheEnd = { offset: place!.offset.replace(/\d+$/, '1000') };

        await assert.rejects(all(transport.read({ topic, partition: 99 })), (error) =>
          isBusError(error, 'BUS_TOPIC_MISSING'),
        );
        await assert.rejects(all(transport.read({ topic, partition: 0, from: behindTheEnd })), (error) =>
          isBusError(error, 'BUS_DATA_LOSS'),
        );
      },
    },
    {
      name: 'reading from an offset that retention took is loud',
      faults: ['deleteBefore'],
      async run({ open, topic: fresh, faults }) {
        const transport = await open();
        const topic = await fresh(transport, { partitions: 1 });
        const places = await publish(
          transport,
          topic,
          range(10).map((n) => record('a', n)),
        );
        await faults.deleteBefore(topic, 0, places[5]!.offset);

        await assert.rejects(all(transport.read({ topic, from: { offset: places[2]!.offset } })), (error) =>
          isBusError(error, 'BUS_DATA_LOSS'),
        );
        assert.deepEqual(numbersOf(await all(transport.read({ topic })), 'a'), range(10).slice(5));
      },
    },
  ],
};
