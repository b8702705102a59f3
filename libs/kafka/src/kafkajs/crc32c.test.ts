import fc from 'fast-check';
import { expect, it } from 'vitest';
import { crc32c } from './crc32c.js';
import { internal } from './library.js';

it('knows the check value of the polynomial', () => {
  expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
});

it('agrees with kafkajs on any bytes', () => {
  const theirs = internal<(bytes: Uint8Array) => number>('protocol/recordBatch/crc32C');
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(100), (bytes, start) => {
      expect(crc32c(bytes, Math.min(start, bytes.length))).toBe(
        theirs(bytes.subarray(Math.min(start, bytes.length))) >>> 0,
      );
    }),
  );
});
