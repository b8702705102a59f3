/**
 * A place in bytes, and how Avro's basic values are read and written there. It takes the part of what avsc calls a tap, because avsc's own
 * trusts its bytes: 200 bytes of 0x80 as the length of a `bytes` field make every later `bytes` of the whole process empty (its buffer pool
 * ends at NaN), longs below -2^52 come back with the other sign, a cursor may move backwards. This one throws at the first byte that is
 * wrong, is exact up to 2^53 - 1, keeps no pool, and carries the budget of items that one value may claim.
 */
import { isUtf8 } from 'node:buffer';
import { unreadable, unwritable } from './reasons.js';

export class Cursor {
  buf: Buffer = Buffer.alloc(0);
  pos = 0;
  /** After `openBlock`: where the block must end, or -1 when it did not say. */
  blockEnd = -1;
  /** Items of lists and maps read or skipped so far. */
  items = 0;
  private budget = 0;
  // The last variable-length integer, as parts of 28, 28 and 8 bits: more than a number can hold.
  private low = 0;
  private mid = 0;
  private high = 0;

  /** Begins to read a value. Items that have content need a byte each, so honest values never meet the budget. */
  reading(buf: Buffer, pos: number): this {
    this.buf = buf;
    this.pos = pos;
    this.items = 0;
    this.budget = buf.length - pos + SPARE_ITEMS;
    return this;
  }

  /** Begins to write. Throws `NoRoom` where the buffer ends; what was written before is then useless. */
  writing(buf: Buffer, pos: number): this {
    this.buf = buf;
    this.pos = pos;
    return this;
  }

  readBoolean(): boolean {
    const byte = this.byte();
    if (byte > 1) throw unreadable('bad-number');
    return byte === 1;
  }

  skipBoolean(): void {
    this.readBoolean();
  }

  writeBoolean(value: boolean): void {
    this.room(1);
    this.buf[this.pos++] = value ? 1 : 0;
  }

  readInt(): number {
    const value = this.integer();
    if (value !== (value | 0)) throw unreadable('bad-number');
    return value;
  }

  readLong(): number {
    const value = this.integer();
    if (!Number.isSafeInteger(value)) throw unreadable('long-too-large');
    return value;
  }

  readBigLong(): bigint {
    const value = this.integer();
    if (Number.isSafeInteger(value)) return BigInt(value);
    const zigzag = (BigInt(this.high) << 56n) | (BigInt(this.mid) << 28n) | BigInt(this.low);
    return (zigzag >> 1n) ^ -(zigzag & 1n);
  }

  skipInt(): void {
    this.integer();
  }

  skipLong(): void {
    this.integer();
  }

  writeInt(value: number): void {
    this.writeLong(value);
  }

  writeLong(value: number): void {
    this.room(10);
    if (value >= -64 && value < 64) {
      this.buf[this.pos++] = (value << 1) ^ (value >> 31);
      return;
    }
    const sign = value < 0 ? 1 : 0;
    const magnitude = sign === 1 ? -1 - value : value;
    this.writeParts((magnitude % 2 ** 27) * 2 + sign, Math.floor(magnitude / 2 ** 27), 0);
  }

  writeBigLong(value: bigint): void {
    this.room(10);
    const zigzag = value < 0n ? (~value << 1n) | 1n : value << 1n;
    this.writeParts(Number(zigzag & PART), Number((zigzag >> 28n) & PART), Number(zigzag >> 56n));
  }

  readFloat(): number {
    return this.buf.readFloatLE(this.take(4));
  }

  skipFloat(): void {
    this.take(4);
  }

  writeFloat(value: number): void {
    this.room(4);
    this.pos = this.buf.writeFloatLE(value, this.pos);
  }

  readDouble(): number {
    return this.buf.readDoubleLE(this.take(8));
  }

  skipDouble(): void {
    this.take(8);
  }

  writeDouble(value: number): void {
    this.room(8);
    this.pos = this.buf.writeDoubleLE(value, this.pos);
  }

  /** A copy: the bytes around belong to a fetch answer that must not be kept alive. */
  readFixed(size: number): Buffer {
    const start = this.take(size);
    return Buffer.from(this.buf.subarray(start, this.pos));
  }

  skipFixed(size: number): void {
    this.take(size);
  }

  writeFixed(bytes: Uint8Array): void {
    this.room(bytes.length);
    this.buf.set(bytes, this.pos);
    this.pos += bytes.length;
  }

  readBytes(): Buffer {
    return this.readFixed(this.length());
  }

  skipBytes(): void {
    this.take(this.length());
  }

  writeBytes(bytes: Uint8Array): void {
    this.writeLong(bytes.length);
    this.writeFixed(bytes);
  }

  readString(): string {
    const start = this.take(this.length());
    const text = this.buf.toString('utf8', start, this.pos);
    // The replacement character stands for itself or for bytes that are no text.
    if (text.indexOf('\ufffd') >= 0 && !isUtf8(this.buf.subarray(start, this.pos))) throw unreadable('bad-text');
    return text;
  }

  skipString(): void {
    this.take(this.length());
  }

  writeString(text: string): void {
    const units = text.length;
    if (units < LOOP_UNITS && this.writeShort(text, this.pos + 1)) {
      // Up to 63 bytes, the length takes one.
      this.buf[this.pos] = units << 1;
      this.pos += units + 1;
      return;
    }
    this.writeLong(Buffer.byteLength(text));
    this.writeText(text);
  }

  /** Text without a length before it. */
  writeText(text: string): void {
    const units = text.length;
    if (units < LOOP_UNITS && this.writeShort(text, this.pos)) {
      this.pos += units;
      return;
    }
    const bytes = Buffer.byteLength(text);
    this.room(bytes);
    if (bytes === units) this.buf.write(text, this.pos, bytes, 'latin1');
    else if (!text.isWellFormed()) throw unwritable('bad-text');
    else this.buf.write(text, this.pos, bytes, 'utf8');
    this.pos += bytes;
  }

  /** avsc writes the default of a missing field with this, from a schema of ours. */
  writeBinary(text: string, size: number): void {
    this.room(size);
    this.pos += this.buf.write(text, this.pos, size, 'latin1');
  }

  /** The number of items in the next block of a list or a map, 0 at the end. Charged to the budget, whether they are read or skipped. */
  openBlock(): number {
    let count = this.integer();
    this.blockEnd = -1;
    if (count < 0) {
      count = -count;
      const size = this.integer();
      if (size < 0 || size > this.buf.length - this.pos) throw unreadable('bad-block');
      this.blockEnd = this.pos + size;
    }
    this.items += count;
    if (this.items > this.budget) throw unreadable('too-many-items');
    return count;
  }

  /** Moves past a block that said its size; false when it did not. */
  skipBlock(): boolean {
    if (this.blockEnd < 0) return false;
    this.pos = this.blockEnd;
    return true;
  }

  /** The byte at the cursor, which moves behind it. */
  private byte(): number {
    return this.buf[this.take(1)]!;
  }

  /** A variable-length integer. Exact when it is a safe integer; the parts are exact always. */
  private integer(): number {
    const first = this.byte();
    if (first < 0x80) return (first >>> 1) ^ -(first & 1);
    this.readParts(first);
    const magnitude = (this.low >>> 1) + this.mid * 2 ** 27 + this.high * 2 ** 55;
    return this.low & 1 ? -1 - magnitude : magnitude;
  }

  private readParts(first: number): void {
    let low = first & 0x7f;
    let mid = 0;
    let high = 0;
    let byte = first;
    for (let i = 1; byte >= 0x80; i++) {
      byte = this.byte();
      const bits = (byte & 0x7f) << (7 * (i & 3));
      if (i < 4) low |= bits;
      else if (i < 8) mid |= bits;
      else high |= bits;
      if (i === 9 && (byte >= 0x80 || high > 0xff)) throw unreadable('bad-number');
    }
    this.low = low;
    this.mid = mid;
    this.high = high;
  }

  private writeParts(low: number, mid: number, high: number): void {
    let pos = this.pos;
    let rest = mid * 2 ** 28 + low;
    if (high > 0 || mid >= 2 ** 24) {
      for (let i = 0; i < 4; i++) this.buf[pos++] = ((low >>> (7 * i)) & 0x7f) | 0x80;
      rest = high * 2 ** 28 + mid;
    }
    while (rest >= 0x80) {
      this.buf[pos++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.buf[pos++] = rest;
    this.pos = pos;
  }

  private length(): number {
    const length = this.integer();
    if (length < 0) throw unreadable('bad-number');
    return length;
  }

  /** Moves past `size` bytes that must be there, and answers where they begin. */
  private take(size: number): number {
    const start = this.pos;
    if (size > this.buf.length - start) throw unreadable('truncated');
    this.pos = start + size;
    return start;
  }

  /** Writes short ASCII at `at`; false, with nothing promised behind `at`, when it is not ASCII. Several times faster than a call out of JavaScript. */
  private writeShort(text: string, at: number): boolean {
    const units = text.length;
    const { buf } = this;
    this.room(units + 1);
    let seen = 0;
    for (let i = 0; i < units; i++) {
      const unit = text.charCodeAt(i);
      seen |= unit;
      buf[at + i] = unit;
    }
    return seen < 0x80;
  }

  private room(bytes: number): void {
    if (bytes > this.buf.length - this.pos) throw NO_ROOM;
  }
}

/** Thrown where a buffer that is written to ends. One for all: it is caught a few calls above, and its stack tells nothing. */
export const NO_ROOM = new RangeError('The buffer is full.');

const SPARE_ITEMS = 10_000;
const LOOP_UNITS = 40;
const PART = 0xfff_ffffn;
