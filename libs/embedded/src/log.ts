/**
 * The records of all partitions: append, read, find by time, trim. Everything here is synchronous; what writes must be called inside a
 * write transaction. Offsets are contiguous from 0 and never used twice, because the counter is written with the records.
 */
import type { StoredRecord } from '@event-bus/core';
import { logKey, offsetOfEntry, type Databases, type EndsRow } from './databases.js';
import { openFrame, partitionSeed, placeSeed, sealFrame, timeOfFrame, type Frame } from './frame.js';
import { positionText } from './position.js';

type Ends = { -readonly [Field in keyof EndsRow]: EndsRow[Field] };

export interface LogSlice {
  readonly records: StoredRecord[];
  /** Those of them whose bytes are not what was written: their value is the raw frame. */
  readonly corrupt: readonly StoredRecord[];
  /** Behind the last record of the slice. */
  readonly next: number;
  /** Records that should have been in the slice's range and are gone. */
  readonly lost: readonly LostOffsets[];
}

export interface LostOffsets {
  readonly from: number;
  readonly to: number;
  readonly reason: string;
}

export class Log {
  readonly #seeds = new Map<number, number[]>();
  // Ends of the transaction under way: a thousand single appends read and write each counter once.
  readonly #written = new Map<number, Map<number, Ends>>();
  #bytesWritten = 0;
  #bytesBefore: number | undefined;

  constructor(
    private readonly databases: Databases,
    private readonly epoch: string,
  ) {}

  begin(): void {
    this.#written.clear();
    this.#bytesWritten = 0;
    this.#bytesBefore = undefined;
  }

  end(): void {
    for (const [topic, partitions] of this.#written)
      for (const [partition, row] of partitions) void this.databases.ends.put([topic, partition], row);
    if (this.#bytesWritten !== 0) void this.databases.meta.put('bytes', this.bytesWithWritten());
    this.begin();
  }

  ends(topic: number, partition: number): EndsRow {
    return this.#written.get(topic)?.get(partition) ?? this.databases.ends.get([topic, partition]) ?? NO_RECORDS;
  }

  /** Bytes of all records of all topics. */
  bytes(): number {
    return (this.databases.meta.get('bytes') as number | undefined) ?? 0;
  }

  /** The same inside a write, with what the transaction has written so far. */
  bytesWithWritten(): number {
    return (this.#bytesBefore ??= this.bytes()) + this.#bytesWritten;
  }

  /** What the transaction under way has written so far. */
  get bytesWritten(): number {
    return Math.max(0, this.#bytesWritten);
  }

  /** Puts a frame behind the newest record of a partition; answers its offset. */
  append(topic: number, partition: number, frame: Frame, now: number): number {
    const ends = this.#endsToWrite(topic, partition);
    const { first, next } = ends;
    const stored = Math.max(ends.time, now);
    sealFrame(frame, stored, placeSeed(this.#seed(topic, partition), next));
    void this.databases.log.put(logKey(topic, partition, next), frame);
    const second = Math.floor(stored / 1_000);
    if (second > Math.floor(ends.time / 1_000) || first === next)
      void this.databases.times.put([topic, partition, second], next);
    this.#bytesWritten += frame.length;
    ends.next = next + 1;
    ends.bytes += frame.length;
    ends.time = stored;
    return next;
  }

  /** Copies out records from `from` on, up to `to`, until one of the limits is reached; at least one if there is one. */
  read(
    name: string,
    topic: number,
    partition: number,
    from: number,
    to: number,
    limits: { readonly records: number; readonly bytes: number },
  ): LogSlice {
    const { first, next } = this.ends(topic, partition);
    const records: StoredRecord[] = [];
    const corrupt: StoredRecord[] = [];
    const lost: LostOffsets[] = [];
    let at = from;
    if (at < first) {
      lost.push({ from: at, to: Math.min(first, to), reason: 'deleted by retention before they were read' });
      at = Math.min(first, to);
    }
    const end = Math.min(next, to);
    if (at >= end) return { records, corrupt, next: at, lost };
    const seed = this.#seed(topic, partition);
    let bytes = 0;
    for (const entry of this.#range(topic, partition, at, end, limits.records)) {
      const offset = offsetOfEntry(entry);
      if (offset > at) lost.push({ from: at, to: offset, reason: MISSING });
      records.push(this.#stored(name, partition, offset, entry.value, seed, corrupt));
      at = offset + 1;
      bytes += entry.value.length;
      if (bytes >= limits.bytes) break;
    }
    if (records.length < limits.records && bytes < limits.bytes && at < end) {
      lost.push({ from: at, to: end, reason: MISSING });
      at = end;
    }
    return { records, corrupt, next: at, lost };
  }

  /** The offset of the first record stored at `time` or later; the end when there is none. */
  offsetAt(topic: number, partition: number, time: number): number {
    const { first, next } = this.ends(topic, partition);
    const second = Math.floor(time / 1_000);
    for (const { key, value } of this.databases.times.getRange({
      start: [topic, partition, second],
      end: [topic, partition, Number.MAX_SAFE_INTEGER],
      limit: 1,
    })) {
      if (key[2] > second) return Math.max(first, value);
      return this.#scanForTime(topic, partition, Math.max(first, value), next, time);
    }
    return next;
  }

  /** Deletes the oldest records below `upTo`, at most `limit`; answers how many. */
  trim(topic: number, partition: number, upTo: number, limit: number): number {
    const { first, next } = this.ends(topic, partition);
    const last = Math.min(upTo, next, first + limit);
    if (last <= first) return 0;
    let freed = 0;
    const offsets: number[] = [];
    for (const entry of this.#range(topic, partition, first, last)) {
      offsets.push(offsetOfEntry(entry));
      freed += entry.value.length;
    }
    for (const offset of offsets) void this.databases.log.remove(logKey(topic, partition, offset));
    this.#trimTimes(topic, partition, last, next);
    this.#bytesWritten -= freed;
    const ends = this.#endsToWrite(topic, partition);
    ends.first = last;
    ends.bytes -= freed;
    return last - first;
  }

  /** When the oldest record of a partition was stored, to the second. */
  oldestTime(topic: number, partition: number): number | undefined {
    for (const [, , second] of this.databases.times.getKeys({
      start: [topic, partition, 0],
      end: [topic, partition, Number.MAX_SAFE_INTEGER],
      limit: 1,
    }))
      return second * 1_000;
    return undefined;
  }

  /** The offset behind the oldest `bytes` bytes of a partition, looking at no more than `limit` records. */
  offsetAfterBytes(topic: number, partition: number, bytes: number, limit: number): number {
    const { first, next } = this.ends(topic, partition);
    let at = first;
    let passed = 0;
    for (const entry of this.#range(topic, partition, first, Math.min(next, first + limit))) {
      if (passed >= bytes) break;
      passed += entry.value.length;
      at = offsetOfEntry(entry) + 1;
    }
    return at;
  }

  #range(topic: number, partition: number, from: number, to: number, limit?: number) {
    return this.databases.log.getRange({
      start: logKey(topic, partition, from),
      end: logKey(topic, partition, to),
      ...(limit === undefined ? {} : { limit }),
    });
  }

  /** May be changed until the transaction ends; a new object for each record would be most of what an append allocates. */
  #endsToWrite(topic: number, partition: number): Ends {
    let partitions = this.#written.get(topic);
    if (partitions === undefined) this.#written.set(topic, (partitions = new Map()));
    let ends = partitions.get(partition);
    if (ends === undefined) partitions.set(partition, (ends = { ...this.ends(topic, partition) }));
    return ends;
  }

  #seed(topic: number, partition: number): number {
    let seeds = this.#seeds.get(topic);
    if (seeds === undefined) this.#seeds.set(topic, (seeds = []));
    return (seeds[partition] ??= partitionSeed(this.epoch, topic, partition));
  }

  #stored(
    topic: string,
    partition: number,
    at: number,
    frame: Frame,
    seed: number,
    corrupt: StoredRecord[],
  ): StoredRecord {
    const opened = openFrame(frame, placeSeed(seed, at));
    const offset = positionText(this.epoch, at);
    if (opened !== undefined) {
      const { time, key, value, headers } = opened;
      return { topic, partition, offset, timestamp: time, key, value, headers };
    }
    const raw = { topic, partition, offset, timestamp: 0, key: null, value: frame, headers: CORRUPT };
    corrupt.push(raw);
    return raw;
  }

  #scanForTime(topic: number, partition: number, from: number, to: number, time: number): number {
    for (const entry of this.#range(topic, partition, from, to)) {
      if (timeOfFrame(entry.value) >= time) return offsetOfEntry(entry);
    }
    return to;
  }

  // The entry that covers the oldest record stays; with no record left, all go.
  #trimTimes(topic: number, partition: number, first: number, next: number): void {
    const seconds: number[] = [];
    let covering: number | undefined;
    for (const { key, value } of this.databases.times.getRange({
      start: [topic, partition, 0],
      end: [topic, partition, Number.MAX_SAFE_INTEGER],
    })) {
      if (value > first || (value === first && first < next)) break;
      if (covering !== undefined) seconds.push(covering);
      covering = key[2];
    }
    if (first === next && covering !== undefined) seconds.push(covering);
    for (const second of seconds) void this.databases.times.remove([topic, partition, second]);
  }
}

// What the dead letter of such a record says about it.
const CORRUPT: StoredRecord['headers'] = [
  ['corrupt-record', Buffer.from('The checksum does not fit the record and its place.')],
];

const MISSING = 'missing in the log';

const NO_RECORDS: EndsRow = { first: 0, next: 0, bytes: 0, time: 0 };
