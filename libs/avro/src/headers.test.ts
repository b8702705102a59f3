import fc from 'fast-check';
import type { BusRecord, Header } from '@event-bus/core';
import { expect, test } from 'vitest';
import { headerReader } from './headers.js';

const HONEST: readonly (readonly [string, string])[] = [
  ['ce_specversion', '1.0'],
  ['content-type', 'application/avro'],
  ['ce_datacontenttype', 'application/avro'],
  ['ce_type', 'org.test.v1'],
  ['ce_id', 'e2e8ba5c-0ae7-11f1-9bd3-0242ac120002'],
  ['ce_source', 'openedx/studio/web'],
  ['ce_time', '2026-01-02T03:04:05.678901+00:00'],
  ['ce_minorversion', '3'],
  ['sourcehost', 'höst'],
  ['sourcelib', '11.2.0'],
];

test('every metadata header is read, in any order', () => {
  const { metadata } = headerReader();

  const read = metadata(record([...HONEST].reverse()));

  expect(read.metadata).toStrictEqual({
    id: 'e2e8ba5c-0ae7-11f1-9bd3-0242ac120002',
    type: 'org.test.v1',
    minorversion: 3,
    source: 'openedx/studio/web',
    sourcehost: 'höst',
    time: '2026-01-02T03:04:05.678901+00:00',
    sourcelib: '11.2.0',
  });
});

test('what is missing and not essential has a default; the time is when the record was stored', () => {
  const { metadata } = headerReader();
  const short = record([
    ['ce_id', 'i'],
    ['ce_type', 't'],
  ]);

  expect(metadata(short).metadata).toStrictEqual({
    id: 'i',
    type: 't',
    minorversion: 0,
    source: '',
    sourcehost: '',
    time: '',
    sourcelib: '',
  });
  expect(metadata({ ...short, timestamp: 1767323045678 } as BusRecord).metadata.time).toBe(
    '2026-01-02T03:04:05.678000+00:00',
  );
  expect(metadata({ ...short, timestamp: NaN } as BusRecord).metadata.time).toBe('');
});

test('other headers are text, the last of a name wins, and none becomes a prototype', () => {
  const { metadata } = headerReader();

  const { headers } = metadata(
    record([...HONEST, ['a', '1'], ['a', '2'], ['__proto__', 'x'], ['constructor', 'x'], ['toString', 'mine']]),
  );

  expect(Object.getPrototypeOf(headers)).toBeNull();
  expect({ ...headers }).toStrictEqual({ a: '2', toString: 'mine' });
});

test.each<[string, readonly (readonly [string, string | Uint8Array])[], string]>([
  ['without an id', HONEST.filter(([name]) => name !== 'ce_id'), 'no-id'],
  [
    'with an empty id',
    [
      ['ce_id', ''],
      ['ce_type', 't'],
    ],
    'no-id',
  ],
  ['without a type', HONEST.filter(([name]) => name !== 'ce_type'), 'no-type'],
  ['with two ids', [...HONEST, ['ce_id', 'other']], 'repeated-header'],
  ['with two hosts', [...HONEST, ['sourcehost', 'other']], 'repeated-header'],
  [
    'with an id that is not text',
    [
      ['ce_type', 't'],
      ['ce_id', Buffer.from([0xff, 0xfe])],
    ],
    'header-not-utf8',
  ],
  [
    'with a source that is not text',
    [...HONEST.filter(([name]) => name !== 'ce_source'), ['ce_source', Buffer.from([0xc3, 0x28])]],
    'header-not-utf8',
  ],
  [
    'with a version that is no number',
    [
      ['ce_id', 'i'],
      ['ce_type', 't'],
      ['ce_minorversion', '1e999'],
    ],
    'bad-minorversion',
  ],
  ['with 257 headers', Array.from({ length: 257 }, (_, i) => [`h${i}`, ''] as const), 'too-many-headers'],
  ['with headers of 70 000 bytes', [...HONEST, ['h', 'x'.repeat(70_000)]], 'headers-too-large'],
])('a record %s is refused with the reason', (_, headers, reason) => {
  const { metadata } = headerReader();

  expect(() => metadata(record(headers))).toThrow(
    expect.objectContaining({ code: 'BUS_DECODE_FAILED', details: expect.objectContaining({ reason }) }),
  );
});

test('the event type is read alone, and is undefined where the record does not say', () => {
  const { eventType } = headerReader();

  expect(eventType(record(HONEST))).toBe('org.test.v1');
  expect(eventType(record([]))).toBeUndefined();
  expect(eventType(record([['ce_type', Buffer.from([0xff])]]))).toBeUndefined();
});

test('a remembered text is never another text, and does not hold the bytes it came from', () => {
  const { metadata, eventType } = headerReader();
  fc.assert(
    fc.property(
      fc.array(fc.string({ unit: fc.constantFrom('a', 'b', 'é', '😀'), minLength: 1, maxLength: 6 })),
      (texts) => {
        for (const text of texts) {
          const read = metadata(
            record([
              ['ce_id', 'i'],
              ['ce_type', text],
              ['ce_source', `${text}x`],
              ['sourcehost', `y${text}`],
            ]),
          );
          expect(read.metadata).toMatchObject({ type: text, source: `${text}x`, sourcehost: `y${text}` });
        }
      },
    ),
  );
  const bytes = Buffer.from('org.test.v1');
  eventType({ key: null, value: null, headers: [['ce_type', bytes]] });
  bytes.fill('z');
  expect(eventType(record(HONEST))).toBe('org.test.v1');
});

test('a header that is handed out again says the same as one that is read for the first time', () => {
  const name = fc.constantFrom('ce_type', 'ce_id', 'ce_source', 'ce_minorversion', 'ce_specversion', 'sourcehost', 'x');
  const value = fc.constantFrom('0', '3', 'one', 'two', '', 'h\u00f6st').map((text) => Buffer.from(text));
  const pairs = fc.array(fc.tuple(name, fc.oneof(value, fc.constant(Buffer.from([0xff])))), {
    minLength: 8,
    maxLength: 8,
  });
  const choices = fc.array(fc.array(fc.nat(7), { maxLength: 6 }), { minLength: 2, maxLength: 10 });
  const said = (reader: ReturnType<typeof headerReader>, one: BusRecord) => {
    const attempt = () => {
      try {
        return reader.metadata(one);
      } catch (error) {
        return (error as Error).message;
      }
    };
    return { type: reader.eventType(one), read: attempt() };
  };

  fc.assert(
    fc.property(pairs, choices, (shared, records) => {
      const reader = headerReader();
      for (const places of records) {
        const headers: readonly Header[] = places.map((n) => shared[n]!);
        const one = { key: null, value: null, headers };
        expect(said(reader, one)).toStrictEqual(said(headerReader(), one));
      }
    }),
    { numRuns: 2_000 },
  );
});

test('ten thousand random headers never crash the reader', () => {
  const { metadata, eventType } = headerReader();
  const names = fc.oneof(fc.constantFrom(...HONEST.map(([name]) => name), '__proto__', 'constructor'), fc.string());
  const header = fc.tuple(names, fc.uint8Array({ maxLength: 300 }));
  fc.assert(
    fc.property(fc.array(header, { maxLength: 300 }), (headers) => {
      const given: BusRecord = { key: null, value: null, headers };
      eventType(given);
      try {
        metadata(given);
      } catch (error) {
        expect(error).toMatchObject({ code: 'BUS_DECODE_FAILED' });
      }
    }),
  );
});

function record(headers: readonly (readonly [string, string | Uint8Array])[]): BusRecord {
  return {
    key: null,
    value: null,
    headers: headers.map(([name, value]): Header => [name, Buffer.from(value as string)]),
  };
}
