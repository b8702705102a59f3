import fc from 'fast-check';
import { DEAD_LETTER_HEADERS } from '@event-bus/core';
import { expect, it } from 'vitest';
import {
  MAX_HEADERS,
  MAX_HEADER_BYTES,
  decodeRecord,
  readRecord,
  type BatchContext,
  type DecodedRecord,
  type RecordBytes,
} from './record-decoder.js';
import { internal } from './library.js';

type Encoded = { readonly buffer: Buffer };
const encodeRecord = internal<(message: object) => Encoded>('protocol/recordBatch/record/v0');
const Decoder = internal<new (buffer: Buffer) => RecordBytes & { readVarIntBytes(): Buffer }>('protocol/decoder');
// Loaded here, before anything of this file could put ours in its place.
const original = internal<(bytes: RecordBytes, context: BatchContext) => Omit<DecodedRecord, 'pairs' | 'unreadable'>>(
  'protocol/recordBatch/record/v0/decoder',
);

const bytesOf = (message: object) => new Decoder(encodeRecord(message).buffer).readVarIntBytes();

const bytes = fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array));
const name = fc
  .oneof(fc.string({ unit: 'grapheme', maxLength: 80 }), fc.constantFrom('ce_type', 'ce_id', '1', '17'))
  .filter((name) => !(name in {})); // names of Object.prototype come out wrong there; see below
const message = fc.record({
  key: fc.option(bytes),
  value: fc.option(bytes),
  headers: fc.dictionary(name, fc.oneof(bytes, fc.array(bytes, { minLength: 1, maxLength: 3 })), { maxKeys: 12 }),
  offsetDelta: fc.nat(2 ** 31 - 1),
  timestampDelta: fc.oneof(fc.integer(), fc.maxSafeInteger()),
});
const context = fc.record({
  firstOffset: fc.oneof(fc.nat().map(String), fc.bigInt(0n, 2n ** 62n).map(String)),
  firstTimestamp: fc.oneof(fc.nat(2 ** 31 - 1).map(String), fc.bigInt(-1n, 2n ** 62n).map(String)),
  maxTimestamp: fc.nat().map(String),
  timestampType: fc.constantFrom(0, 1),
  magicByte: fc.constant(2),
  isControlBatch: fc.boolean(),
});

it('reads what kafkajs reads', () => {
  fc.assert(
    fc.property(message, context, (message, context) => {
      const { pairs, unreadable, headers, ...ours } = decodeRecord(new Decoder(bytesOf(message)), context);
      const theirs = original(new Decoder(bytesOf(message)), context);
      expect({ ...ours, headers: { ...headers } }).toEqual(theirs);
      expect(unreadable).toBeUndefined();
      expect(pairs.length).toBe(Object.values(theirs.headers).flat().length);
    }),
    { numRuns: 500 },
  );
});

it('reads any bytes without an error', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 60 }), (array) => {
      const record = decodeRecord(new Decoder(Buffer.from(array)), { firstOffset: '0', firstTimestamp: '0' });
      expect(record.pairs.length).toBeLessThanOrEqual(MAX_HEADERS);
    }),
  );
});

it('takes a header named like a part of every object for a plain name', () => {
  const record = decodeRecord(
    new Decoder(bytesOf({ value: null, headers: { constructor: 'a', ['__proto__']: 'b', toString: ['c', 'd'] } })),
    {},
  );
  expect(Object.entries(record.headers).map(([name, value]) => [name, String(value)])).toEqual([
    ['constructor', 'a'],
    ['__proto__', 'b'],
    ['toString', 'c,d'],
  ]);
  const empty = decodeRecord(new Decoder(bytesOf({ value: null, headers: {} })), {});
  expect(empty.headers['constructor']).toBeUndefined();
});

it('reads 10 000 headers with work in proportion', () => {
  let reads = 0;
  const flood = bytesOf({ value: null, headers: { '': Array.from({ length: 10_000 }, () => '') } });
  const counted = new Proxy(flood, {
    get(target, key) {
      reads++;
      const found = Reflect.get(target, key, target) as unknown;
      return typeof found === 'function' ? found.bind(target) : found;
    },
  });
  const record = readRecord({ buffer: counted, offset: 0 }, { firstOffset: '0', firstTimestamp: '0' });
  expect(record.unreadable).toBe('it has 10000 headers, at most 256 are read');
  expect(record.pairs.length).toBe(MAX_HEADERS);
  const atFirst = reads;
  expect(atFirst).toBeLessThan(10 * MAX_HEADERS);
  expect((record.headers[''] as Buffer[]).length).toBe(10_000);
  expect(reads - atFirst).toBeLessThan(10 * 10_000);
});

it('keeps the headers of a record over the byte limit within it', () => {
  const record = decodeRecord(
    new Decoder(bytesOf({ value: null, headers: { small: 'x', large: 'y'.repeat(MAX_HEADER_BYTES) } })),
    {},
  );
  expect(record.unreadable).toMatch(/at most 65536/);
  expect(record.pairs.map(([name]) => name)).toEqual(['small']);
  expect(Object.keys(record.headers)).toEqual(['small', 'large']);
});

it.each([
  ['number', Array.from({ length: MAX_HEADERS }, (_, i) => `${i}`)],
  ['bytes', ['y'.repeat(MAX_HEADER_BYTES - 10)]],
])('keeps the facts of a dead letter whose record had headers up to the limit in %s', (_, names) => {
  const facts = Object.values(DEAD_LETTER_HEADERS).map((name) => [name, 'x'.repeat(100)]);
  const headers = Object.fromEntries([...names.map((name) => [`h${name}`, '']), ...facts]) as Record<string, string>;
  const record = decodeRecord(new Decoder(bytesOf({ value: null, headers })), {});
  expect(record.pairs.map(([name]) => name)).toEqual(Object.keys(headers));
});

it('says that headers are broken when their count cannot be', () => {
  const record = decodeRecord(new Decoder(Buffer.from([0, 0, 0, 1, 1, 200, 1, 2])), {});
  expect(record.unreadable).toBe('its headers are broken');
});

it('reads headers that come again, and those that changed, as they are', () => {
  const header = fc.record({ type: fc.constantFrom('a', 'b', ''), id: fc.nat(3), place: fc.constantFrom('x', 'y') });
  fc.assert(
    fc.property(fc.array(header, { minLength: 2, maxLength: 30 }), (headers) => {
      const records = headers.map(({ type, id, place }) => ({
        headers: { ce_type: type, [place]: Buffer.alloc(300, id), ce_id: String(id), last: place },
      }));
      const read = records.map((message) => decodeRecord(new Decoder(bytesOf({ value: null, ...message }))).pairs);
      expect(read.map((pairs) => pairs.map(([name, value]) => [name, Buffer.from(value).toString()]))).toEqual(
        records.map(({ headers }) => Object.entries(headers).map(([name, value]) => [name, value.toString()])),
      );
    }),
  );
});

it('keeps no fetch answer alive by a record', () => {
  const bytes = bytesOf({ key: 'k', value: 'v', headers: { id: '1' } });
  const answer = Buffer.alloc(1_000_000);
  answer.set(bytes);

  const { key, value, pairs } = decodeRecord(new Decoder(answer.subarray(0, bytes.length)));

  for (const kept of [key!, value!, pairs[0]![1]]) expect(kept.buffer.byteLength).toBeLessThan(10_000);
  answer.fill(0);
  expect([key, value, pairs[0]![1]].map(String)).toEqual(['k', 'v', '1']);
});

it('keeps no record alive by a header', () => {
  const record = bytesOf({ value: 'v', headers: { ce_source: 'openedx/studio/web' } });
  // After other tests' headers at this place, it takes a while until one is kept again.
  for (let i = 0; i < 10_000; i++) decodeRecord(new Decoder(record));
  const [[, first] = [], [, again] = []] = [0, 1].map(() => decodeRecord(new Decoder(record)).pairs[0]!);
  expect(again).toBe(first);
  expect(first!.buffer.byteLength).toBe(first!.length);
});
