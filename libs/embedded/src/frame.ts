/**
 * A record as it lies in the log:
 *
 *   version 1 │ CRC-32 4 │ time 6 │ flags 1 │ key length 4 │ value length 4 │ names length 4 │ names │ header lengths │ key │ header values │ value
 *
 * All numbers are big-endian. The CRC covers everything behind it and is seeded with the record's place, so that a right record in a
 * wrong place fails too. The names of all headers lie together: records of one topic carry the same names, so a reader looks up one
 * block instead of reading ten strings.
 */
import { crc32 } from 'node:zlib';
import type { BusRecord, Header } from '@event-bus/core';

/** A record whose place is not known yet: `sealFrame` completes it. */
export type Frame = Buffer;

export interface OpenedFrame extends BusRecord {
  readonly time: number;
}

/** One frame per record. The records are copied: their owner may change them afterwards. */
export function encodeFrames(records: readonly BusRecord[]): Frame[] {
  let total = 0;
  const names = records.map(({ headers }) => namesOf(headers));
  for (let i = 0; i < records.length; i++) total += frameBytes(records[i]!, names[i]!);
  const slab = Buffer.allocUnsafe(total);
  const frames: Frame[] = [];
  let start = 0;
  let before: Written | undefined;
  for (let i = 0; i < records.length; i++) {
    before = writeFrame(slab, start, records[i]!, names[i]!, before);
    frames.push(slab.subarray(start, before.end));
    start = before.end;
  }
  return frames;
}

/** Gives a frame its time and place. */
export function sealFrame(frame: Frame, time: number, seed: number): void {
  const high = Math.floor(time / 2 ** 32);
  frame[TIME_AT] = high >> 8;
  frame[TIME_AT + 1] = high;
  writeUint32(frame, TIME_AT + 2, time % 2 ** 32);
  writeUint32(frame, CRC_AT, crc32(bytesOf(frame, TIME_AT, frame.length), seed));
}

/** The record of a frame, as views of its bytes; `undefined` when it is not what was written to this place. */
export function openFrame(frame: Buffer, seed: number): OpenedFrame | undefined {
  if (frame.length < NAMES_AT || frame[0] !== VERSION) return undefined;
  if (crc32(bytesOf(frame, TIME_AT, frame.length), seed) !== uint32At(frame, CRC_AT)) return undefined;
  const flags = frame[FLAGS_AT]!;
  const lengthsAt = NAMES_AT + uint32At(frame, NAMES_LENGTH_AT);
  const names = readNames(frame, lengthsAt);
  const keyAt = lengthsAt + names.length * 4;
  let at = keyAt + uint32At(frame, KEY_LENGTH_AT);
  const key = flags & NO_KEY ? null : frame.subarray(keyAt, at);
  const headers: Header[] = [];
  for (let i = 0; i < names.length; i++) {
    const end = at + uint32At(frame, lengthsAt + i * 4);
    headers.push(pairOf(i, names[i]!, frame, at, end));
    at = end;
  }
  return { time: timeOfFrame(frame), key, value: flags & NO_VALUE ? null : frame.subarray(at), headers };
}

export function timeOfFrame(frame: Buffer): number {
  return frame.readUIntBE(TIME_AT, 6);
}

/**
 * What the CRC of a place begins with. Within a partition two offsets never share a seed (an odd factor is one-to-one below 2^32);
 * between partitions they differ but for one in 2^32.
 */
export function placeSeed(partitionSeed: number, offset: number): number {
  return (partitionSeed + Math.imul(offset % 2 ** 32, 0x9e3779b1)) >>> 0;
}

export function partitionSeed(epoch: string, topic: number, partition: number): number {
  return crc32(`${epoch}/${topic}/${partition}`);
}

// A plain view costs half of what `subarray` does, and a record has ten.
function bytesOf(frame: Buffer, from: number, to: number): Uint8Array {
  return new Uint8Array(frame.buffer, frame.byteOffset + from, to - from);
}

function frameBytes(record: BusRecord, names: Buffer): number {
  let bytes =
    NAMES_AT + names.length + record.headers.length * 4 + (record.key?.length ?? 0) + (record.value?.length ?? 0);
  for (let i = 0; i < record.headers.length; i++) bytes += record.headers[i]![1].length;
  return bytes;
}

/** A frame that was written, and what the next one may repeat of it. */
interface Written {
  readonly headers: readonly Header[];
  readonly names: Buffer;
  /** The names, and the lengths of the headers. */
  readonly head: Uint8Array;
  readonly values: Uint8Array;
  readonly end: number;
}

/** Most of a record's headers are those of the record before: copied as one block, and mended where they differ. */
function writeFrame(
  slab: Buffer,
  start: number,
  { key, value, headers }: BusRecord,
  names: Buffer,
  before: Written | undefined,
): Written {
  const keyLength = key === null ? 0 : key.length;
  const isLike = before !== undefined && before.names === names && haveSameLengths(headers, before.headers);
  slab[start] = VERSION;
  slab[start + FLAGS_AT] = (key === null ? NO_KEY : 0) | (value === null ? NO_VALUE : 0);
  writeUint32(slab, start + KEY_LENGTH_AT, keyLength);
  writeUint32(slab, start + VALUE_LENGTH_AT, value === null ? 0 : value.length);
  writeUint32(slab, start + NAMES_LENGTH_AT, names.length);
  let at = start + NAMES_AT;
  if (isLike) {
    at = copy(before.head, slab, at);
  } else {
    at = copy(names, slab, at);
    for (const header of headers) at = writeUint32(slab, at, header[1].length);
  }
  const keyAt = at;
  if (key !== null) at = copy(key, slab, at);
  const headersAt = at;
  // A call of `copyWithin` costs three times as much.
  if (isLike) slab.set(before.values, at);
  for (let i = 0; i < headers.length; i++) {
    const bytes = headers[i]![1];
    if (!isLike || before.headers[i]![1] !== bytes) slab.set(bytes, at);
    at += bytes.length;
  }
  const valueAt = at;
  if (value !== null) at = copy(value, slab, at);
  if (isLike) return { headers: before.headers, names, head: before.head, values: before.values, end: at };
  const head = bytesOf(slab, start + NAMES_AT, keyAt);
  return { headers, names, head, values: bytesOf(slab, headersAt, valueAt), end: at };
}

function haveSameLengths(some: readonly Header[], others: readonly Header[]): boolean {
  for (let i = 0; i < some.length; i++) if (some[i]![1].length !== others[i]![1].length) return false;
  return true;
}

function copy(bytes: Uint8Array, target: Buffer, at: number): number {
  target.set(bytes, at);
  return at + bytes.length;
}

// The rows of names seen last, newest first: a topic has one or two of them.
const written: { readonly headers: readonly string[]; readonly block: Buffer }[] = [];
const WRITTEN_AT_MOST = 16;

function namesOf(headers: readonly Header[]): Buffer {
  if (headers.length === 0) return NO_NAMES;
  for (const row of written) if (isRow(row.headers, headers)) return row.block;
  const block = Buffer.concat(headers.flatMap(([name]) => [uint32(Buffer.byteLength(name)), Buffer.from(name)]));
  if (block.length <= LONGEST_KEPT_BLOCK) {
    written.unshift({ headers: headers.map(([name]) => name), block });
    if (written.length > WRITTEN_AT_MOST) written.pop();
  }
  return block;
}

function isRow(names: readonly string[], headers: readonly Header[]): boolean {
  if (names.length !== headers.length) return false;
  for (let i = 0; i < names.length; i++) if (names[i] !== headers[i]![0]) return false;
  return true;
}

// Most headers are the same from record to record: the pair of the record before serves again, and the collector has ten times less to do.
const lastPairs: Header[] = [];

function pairOf(place: number, name: string, frame: Buffer, from: number, to: number): Header {
  const last = lastPairs[place];
  if (last !== undefined && last[0] === name && isSame(last[1], frame, from, to)) return last;
  const pair: Header = [name, bytesOf(frame, from, to)];
  // The pair is a view: it keeps its whole frame.
  if (place < PAIRS_AT_MOST && to - from <= LONGEST_KEPT_VALUE && frame.length <= LONGEST_KEPT_FRAME)
    lastPairs[place] = pair;
  return pair;
}

function isSame(bytes: Uint8Array, frame: Buffer, from: number, to: number): boolean {
  if (bytes.length !== to - from) return false;
  // From the end: times differ there.
  for (let i = bytes.length - 1; i >= 0; i--) if (bytes[i] !== frame[from + i]) return false;
  return true;
}

const PAIRS_AT_MOST = 32;
const LONGEST_KEPT_VALUE = 256;
const LONGEST_KEPT_FRAME = 4_096;

let lastRead: { readonly block: Buffer; readonly names: readonly string[] } = { block: Buffer.alloc(0), names: [] };

function readNames(frame: Buffer, end: number): readonly string[] {
  if (end === NAMES_AT) return [];
  const { block } = lastRead;
  if (frame.compare(block, 0, block.length, NAMES_AT, end) === 0) return lastRead.names;
  const names: string[] = [];
  for (let at = NAMES_AT; at < end;) {
    const from = at + 4;
    at = from + uint32At(frame, at);
    names.push(frame.toString('utf8', from, at));
  }
  if (end - NAMES_AT <= LONGEST_KEPT_BLOCK) lastRead = { block: Buffer.from(frame.subarray(NAMES_AT, end)), names };
  return names;
}

const LONGEST_KEPT_BLOCK = 1_024;

// `readUInt32BE` and `writeUInt32BE` check their arguments; these are called ten times a record.
function uint32At(bytes: Buffer, at: number): number {
  return bytes[at]! * 0x1000000 + ((bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!);
}

function writeUint32(bytes: Buffer, at: number, value: number): number {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
  return at + 4;
}

function uint32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  writeUint32(bytes, 0, value);
  return bytes;
}

const VERSION = 1;
const CRC_AT = 1;
const TIME_AT = 5;
const FLAGS_AT = 11;
const KEY_LENGTH_AT = 12;
const VALUE_LENGTH_AT = 16;
const NAMES_LENGTH_AT = 20;
const NAMES_AT = 24;
const NO_KEY = 1;
const NO_VALUE = 2;
const NO_NAMES = Buffer.alloc(0);
