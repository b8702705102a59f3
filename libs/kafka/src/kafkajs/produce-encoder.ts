/**
 * Writes the body of a Produce request, versions 3 to 7, in one pass: all sizes first, then one buffer. kafkajs takes a buffer of 512
 * bytes per record and per header, copies each seven times and computes with BigInt. The bytes are the same; a property test compares them.
 */
import type { Header } from '@event-bus/core';
import { crc32c } from './crc32c.js';
import { NULL_HEADER_VALUE } from './record-decoder.js';

/** A record as kafkajs's producer takes it, plus `pairs`: headers in order, with repeats, written before those of `headers`. */
export interface ProduceMessage {
  readonly key?: Buffer | string | null;
  readonly value?: Buffer | string | null;
  readonly timestamp?: string | number | null;
  readonly headers?: Readonly<Record<string, unknown>> | undefined;
  readonly pairs?: readonly Header[] | undefined;
}

export interface ProduceArguments {
  readonly acks: number;
  readonly timeout: number;
  readonly transactionalId?: string | null;
  readonly producerId?: unknown;
  readonly producerEpoch?: number;
  readonly compression?: number;
  readonly topicData: readonly { readonly topic: string; readonly partitions: readonly ProducePartition[] }[];
}

export interface ProducePartition {
  readonly partition: number;
  readonly firstSequence?: number;
  readonly messages: readonly ProduceMessage[];
}

/** `undefined`: something here is left to the original encoder (compression, odd types), or to its error. `now` stands in for a missing timestamp. */
export function encodeProduce(request: ProduceArguments, now: number): Buffer | undefined {
  if (request.compression) return undefined;
  const plan = planRequest(request, now);
  return plan && writeRequest(request, plan);
}

interface Plan {
  readonly bytes: number;
  readonly topics: readonly PartitionPlan[][];
}

interface PartitionPlan {
  readonly batchBytes: number;
  readonly bodies: Int32Array;
  readonly now: number;
  readonly first: number;
  readonly max: number;
}

// ---- sizes

function planRequest(request: ProduceArguments, now: number): Plan | undefined {
  const topics: PartitionPlan[][] = [];
  let bytes = sizeOfString(request.transactionalId) + 2 + 4 + 4;
  for (const { topic, partitions } of request.topicData) {
    bytes += sizeOfString(topic) + 4;
    const plans: PartitionPlan[] = [];
    for (const { messages } of partitions) {
      const plan = planPartition(messages, now);
      if (!plan) return undefined;
      plans.push(plan);
      bytes += 4 + 4 + plan.batchBytes;
    }
    topics.push(plans);
  }
  return bytes <= MAX_BYTES ? { bytes, topics } : undefined;
}

function planPartition(messages: readonly ProduceMessage[], now: number): PartitionPlan | undefined {
  const times = timestampsOf(messages, now);
  if (!times) return undefined;
  const bodies = new Int32Array(messages.length);
  let batchBytes = BATCH_HEAD_BYTES;
  for (let i = 0; i < messages.length; i++) {
    const body = sizeOfBody(messages[i]!, i, deltaOf(messages[i]!, now, times.first));
    if (body < 0) return undefined;
    bodies[i] = body;
    batchBytes += sizeOfVarInt(body) + body;
    if (batchBytes > MAX_BYTES) return undefined;
  }
  return { batchBytes, bodies, now, ...times };
}

/** First and last as kafkajs picks them: sorted as text, of those that are given. */
function timestampsOf(messages: readonly ProduceMessage[], now: number): { first: number; max: number } | undefined {
  let given: (string | number)[] | undefined;
  for (const { timestamp } of messages) {
    if (timestamp === undefined || timestamp === null) continue;
    if (
      typeof timestamp === 'number'
        ? !(Math.abs(timestamp) < MAX_TIMESTAMP && Number.isInteger(timestamp))
        : !PLAIN_TIMESTAMP.test(timestamp)
    )
      return undefined;
    (given ??= []).push(timestamp);
  }
  if (!given) return { first: now, max: now };
  // oxlint-disable-next-line typescript/require-array-sort-compare -- kafkajs sorts them as text
  given.sort();
  return { first: Number(given[0]), max: Number(given[given.length - 1]) };
}

const deltaOf = (message: ProduceMessage, now: number, first: number) => Number(message.timestamp || now) - first;

function sizeOfBody(message: ProduceMessage, index: number, delta: number): number {
  const key = sizeOfBytes(message.key);
  const value = sizeOfBytes(message.value);
  const headers = sizeOfHeaders(message);
  if (key < 0 || value < 0 || headers < 0) return -1;
  return 1 + sizeOfVarLong(delta) + sizeOfVarInt(index) + key + value + headers;
}

function sizeOfHeaders({ pairs, headers }: ProduceMessage): number {
  let count = 0;
  let bytes = 0;
  if (pairs) {
    count = pairs.length;
    // By index, here and below: taking pairs apart with a pattern makes an iterator for each.
    for (let i = 0; i < count; i++) {
      const { length } = pairs[i]![1];
      bytes += nameBytes(pairs[i]![0]).length + sizeOfVarInt(length) + length; // one byte for none, too
    }
  }
  if (headers === null) return -1;
  if (headers) {
    for (const name of Object.keys(headers)) {
      const value = headers[name];
      const values = Array.isArray(value) ? value : [value];
      count += values.length;
      for (const one of values) {
        if (one === null || one === undefined) return -1;
        const size = sizeOfBytes(one);
        if (size < 0) return -1;
        bytes += nameBytes(name).length + size;
      }
    }
  }
  return sizeOfVarInt(count) + bytes;
}

function sizeOfBytes(value: unknown): number {
  if (value === null || value === undefined) return 1;
  const length = Buffer.isBuffer(value) ? value.length : typeof value === 'string' ? Buffer.byteLength(value) : -1;
  return length < 0 ? -1 : sizeOfVarInt(length) + length;
}

const sizeOfString = (value: string | null | undefined) => 2 + Buffer.byteLength(value ?? '');

function sizeOfVarInt(value: number): number {
  const zigzag = ((value << 1) ^ (value >> 31)) >>> 0;
  return zigzag < 0x80 ? 1 : zigzag < 0x4000 ? 2 : zigzag < 0x200000 ? 3 : zigzag < 0x10000000 ? 4 : 5;
}

function sizeOfVarLong(value: number): number {
  let size = 1;
  for (let rest = zigZag(value); rest >= 0x80; rest = Math.floor(rest / 0x80)) size++;
  return size;
}

// Timestamps stay far below 2^51, so that a double holds this exactly.
const zigZag = (value: number) => (value >= 0 ? 2 * value : -2 * value - 1);

// ---- bytes: each function writes at `at` and answers where the next one goes on

function writeRequest(request: ProduceArguments, plan: Plan): Buffer {
  const target = Buffer.allocUnsafe(plan.bytes);
  let at = writeString(target, 0, request.transactionalId);
  at = target.writeInt16BE(request.acks, at);
  at = target.writeInt32BE(request.timeout, at);
  at = target.writeInt32BE(request.topicData.length, at);
  request.topicData.forEach(({ topic, partitions }, t) => {
    at = writeString(target, at, topic);
    at = target.writeInt32BE(partitions.length, at);
    partitions.forEach((partition, p) => {
      const batch = plan.topics[t]![p]!;
      at = target.writeInt32BE(partition.partition, at);
      at = target.writeInt32BE(batch.batchBytes, at);
      at = writeBatch(target, at, request, partition, batch);
    });
  });
  return target;
}

function writeBatch(
  target: Buffer,
  start: number,
  request: ProduceArguments,
  partition: ProducePartition,
  plan: PartitionPlan,
): number {
  const { messages } = partition;
  let at = writeInt64(target, start, 0); // first offset: the broker's affair
  at = target.writeInt32BE(plan.batchBytes - 12, at);
  at = target.writeInt32BE(0, at); // partition leader epoch
  at = target.writeInt8(2, at); // magic
  const crcAt = at;
  const checkedFrom = at + 4;
  at = target.writeInt16BE(request.transactionalId ? TRANSACTIONAL : 0, checkedFrom);
  at = target.writeInt32BE(messages.length - 1, at);
  at = writeInt64(target, at, plan.first);
  at = writeInt64(target, at, plan.max);
  at = target.writeBigInt64BE(bigIntOf(request.producerId), at);
  at = target.writeInt16BE(request.producerEpoch ?? 0, at);
  at = target.writeInt32BE(partition.firstSequence ?? 0, at);
  at = target.writeInt32BE(messages.length, at);
  for (let i = 0; i < messages.length; i++) {
    at = writeRecord(target, at, messages[i]!, i, plan.bodies[i]!, deltaOf(messages[i]!, plan.now, plan.first));
  }
  target.writeUInt32BE(crc32c(target, checkedFrom, at), crcAt);
  return at;
}

function writeRecord(
  target: Buffer,
  start: number,
  message: ProduceMessage,
  index: number,
  body: number,
  delta: number,
): number {
  let at = writeVarInt(target, start, body);
  target[at++] = 0; // attributes
  at = writeVarLong(target, at, delta);
  at = writeVarInt(target, at, index);
  at = writeBytes(target, at, message.key);
  at = writeBytes(target, at, message.value);
  return writeHeaders(target, at, message);
}

function writeHeaders(target: Buffer, start: number, { pairs, headers }: ProduceMessage): number {
  const names = headers ? Object.keys(headers) : [];
  let count = pairs ? pairs.length : 0;
  for (const name of names) count += Array.isArray(headers![name]) ? (headers![name] as unknown[]).length : 1;
  let at = writeVarInt(target, start, count);
  if (pairs) {
    for (let i = 0; i < pairs.length; i++) {
      const value = pairs[i]![1];
      at = copy(target, at, nameBytes(pairs[i]![0]));
      at = copy(target, writeVarInt(target, at, value === NULL_HEADER_VALUE ? -1 : value.length), value);
    }
  }
  for (const name of names) {
    const value = headers![name];
    for (const one of Array.isArray(value) ? value : [value])
      at = writeBytes(target, copy(target, at, nameBytes(name)), one);
  }
  return at;
}

function writeBytes(target: Buffer, at: number, value: unknown): number {
  if (value === null || value === undefined) {
    target[at] = 1; // the varint of -1
    return at + 1;
  }
  if (typeof value === 'string') {
    const length = Buffer.byteLength(value);
    const from = writeVarInt(target, at, length);
    return from + target.write(value, from, length, 'utf8');
  }
  const bytes = value as Buffer;
  return copy(target, writeVarInt(target, at, bytes.length), bytes);
}

function copy(target: Buffer, at: number, bytes: Uint8Array): number {
  const length = bytes.length;
  // A call costs more than a few bytes do.
  if (length > 24) target.set(bytes, at);
  else for (let i = 0; i < length; i++) target[at + i] = bytes[i]!;
  return at + length;
}

function writeString(target: Buffer, at: number, value: string | null | undefined): number {
  if (value === null || value === undefined) return target.writeInt16BE(-1, at);
  const length = Buffer.byteLength(value);
  target.writeInt16BE(length, at);
  return at + 2 + target.write(value, at + 2, length, 'utf8');
}

function writeInt64(target: Buffer, at: number, value: number): number {
  target.writeInt32BE(Math.floor(value / 2 ** 32), at);
  return target.writeUInt32BE(value >>> 0, at + 4);
}

function writeVarInt(target: Buffer, at: number, value: number): number {
  let zigzag = ((value << 1) ^ (value >> 31)) >>> 0;
  while (zigzag >= 0x80) {
    target[at++] = (zigzag & 0x7f) | 0x80;
    zigzag >>>= 7;
  }
  target[at] = zigzag;
  return at + 1;
}

function writeVarLong(target: Buffer, at: number, value: number): number {
  let zigzag = zigZag(value);
  while (zigzag >= 0x80) {
    target[at++] = (zigzag % 0x80) | 0x80;
    zigzag = Math.floor(zigzag / 0x80);
  }
  target[at] = zigzag;
  return at + 1;
}

/** kafkajs hands over a string, a number, or its own Long. */
function bigIntOf(value: unknown): bigint {
  if (typeof value === 'object' && value !== null && 'value' in value) return BigInt(value.value as bigint);
  return value === undefined ? -1n : BigInt(value as string | number);
}

/** A header name with its length before it. Names are few and come with every record. */
function nameBytes(name: string): Uint8Array {
  const known = names.get(name);
  if (known) return known;
  const text = Buffer.from(name);
  const bytes = Buffer.allocUnsafeSlow(sizeOfVarInt(text.length) + text.length);
  copy(bytes, writeVarInt(bytes, 0, text.length), text);
  if (name.length <= MAX_NAME_LENGTH) {
    if (names.size >= MAX_NAMES) names.clear();
    names.set(name, bytes);
  }
  return bytes;
}

const names = new Map<string, Uint8Array>();
const MAX_NAMES = 256;
const MAX_NAME_LENGTH = 64;
const MAX_BYTES = 2 ** 30;
const BATCH_HEAD_BYTES = 61;
const TRANSACTIONAL = 16;
const MAX_TIMESTAMP = 1e15;
const PLAIN_TIMESTAMP = /^\d{1,15}$/;
