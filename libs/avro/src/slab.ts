/**
 * Where records are written: pieces of a large buffer, one behind the other, which costs half of what a buffer per record does. A slab is
 * never used twice, so a piece is the receiver's for good; whoever keeps a piece for long copies it, or 200 bytes hold the whole slab.
 */
import { Cursor, NO_ROOM } from './cursor.js';
import { unwritable } from './reasons.js';

export interface Slab {
  /**
   * Calls `fill` with a cursor at free bytes and keeps what it wrote. Where the room was too small it calls again with more, so `fill` must
   * have no other effect. What it throws leaves nothing behind. Throws `BUS_ENCODE_FAILED` for more than `maxBytes`.
   */
  write<A, B, R>(fill: (cursor: Cursor, a: A, b: B) => R, a: A, b: B): R;
}

export function slab(maxBytes: number): Slab {
  let buffer = Buffer.alloc(0);
  let used = 0;
  let isBusy = false;
  const cursor = new Cursor();

  function attempt<A, B, R>(fill: (cursor: Cursor, a: A, b: B) => R, a: A, b: B): R {
    isBusy = true;
    try {
      const result = fill(cursor.writing(buffer, used), a, b);
      used = cursor.pos;
      return result;
    } finally {
      isBusy = false;
    }
  }

  function write<A, B, R>(fill: (cursor: Cursor, a: A, b: B) => R, a: A, b: B): R {
    // A getter in somebody's data may send an event of its own.
    if (isBusy) return slab(maxBytes).write(fill, a, b);
    for (const size of [0, SLAB_BYTES, Math.max(SLAB_BYTES, maxBytes)]) {
      if (size > 0) [buffer, used] = [Buffer.allocUnsafeSlow(size), 0];
      try {
        return attempt(fill, a, b);
      } catch (thrown) {
        if (thrown !== NO_ROOM) throw thrown;
      }
    }
    throw unwritable('value-too-large', { maxBytes });
  }

  return { write };
}

const SLAB_BYTES = 1024 * 1024;
