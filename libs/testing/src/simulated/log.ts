/** The log of a simulated broker: topics, partitions and their records, in memory. */
import {
  BusError,
  type BusRecord,
  type SeekPosition,
  type StartPosition,
  type StoredRecord,
  type TopicInfo,
} from '@event-bus/core';

export interface Log {
  create(topic: string, partitions: number): TopicInfo;
  topics(): TopicInfo[];
  /** Throws `BUS_TOPIC_MISSING`. */
  partitions(topic: string): number;
  append(topic: string, partition: number, records: readonly BusRecord[], timestamp: number): StoredRecord[];
  /** At most `count` records at or behind `from`, and the offset behind them. */
  fetch(topic: string, partition: number, from: number, count: number): { records: StoredRecord[]; next: number };
  start(topic: string, partition: number): number;
  end(topic: string, partition: number): number;
  offsetAt(topic: string, partition: number, at: SeekPosition | StartPosition): number;
  /** How many records are stored at or behind `from`, without those in `except`. */
  count(topic: string, partition: number, from: number, except: ReadonlySet<number>): number;
  /** Forgets what is before `offset`. */
  deleteBefore(topic: string, partition: number, offset: number): void;
  /** Calls `wake` once, at the next append to the topic or when a topic is made. Answers how to take it back. */
  onceAppended(topic: string, wake: () => void): () => void;
}

/** `hole` says how many offsets to leave out before the next record, as compaction and transaction marks do; `stored` hears of every record. */
export function memoryLog(hole: () => number, stored: (record: StoredRecord) => void): Log {
  const topics = new Map<string, Partition[]>();
  const waiting = new Map<string, Set<() => void>>();

  const find = (topic: string, partition: number): Partition => {
    const found = topicOf(topic)[partition];
    if (found === undefined) throw new BusError('BUS_TOPIC_MISSING', `Topic "${topic}" has no partition ${partition}.`);
    return found;
  };
  const topicOf = (topic: string): Partition[] => {
    const found = topics.get(topic);
    if (found === undefined)
      throw new BusError('BUS_TOPIC_MISSING', `Topic "${topic}" does not exist; create it with ensureTopic.`);
    return found;
  };
  const wakeAll = (topic: string) => {
    const wakes = waiting.get(topic);
    waiting.delete(topic);
    wakes?.forEach((wake) => wake());
  };

  return {
    create(topic, partitions) {
      const known = topics.get(topic);
      if (known === undefined) {
        topics.set(
          topic,
          Array.from({ length: partitions }, () => ({ records: [], start: 0, next: 0, lastMs: 0 })),
        );
        wakeAll(topic);
      }
      return { topic, partitions: known?.length ?? partitions };
    },
    topics: () => [...topics].map(([topic, partitions]) => ({ topic, partitions: partitions.length })),
    partitions: (topic) => topicOf(topic).length,
    append(topic, partition, records, timestamp) {
      const into = find(topic, partition);
      into.lastMs = Math.max(into.lastMs, timestamp);
      const added = records.map((record) => {
        const offset = into.next + hole();
        into.next = offset + 1;
        return { ...copy(record), topic, partition, offset: String(offset), timestamp: into.lastMs };
      });
      into.records.push(...added);
      added.forEach(stored);
      wakeAll(topic);
      return added;
    },
    fetch(topic, partition, from, count) {
      const { records, next } = find(topic, partition);
      const at = indexOf(records, from);
      const found = records.slice(at, at + count).map((record) => ({ ...record, ...copy(record) }));
      return {
        records: found,
        next: at + count < records.length ? Number(found.at(-1)!.offset) + 1 : Math.max(from, next),
      };
    },
    start: (topic, partition) => find(topic, partition).start,
    end: (topic, partition) => find(topic, partition).next,
    offsetAt(topic, partition, at) {
      const { records, start, next } = find(topic, partition);
      if (at === 'start' || at === 'earliest') return start;
      if (at === 'end' || at === 'latest') return next;
      if ('offset' in at) return within(Number(at.offset), start, next);
      const found = records.find((record) => record.timestamp >= at.time);
      return found === undefined ? next : Number(found.offset);
    },
    count(topic, partition, from, except) {
      const { records } = find(topic, partition);
      return records.slice(indexOf(records, from)).filter((record) => !except.has(Number(record.offset))).length;
    },
    deleteBefore(topic, partition, offset) {
      const from = find(topic, partition);
      from.start = Math.max(from.start, Math.min(offset, from.next));
      from.records.splice(0, indexOf(from.records, from.start));
    },
    onceAppended(topic, wake) {
      const wakes = waiting.get(topic) ?? new Set();
      waiting.set(topic, wakes.add(wake));
      return () => void wakes.delete(wake);
    },
  };
}

interface Partition {
  readonly records: StoredRecord[];
  start: number;
  next: number;
  lastMs: number;
}

/** The index of the first record at or behind an offset. */
function indexOf(records: readonly StoredRecord[], offset: number): number {
  let low = 0;
  let high = records.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (Number(records[middle]!.offset) < offset) low = middle + 1;
    else high = middle;
  }
  return low;
}

function within(offset: number, start: number, next: number): number {
  if (offset >= start && offset <= next) return offset;
  throw new BusError('BUS_DATA_LOSS', `Offset ${offset} is not in the log, which holds ${start} up to ${next}.`);
}

// Nobody may reach into the log through the bytes he handed in or got.
function copy({ key, value, headers }: BusRecord): BusRecord {
  return {
    key: key === null ? null : Buffer.from(key),
    value: value === null ? null : Buffer.from(value),
    headers: headers.map(([name, bytes]) => [name, Buffer.from(bytes)]),
  };
}
