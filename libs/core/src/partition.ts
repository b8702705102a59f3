import { crc32 } from 'node:zlib';
import type { TopicPartition } from './transport.js';

/**
 * The partition of a key, the same on every transport: CRC-32 of the key's bytes modulo the count, as librdkafka's default
 * (`consistent_random`) and so every Django producer of Open edX does it.
 */
export function partitionOf(key: Uint8Array, partitions: number): number {
  return crc32(key) % partitions;
}

/** One string for each partition of each topic. */
export const placeOf = ({ topic, partition }: TopicPartition): string => `${topic}\n${partition}`;
