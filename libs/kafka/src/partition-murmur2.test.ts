import { createRequire } from 'node:module';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { murmur2, murmur2PartitionOf } from './partition-murmur2.js';

const { Partitioners } = createRequire(import.meta.url)('kafkajs') as typeof import('kafkajs');

// From Kafka's own tests of the same function (UtilsTest.testMurmur2).
it.each([
  ['21', -973932308],
  ['foobar', -790332482],
  ['a-little-bit-long-string', -985981536],
  ['a-little-bit-longer-string', -1486304829],
  ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
  ['abc', 479470107],
])('hashes %s as Java does', (text, hash) => {
  expect(murmur2(Buffer.from(text))).toBe(hash);
});

it('chooses the partitions that kafkajs chooses', () => {
  const choose = Partitioners.DefaultPartitioner();
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), fc.integer({ min: 1, max: 50 }), (bytes, count) => {
      const partitionMetadata = Array.from({ length: count }, (_, partitionId) => ({
        partitionId,
        leader: 0,
        partitionErrorCode: 0,
        replicas: [],
        isr: [],
      }));
      const key = Buffer.from(bytes);
      expect(murmur2PartitionOf(key, count)).toBe(
        choose({ topic: 't', partitionMetadata, message: { key, value: null } }),
      );
    }),
    { numRuns: 1_000 },
  );
});
