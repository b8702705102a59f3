/**
 * Decodes one record of a batch in linear time. kafkajs spreads the headers into a new object for each one: 5 000 empty headers, 33 KB on
 * the wire, hold the event loop for seconds, before any code of the application sees the record. Whoever may write to a topic could stop
 * all its consumers that way.
 */
import { DEAD_LETTER_HEADERS, type Header } from '@event-bus/core';

/** What kafkajs's consumer works with, plus `pairs` and `unreadable`. */
export interface DecodedRecord {
  readonly magicByte: number | undefined;
  readonly attributes: number;
  readonly timestamp: string;
  readonly offset: string;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  /** As kafkajs makes it, an array for a repeated name, but without a prototype: `constructor` and `__proto__` are names like others. */
  readonly headers: Record<string, HeaderValue | HeaderValue[]>;
  /** Headers in order, with repeats; only the first ones when `unreadable` is set. */
  readonly pairs: readonly Header[];
  /** Why the record must not be taken for an event. */
  readonly unreadable: string | undefined;
  readonly isControlRecord: boolean;
  readonly batchContext: BatchContext;
}

export type HeaderValue = Buffer | null;

export interface BatchContext {
  readonly firstOffset?: string;
  readonly firstTimestamp?: string;
  readonly maxTimestamp?: string;
  readonly magicByte?: number;
  readonly isControlBatch?: boolean;
  readonly timestampType?: number;
  readonly producerId?: string;
  readonly inTransaction?: boolean;
}

/** kafkajs's cursor over the bytes of one record. */
export interface RecordBytes {
  readonly buffer: Buffer;
  offset: number;
}

/** A record with more headers than this, or more bytes of them, is no event. An event of the bus has about ten, with half a kilobyte. */
export const MAX_HEADERS = 256;
export const MAX_HEADER_BYTES = 64 * 1024;

/** Stands in `pairs` for a header without a value, and is written as one: a dead letter carries its headers byte for byte. */
export const NULL_HEADER_VALUE = Buffer.alloc(0);

/** What it answers has bytes of its own: a record may be kept for long, and as a slice it would keep the whole fetch answer. */
export function decodeRecord({ buffer, offset }: RecordBytes, context: BatchContext = {}): DecodedRecord {
  const own = Buffer.allocUnsafe(buffer.length);
  own.set(buffer);
  return readRecord({ buffer: own, offset }, context);
}

export function readRecord(bytes: RecordBytes, context: BatchContext): DecodedRecord {
  const base = basesOf(context);
  const attributes = bytes.buffer.readInt8(bytes.offset++);
  const timestamp = readTimestamp(bytes, context, base);
  const offset = sum(readVarInt(bytes), base.offset, context.firstOffset);
  const key = readBytes(bytes);
  const value = readBytes(bytes);
  const from = bytes.offset;
  const count = readVarInt(bytes);
  const unreadable = headerFault(bytes, count);
  const pairs = readPairs(bytes, unreadable === undefined ? count : Math.min(count, MAX_HEADERS + LETTER_HEADERS));
  const record = {
    magicByte: context.magicByte,
    attributes,
    timestamp,
    offset,
    key,
    value,
    headers: unreadable === undefined ? headersOf(pairs) : (undefined as never),
    isControlRecord: context.isControlBatch ?? false,
    batchContext: context,
    pairs: unreadable === undefined ? pairs : withinLimits(pairs, count),
    unreadable,
  };
  return unreadable === undefined ? record : withLazyHeaders(record, bytes.buffer, from);
}

/** Other users of kafkajs in this process may want all headers of such a record; nobody pays for them unless asked. */
function withLazyHeaders(record: DecodedRecord, buffer: Buffer, from: number): DecodedRecord {
  const get = () => {
    const bytes = { buffer, offset: from };
    const value = headersOf(readPairs(bytes, readVarInt(bytes)));
    Object.defineProperty(record, 'headers', { value, enumerable: true, configurable: true, writable: true });
    return value;
  };
  return Object.defineProperty(record, 'headers', { get, enumerable: true, configurable: true });
}

function headerFault(bytes: RecordBytes, count: number): string | undefined {
  const left = bytes.buffer.length - bytes.offset;
  if (count < -1 || left < 0 || count * 2 > left) return 'its headers are broken';
  if (count > MAX_HEADERS) return `it has ${count} headers, at most ${MAX_HEADERS} are read`;
  if (left > MAX_HEADER_BYTES) return `its headers have ${left} bytes, at most ${MAX_HEADER_BYTES} are read`;
  return undefined;
}

type Pair = readonly [name: string, value: Buffer];

function readPairs(bytes: RecordBytes, count: number): Pair[] {
  const pairs: Pair[] = [];
  const end = bytes.buffer.length;
  for (let i = 0; i < count && bytes.offset < end; i++) pairs.push(i < PLACES ? readAgain(bytes, i) : readPair(bytes));
  return pairs;
}

const readPair = (bytes: RecordBytes): Pair => [readName(bytes), readBytes(bytes) ?? NULL_HEADER_VALUE];

/** A dead letter may have as many headers as an event, and behind them its own: without those nobody could tell why it is dead. */
function withinLimits(pairs: readonly Pair[], count: number): Header[] {
  const isLetter = pairs.length === count && pairs.at(-LETTER_HEADERS)?.[0] === DEAD_LETTER_HEADERS.reason;
  const facts = isLetter ? pairs.slice(-LETTER_HEADERS) : [];
  let size = 0;
  const kept = pairs
    .slice(0, isLetter ? -LETTER_HEADERS : MAX_HEADERS)
    .filter(([name, value]) => (size += name.length + value.length) <= MAX_HEADER_BYTES);
  return [...kept, ...facts];
}

const LETTER_HEADERS = Object.keys(DEAD_LETTER_HEADERS).length;

function headersOf(pairs: readonly Pair[]): Record<string, HeaderValue | HeaderValue[]> {
  const headers = new Headers() as Record<string, HeaderValue | HeaderValue[]>;
  for (const [name, bytes] of pairs) {
    const value = bytes === NULL_HEADER_VALUE ? null : bytes;
    const known = headers[name];
    if (known === undefined) headers[name] = value;
    else if (Array.isArray(known)) known.push(value);
    else headers[name] = [known, value];
  }
  return headers;
}

// Its instances inherit nothing, like those of Object.create(null), but the engine keeps their shapes: two to three times as fast.
const Headers = function () {} as unknown as new () => object;
Headers.prototype = Object.create(null);

// ---- numbers. A 64-bit number is a double as long as that is exact, and a BigInt only beyond.

interface Bases {
  readonly offset: number;
  readonly timestamp: number;
}

let lastContext: BatchContext | undefined;
let lastBases: Bases = { offset: 0, timestamp: 0 };

/** All records of a batch come one after another with one context. */
function basesOf(context: BatchContext): Bases {
  if (context !== lastContext) {
    lastContext = context;
    lastBases = { offset: Number(context.firstOffset), timestamp: Number(context.firstTimestamp) };
  }
  return lastBases;
}

function readTimestamp(bytes: RecordBytes, context: BatchContext, base: Bases): string {
  const delta = readVarLong(bytes);
  if (context.timestampType === LOG_APPEND_TIME && context.maxTimestamp) return context.maxTimestamp;
  if (typeof delta === 'bigint') return String(BigInt(context.firstTimestamp ?? 0) + delta);
  return sum(delta, base.timestamp, context.firstTimestamp);
}

function sum(delta: number, base: number, exactBase: string | undefined): string {
  const total = base + delta;
  return Number.isSafeInteger(total) && Number.isSafeInteger(base)
    ? String(total)
    : String(BigInt(exactBase ?? 0) + BigInt(delta));
}

function readVarInt(bytes: RecordBytes): number {
  const { buffer } = bytes;
  let byte = buffer[bytes.offset++]!;
  let value = byte & 0x7f;
  for (let shift = 7; byte >= 0x80 && shift < 35; shift += 7) {
    byte = buffer[bytes.offset++]!;
    value |= (byte & 0x7f) << shift;
  }
  return (value >>> 1) ^ -(value & 1);
}

function readVarLong(bytes: RecordBytes): number | bigint {
  const { buffer } = bytes;
  const start = bytes.offset;
  let value = 0;
  let scale = 1;
  for (let size = 1; size <= 7; size++) {
    const byte = buffer[bytes.offset++]!;
    value += (byte & 0x7f) * scale;
    scale *= 0x80;
    if (!(byte >= 0x80)) return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }
  bytes.offset = start;
  return readWideVarLong(bytes);
}

function readWideVarLong(bytes: RecordBytes): bigint {
  let value = 0n;
  for (let shift = 0n; shift < 70n; shift += 7n) {
    const byte = bytes.buffer[bytes.offset++] ?? 0;
    value += BigInt(byte & 0x7f) << shift;
    if (byte < 0x80) break;
  }
  return (value >> 1n) ^ -(value & 1n);
}

function readBytes(bytes: RecordBytes): HeaderValue {
  const length = readVarInt(bytes);
  if (length < 0) return null;
  const from = bytes.offset;
  bytes.offset += length;
  return bytes.buffer.subarray(from, bytes.offset);
}

// ---- most headers are the same in every record of a topic, at the same place: those are made once

interface Seen {
  /** The header as it is written. */
  readonly bytes: Uint8Array;
  readonly pair: Pair;
}

/** The pair of the last record that had this very header at this place. Its bytes are its own, and shared: nobody may change them. */
function readAgain(bytes: RecordBytes, place: number): Pair {
  const { buffer, offset } = bytes;
  const known = seen[place];
  if (known !== undefined && isAt(known.bytes, buffer, offset)) {
    bytes.offset = offset + known.bytes.length;
    misses[place] = 0;
    return known.pair;
  }
  const pair = readPair(bytes);
  const size = bytes.offset - offset;
  // What differs in every record, such as an id, is copied ever more seldom.
  const missed = ++misses[place]!;
  if ((missed & (missed - 1)) !== 0 || size > MAX_SEEN_BYTES || bytes.offset > buffer.length) return pair;
  const value = pair[1] === NULL_HEADER_VALUE ? NULL_HEADER_VALUE : copyOf(pair[1], 0, pair[1].length);
  const own: Pair = [pair[0], value];
  seen[place] = { bytes: copyOf(buffer, offset, bytes.offset), pair: own };
  return own;
}

function isAt(known: Uint8Array, buffer: Buffer, from: number): boolean {
  if (from + known.length > buffer.length) return false;
  for (let i = 0; i < known.length; i++) if (known[i] !== buffer[from + i]) return false;
  return true;
}

/** With memory of its own, so that it keeps no fetch answer alive. */
function copyOf(bytes: Uint8Array, from: number, to: number): Buffer {
  const copy = Buffer.allocUnsafeSlow(to - from);
  for (let i = 0; i < copy.length; i++) copy[i] = bytes[from + i]!;
  return copy;
}

const PLACES = 16;
const MAX_SEEN_BYTES = 256;
const seen = Array.from<Seen | undefined>({ length: PLACES });
const misses = new Int32Array(PLACES);

// ---- header names are few and come with every record: most are known, and a known one costs no new string

function readName(bytes: RecordBytes): string {
  const length = readVarInt(bytes);
  if (length < 0) return 'null'; // what kafkajs makes of a name that no broker lets in
  const from = bytes.offset;
  const end = (bytes.offset += length);
  return length > MAX_NAME_LENGTH || end > bytes.buffer.length
    ? bytes.buffer.toString('utf8', from, end)
    : knownName(bytes.buffer, from, end);
}

function knownName(buffer: Buffer, from: number, end: number): string {
  let hash = end - from;
  for (let at = from; at < end; at++) hash = (hash * 31 + buffer[at]!) & 0x3fffffff;
  const slot = hash & (NAME_SLOTS - 1);
  const known = nameSlots[slot]!;
  if (sameBytes(known.bytes, buffer, from, end)) return known.name;
  const name = buffer.toString('utf8', from, end);
  nameSlots[slot] = { bytes: copyOf(buffer, from, end), name };
  return name;
}

function sameBytes(known: Uint8Array, buffer: Buffer, from: number, end: number): boolean {
  if (known.length !== end - from) return false;
  for (let at = from; at < end; at++) if (known[at - from] !== buffer[at]) return false;
  return true;
}

const NAME_SLOTS = 512;
const MAX_NAME_LENGTH = 64;
const nameSlots: { readonly bytes: Uint8Array; readonly name: string }[] = Array.from({ length: NAME_SLOTS }, () => ({
  bytes: new Uint8Array(),
  name: '',
}));

const LOG_APPEND_TIME = 1;
