/**
 * CRC-32C (Castagnoli) of `bytes` from `start` to `end`, eight bytes a step. Kafka puts it in every record batch; unlike CRC-32,
 * Node has no native one.
 */
export function crc32c(bytes: Uint8Array, start = 0, end = bytes.length): number {
  let crc = -1;
  let at = start;
  for (const last = end - 8; at <= last; at += 8) {
    crc =
      TABLE[0x700 | ((crc ^ bytes[at]!) & 0xff)]! ^
      TABLE[0x600 | (((crc >>> 8) ^ bytes[at + 1]!) & 0xff)]! ^
      TABLE[0x500 | (((crc >>> 16) ^ bytes[at + 2]!) & 0xff)]! ^
      TABLE[0x400 | ((crc >>> 24) ^ bytes[at + 3]!)]! ^
      TABLE[0x300 | bytes[at + 4]!]! ^
      TABLE[0x200 | bytes[at + 5]!]! ^
      TABLE[0x100 | bytes[at + 6]!]! ^
      TABLE[bytes[at + 7]!]!;
  }
  for (; at < end; at++) crc = TABLE[(crc ^ bytes[at]!) & 0xff]! ^ (crc >>> 8);
  return (crc ^ -1) >>> 0;
}

const POLYNOMIAL = 0x82f63b78;
const TABLE = tables();

// Table n tells what a byte does to the sum n bytes later.
function tables(): Int32Array {
  const table = new Int32Array(8 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    table[byte] = crc;
  }
  for (let at = 256; at < table.length; at++) table[at] = table[table[at - 256]! & 0xff]! ^ (table[at - 256]! >>> 8);
  return table;
}
