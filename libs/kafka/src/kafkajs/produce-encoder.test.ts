import fc from 'fast-check';
import { expect, it } from 'vitest';
import { encodeProduce, type ProduceArguments } from './produce-encoder.js';
import { NULL_HEADER_VALUE, decodeRecord } from './record-decoder.js';
import { internal } from './library.js';

const NOW = 1_700_000_000_000;

/** kafkajs's own bytes. Version 3 has the layout of all that follow. */
async function original(request: ProduceArguments): Promise<Buffer> {
  const encode = internal<(request: ProduceArguments) => { encode(): Promise<{ buffer: Buffer }> }>(
    'protocol/requests/produce/v3/request',
  );
  const { now } = Date;
  Date.now = () => NOW;
  try {
    return (await encode(request).encode()).buffer;
  } finally {
    Date.now = now;
  }
}

const text = fc.string({ unit: 'grapheme', maxLength: 40 });
const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
const value = fc.oneof(text, bytes);
const headers = fc.dictionary(
  fc.oneof(text, fc.constantFrom('ce_type', '1', 'constructor', '__proto__')),
  fc.oneof(value, fc.array(value, { maxLength: 3 })),
  {
    maxKeys: 12,
  },
);
const timestamp = fc.oneof(
  fc.integer({ min: 0, max: 2 ** 41 }).map(String),
  fc.integer({ min: -(2 ** 49), max: 2 ** 49 }),
  fc.constantFrom(undefined, null, '0', 0),
);
const message = fc.record(
  { key: fc.option(value), value: fc.option(value), headers, timestamp },
  { requiredKeys: ['value'] },
);
const partition = fc.record({
  partition: fc.nat(1_000),
  firstSequence: fc.nat(2 ** 31 - 1),
  messages: fc.array(message, { maxLength: 20 }),
});
const request = fc.record(
  {
    acks: fc.constantFrom(-1, 0, 1),
    timeout: fc.nat(60_000),
    transactionalId: fc.option(text),
    producerId: fc.oneof(fc.nat().map(String), fc.constant(-1)),
    producerEpoch: fc.nat(2 ** 15 - 1),
    topicData: fc.array(fc.record({ topic: text, partitions: fc.array(partition, { maxLength: 3 }) }), {
      maxLength: 3,
    }),
  },
  { requiredKeys: ['acks', 'timeout', 'topicData'] },
);

it('writes the bytes that kafkajs writes', async () => {
  await fc.assert(
    fc.asyncProperty(request, async (args) => {
      const ours = encodeProduce(args as ProduceArguments, NOW);
      expect(ours?.equals(await original(args as ProduceArguments))).toBe(true);
    }),
    { numRuns: 300 },
  );
}, 30_000);

it('writes pairs as kafkajs writes the same headers of an object', async () => {
  const pairs = fc.uniqueArray(
    fc.tuple(
      fc.string({ minLength: 1, maxLength: 70 }).filter((name) => !/^\d+$/.test(name)),
      bytes,
    ),
    {
      selector: ([name]) => name,
      maxLength: 12,
    },
  );
  await fc.assert(
    fc.asyncProperty(pairs, async (pairs) => {
      const ours = encodeProduce(single({ value: 'v', pairs, headers: { last: 'x' } }), NOW);
      const theirs = await original(single({ value: 'v', headers: Object.fromEntries([...pairs, ['last', 'x']]) }));
      expect(ours?.equals(theirs)).toBe(true);
    }),
  );
});

it('keeps the order and the repeats of pairs, and a header without a value', () => {
  const pairs = [
    ['b', Buffer.from('1')],
    ['1', Buffer.from('2')],
    ['b', NULL_HEADER_VALUE],
    ['a', Buffer.alloc(0)],
  ] as const;
  const request = encodeProduce(single({ value: 'v', pairs }), NOW)!;
  const record = decodeRecord({ buffer: request.subarray(request.length - (request[RECORD_AT]! >> 1)), offset: 0 }, {});
  expect(record.pairs).toEqual(pairs);
  expect(record.pairs[2]![1]).toBe(NULL_HEADER_VALUE);
  expect(record.pairs[3]![1]).not.toBe(NULL_HEADER_VALUE);
});

it('leaves to kafkajs what it does not know', () => {
  const odd = [
    { ...single({ value: 'v' }), compression: 1 },
    single({ value: 'v', headers: { none: null } }),
    single({ value: 'v', headers: { none: undefined } }),
    single({ value: 1 as never }),
    single({ value: 'v', timestamp: 'yesterday' }),
    single({ value: 'v', timestamp: 1.5 }),
  ];
  for (const request of odd) expect(encodeProduce(request, NOW)).toBeUndefined();
});

// transactional id, acks, timeout, topics, name, partitions, partition, length, head of the batch; the record's own length is one byte
const RECORD_AT = 2 + 2 + 4 + 4 + 3 + 4 + 4 + 4 + 61;

function single(
  message: NonNullable<ProduceArguments['topicData'][0]['partitions'][0]['messages'][0]>,
): ProduceArguments {
  return { acks: -1, timeout: 1, topicData: [{ topic: 't', partitions: [{ partition: 0, messages: [message] }] }] };
}
