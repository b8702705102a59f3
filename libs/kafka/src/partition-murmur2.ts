/**
 * The partition of a key as Java producers choose it. For topics that Java producers share; everywhere else the bus uses CRC-32, see
 * `partitionOf` of the core.
 */
export function murmur2PartitionOf(key: Uint8Array, partitions: number): number {
  return (murmur2(key) & 0x7fffffff) % partitions;
}

/** Murmur2 with Kafka's seed, as a signed 32-bit number: `org.apache.kafka.common.utils.Utils.murmur2`. */
export function murmur2(bytes: Uint8Array): number {
  const { length } = bytes;
  const whole = length & ~3;
  let hash = SEED ^ length;
  for (let at = 0; at < whole; at += 4) {
    let word = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    word = Math.imul(word, M);
    word ^= word >>> 24;
    hash = Math.imul(hash, M) ^ Math.imul(word, M);
  }
  const left = length - whole;
  if (left === 3) hash ^= bytes[whole + 2]! << 16;
  if (left >= 2) hash ^= bytes[whole + 1]! << 8;
  if (left >= 1) hash = Math.imul(hash ^ bytes[whole]!, M);
  hash = Math.imul(hash ^ (hash >>> 13), M);
  return hash ^ (hash >>> 15);
}

const SEED = 0x9747b28c;
const M = 0x5bd1e995;
