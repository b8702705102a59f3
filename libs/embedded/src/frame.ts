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

/** Bytes of key, value and headers: what `maxRecordBytes` limits. */
export function recordBytes(record: BusRecord): number {
  let bytes = (record.key?.length ?? 0) + (record.value?.length ?? 0);
  for (const [name, value] of record.headers) bytes += name.length + value.length;
  return bytes;
}

/** One frame per record. The records are copied: their owner may change them afterwards. */
export function encodeFrames(records: readonly BusRecord[]): Frame[] {
  const names = records.map((record) => namesOf(record.headers));
  let total = 0;
  for (const [i, record] of records.entries()) total += frameBytes(record, names[i]!);
  const slab = Buffer.allocUnsafe(total);
  let start = 0;
  return records.map((record, i) => {
    const end = writeFrame(slab, start, record, names[i]!);
    const frame = slab.subarray(start, end);
    start = end;
    return frame;
  });
}

/** Gives a frame its time and place. */
export function sealFrame(frame: Frame, time: number, seed: number): void {
  frame.writeUIntBE(time, TIME_AT, 6);
  frame.writeUInt32BE(crc32(bytesOf(frame, TIME_AT, frame.length), seed), CRC_AT);
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
  for (const header of record.headers) bytes += header[1].length;
  return bytes;
}

function writeFrame(slab: Buffer, start: number, record: BusRecord, names: Buffer): number {
  const { key, value, headers } = record;
  slab[start] = VERSION;
  slab[start + FLAGS_AT] = (key === null ? NO_KEY : 0) | (value === null ? NO_VALUE : 0);
  slab.writeUInt32BE(key?.length ?? 0, start + KEY_LENGTH_AT);
  slab.writeUInt32BE(value?.length ?? 0, start + VALUE_LENGTH_AT);
  slab.writeUInt32BE(names.length, start + NAMES_LENGTH_AT);
  let at = copy(names, slab, start + NAMES_AT);
  for (const header of headers) at = slab.writeUInt32BE(header[1].length, at);
  if (key !== null) at = copy(key, slab, at);
  for (const header of headers) at = copy(header[1], slab, at);
  if (value !== null) at = copy(value, slab, at);
  return at;
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
  if (place < PAIRS_AT_MOST && to - from <= LONGEST_KEPT_VALUE) lastPairs[place] = pair;
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

// `readUInt32BE` checks its argument; this is read ten times a record.
function uint32At(bytes: Buffer, at: number): number {
  return bytes[at]! * 0x1000000 + ((bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(value);
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
