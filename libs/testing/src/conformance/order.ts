import assert from 'node:assert/strict';
import type { Batch, Place } from '@event-bus/core';
import { assertOnce, numbersOf, range, record, stored, valuesOf, type Chapter } from './world.js';

export const order: Chapter = {
  name: 'order',
  cases: [
    {
      name: 'records of one key arrive in order',
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const topic = await fresh(transport);
        const member = await join(transport, { topics: [topic], group: name('catalog') });
        const keys = range(7).map((n) => `course-${n}`);

        for (const n of range(50))
          stored(
            await transport.publish(
              topic,
              keys.map((key) => record(key, n)),
            ),
          );

        await eventually(
          () => member.records.length >= 350,
          () => `${member.records.length} of 350 records arrived`,
        );
        for (const key of keys) assert.deepEqual(numbersOf(member.records, key), range(50));
      },
    },
    {
      name: 'concurrent sends of one key keep their order',
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const topic = await fresh(transport);
        const keys = ['a', 'b', 'c'];

        const sending = range(100).flatMap((n) => keys.map((key) => transport.publish(topic, [record(key, n)])));
        for (const outcomes of await Promise.all(sending)) stored(outcomes);

        const member = await join(transport, { topics: [topic], group: name('catalog') });
        await eventually(
          () => member.records.length >= 300,
          () => `${member.records.length} of 300 records arrived`,
        );
        for (const key of keys) assert.deepEqual(numbersOf(member.records, key), range(100));
      },
    },
    {
      name: 'a retried publish is not overtaken by its key',
      faults: ['cut'],
      async run({ open, topic: fresh, name, join, eventually, faults }) {
        const transport = await open();
        const topic = await fresh(transport);
        stored(await transport.publish(topic, [record('a', 0)]));

        const sending = range(50).map((n) => transport.publish(topic, [record('a', n + 1)]));
        await faults.cut();
        sending.push(...range(50).map((n) => transport.publish(topic, [record('a', n + 51)])));
        const outcomes = (await Promise.all(sending)).flat();

        // Without an answer a record may be there or not; of those that are there, the first copies are in order.
        const member = await join(transport, { topics: [topic], group: name('catalog') });
        const known = outcomes.filter(({ status }) => status === 'stored').length;
        await eventually(
          () => new Set(valuesOf(member.records)).size > known,
          () => `${known} are stored, ${member.records.length} records arrived`,
        );
        const firsts = [...new Set(numbersOf(member.records, 'a'))];
        assert.deepEqual(firsts, ascending(firsts));
      },
    },
    {
      name: 'a batch comes from one partition, and offsets rise in it',
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const topic = await fresh(transport);
        const batches: Batch[] = [];
        const places = new Map<string, number>();
        stored(
          await transport.publish(
            topic,
            range(200).map((n) => record(`course-${n % 20}`, n)),
          ),
        );
        for await (const each of transport.read({ topic })) places.set(placeOf(each), places.size);

        const member = await join(transport, {
          topics: [topic],
          group: name('catalog'),
          receive: (batch) => void batches.push(batch),
        });

        await eventually(
          () => member.records.length >= 200,
          () => `${member.records.length} of 200 records arrived`,
        );
        assertOnce(member.records);
        for (const { partition, start, end } of await transport.positions({ topic })) {
          const own = batches.filter((batch) => batch.partition === partition);
          const indexes = own.flatMap(({ records }) => records.map((each) => places.get(placeOf(each))!));
          assert.deepEqual(indexes, ascending(indexes));
          if (start !== end) assert.equal(own.at(-1)!.next, end);
        }
      },
    },
    {
      name: 'records without a key are ordered by partition',
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const topic = await fresh(transport);

        for (const n of range(60)) stored(await transport.publish(topic, [record(null, n)]));

        const member = await join(transport, { topics: [topic], group: name('catalog') });
        await eventually(
          () => member.records.length >= 60,
          () => `${member.records.length} of 60 records arrived`,
        );
        for (const partition of range(4)) {
          const numbers = numbersOf(
            member.records.filter((each) => each.partition === partition),
            'null',
          );
          assert.deepEqual(numbers, ascending(numbers));
        }
        assert.deepEqual(ascending(numbersOf(member.records, 'null')), range(60));
      },
    },
  ],
};

const placeOf = ({ partition, offset }: Place): string => `${partition}/${offset}`;
const ascending = (numbers: readonly number[]): number[] => [...numbers].sort((a, b) => a - b);
