import fc from 'fast-check';
import { expect, test } from 'vitest';
import { partitionOf } from './partition.js';

// Check values of CRC-32 (IEEE 802.3), the checksum that librdkafka takes for its partitioner `consistent`.
test.each([
  ['123456789', 0xcbf43926],
  ['', 0],
  ['a', 0xe8b7be43],
  ['The quick brown fox jumps over the lazy dog', 0x414fa339],
])('the key %j has the CRC-32 %d', (key, crc) => {
  expect(partitionOf(Buffer.from(key), 2 ** 32)).toBe(crc);
  expect(partitionOf(Buffer.from(key), 7)).toBe(crc % 7);
});

test('every key has a partition, the same each time', () => {
  fc.assert(
    fc.property(fc.uint8Array(), fc.integer({ min: 1, max: 10_000 }), (key, partitions) => {
      const partition = partitionOf(key, partitions);
      expect(Number.isInteger(partition) && partition >= 0 && partition < partitions).toBe(true);
      expect(partitionOf(Uint8Array.from(key), partitions)).toBe(partition);
    }),
  );
});
