import { crc32 } from 'node:zlib';

/**
 * The partition of a key, the same on every transport: CRC-32 of the key's bytes modulo the count, as librdkafka's default
 * (`consistent_random`) and so every Django producer of Open edX does it.
 */
export function partitionOf(key: Uint8Array, partitions: number): number {
  return crc32(key) % partitions;
}
