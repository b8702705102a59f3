import type { BusRecord } from './transport.js';

/** Bytes of key, value and headers, with what each header costs besides its own. Asked of every record on its way. */
export function recordBytes({ key, value, headers }: BusRecord): number {
  let bytes = (key === null ? 0 : key.length) + (value === null ? 0 : value.length);
  // By index: taking pairs apart with a pattern makes an iterator for each.
  for (let i = 0; i < headers.length; i++) bytes += HEADER_OVERHEAD + headers[i]![0].length + headers[i]![1].length;
  return bytes;
}

// A length before each name and value; without it a million empty headers would weigh nothing.
const HEADER_OVERHEAD = 8;
