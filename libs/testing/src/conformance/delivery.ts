import assert from 'node:assert/strict';
import { isBusError, type BusRecord } from '@event-bus/core';
import { assertOnce, numbersOf, publish, range, record, valuesOf, type Chapter } from './world.js';

export const delivery: Chapter = {
  name: 'delivery',
  cases: [
    {
      name: 'a record arrives with key, bytes and headers unchanged',
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const topic = await fresh(transport);
        const sent: BusRecord = {
          key: Buffer.from([0, 1, 255, 10]),
          value: Buffer.from(range(256)),
          headers: [
            ['b', Buffer.from('second letter first')],
            ['a', Buffer.from([0xff, 0x00, 0xc3])],
            ['twice', Buffer.from('1')],
            ['twice', Buffer.from('2')],
            ['empty', Buffer.alloc(0)],
            ['näme', Buffer.from('wörld')],
          ],
        };

        const [place] = await publish(transport, topic, [sent]);

        const member = await join(transport, { topics: [topic], group: name('catalog') });
        await eventually(
          () => member.records.length > 0,
          () => 'the record did not arrive',
        );
        assert.equal(member.records.length, 1);
        const got = member.records[0]!;
        assert.deepEqual([got.topic, got.partition, got.offset], [topic, place!.partition, place!.offset]);
        assert.deepEqual(plain(got), plain(sent));
        assert.ok(Math.abs(Date.now() - got.timestamp) < 3_600_000, `the timestamp is ${got.timestamp}`);
      },
    },
    {
      name: 'an empty value, a missing value and a missing key survive',
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const topic = await fresh(transport, { partitions: 1 });
        const sent: BusRecord[] = [
          { key: null, value: Buffer.alloc(0), headers: [] },
          { key: Buffer.from('k'), value: null, headers: [] },
          { key: null, value: Buffer.from('v'), headers: [] },
        ];

        await publish(transport, topic, sent);

        const member = await join(transport, { topics: [topic], group: name('catalog') });
        await eventually(
          () => member.records.length >= 3,
          () => `${member.records.length} of 3 records arrived`,
        );
        assert.deepEqual(member.records.map(plain), sent.map(plain));
      },
    },
    {
      name: 'a record of 1 MB survives',
      recordBytes: 1_000_100,
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const topic = await fresh(transport);
        const value = Buffer.from(range(1_000_000).map((n) => n * 31));

        await publish(transport, topic, [{ key: Buffer.from('large'), value, headers: [] }]);

        const member = await join(transport, { topics: [topic], group: name('catalog') });
        await eventually(
          () => member.records.length > 0,
          () => 'the record did not arrive',
        );
        assert.ok(value.equals(member.records[0]!.value!), 'the bytes differ');
      },
    },
    {
      name: 'a record over the limit is refused before sending',
      async run({ open, topic: fresh, capabilities }) {
        const transport = await open();
        const topic = await fresh(transport);
        const large: BusRecord = { key: null, value: Buffer.alloc(capabilities.maxRecordBytes + 1), headers: [] };

        const sending = transport.publish(topic, [record('small', 1), large]);

        await assert.rejects(sending, (error) => isBusError(error, 'BUS_RECORD_TOO_LARGE'));
        const positions = await transport.positions({ topic });
        assert.ok(
          positions.every(({ start, end }) => start === end),
          'something was stored',
        );
      },
    },
    {
      name: 'two topics do not mix',
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const [one, other] = [await fresh(transport), await fresh(transport)];
        const group = name('catalog');
        const [first, second] = [
          await join(transport, { topics: [one], group: `${group}-1` }),
          await join(transport, { topics: [other], group: `${group}-2` }),
        ];

        await publish(
          transport,
          one,
          range(20).map((n) => record('one', n)),
        );
        await publish(
          transport,
          other,
          range(30).map((n) => record('other', n)),
        );

        await eventually(
          () => first.records.length >= 20 && second.records.length >= 30,
          () => `${first.records.length} of 20 and ${second.records.length} of 30 records arrived`,
        );
        assert.deepEqual(numbersOf(first.records, 'one'), range(20));
        assert.deepEqual(numbersOf(second.records, 'other'), range(30));
        assert.deepEqual([first.records.length, second.records.length], [20, 30]);
      },
    },
    {
      name: 'one member reads several topics',
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const topics = [await fresh(transport), await fresh(transport)];
        const member = await join(transport, { topics, group: name('catalog') });

        for (const topic of topics)
          await publish(
            transport,
            topic,
            range(10).map((n) => record(topic, n)),
          );

        await eventually(
          () => member.records.length >= 20,
          () => `${member.records.length} of 20 records arrived`,
        );
        assert.equal(member.records.length, 20);
        for (const topic of topics) assert.deepEqual(numbersOf(member.records, topic), range(10));
      },
    },
    {
      name: 'nothing arrives twice when nothing failed',
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const topic = await fresh(transport);
        const member = await join(transport, { topics: [topic], group: name('catalog') });
        const keys = range(16).map((n) => `course-${n}`);

        for (const n of range(20))
          await publish(
            transport,
            topic,
            keys.map((key) => record(key, n)),
          );
        await eventually(
          () => member.records.length >= 320,
          () => `${member.records.length} of 320 records arrived`,
        );
        await member.commit();
        // What comes behind shows that nothing was on its way twice.
        await publish(
          transport,
          topic,
          keys.map((key) => record(key, 20)),
        );
        await eventually(
          () => member.records.length >= 336,
          () => `${member.records.length} of 336 records arrived`,
        );

        assertOnce(member.records);
        assert.equal(new Set(valuesOf(member.records)).size, 336);
      },
    },
    {
      name: 'a bad topic name is refused by code',
      async run({ open, name }) {
        const transport = await open();
        for (const bad of ['', 'with blank', 'slash/slash', '..', 'ä', 'x'.repeat(300)]) {
          await assert.rejects(transport.ensureTopic(bad), (error) => isBusError(error), `"${bad}" was taken`);
        }
        await assert.rejects(transport.publish(name('missing'), [record('a', 1)]), (error) =>
          isBusError(error, 'BUS_TOPIC_MISSING'),
        );
      },
    },
  ],
};

const hex = (bytes: Uint8Array | null) => (bytes === null ? null : Buffer.from(bytes).toString('hex'));

function plain({ key, value, headers }: BusRecord): unknown {
  return { key: hex(key), value: hex(value), headers: headers.map(([header, bytes]) => [header, hex(bytes)]) };
}
