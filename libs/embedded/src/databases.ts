/** The databases of one LMDB environment and how their keys are laid out. Small rows are JSON: they are few and people read them. */
import type { Database, Key, RootDatabase } from 'lmdb';
import type { ProcessIdentity } from './machine.js';
import type { Frame } from './frame.js';

export interface Databases {
  /** What the log is: `format`, `epoch`, `boot`, `namespace`; and `bytes`, the size of all records together. */
  readonly meta: Database<string | number, string>;
  readonly topics: Database<TopicRow, string>;
  /** Topic, partition, offset → frame. */
  readonly log: Database<Frame, Key>;
  /** Topic, partition → where its records begin and end. */
  readonly ends: Database<EndsRow, [topic: number, partition: number]>;
  /** Topic, partition, second → first offset of that second; makes a seek by time cheap. */
  readonly times: Database<number, [topic: number, partition: number, second: number]>;
  /** Topic, partition, group → position and owner: a commit and the right to it are one row. */
  readonly positions: Database<PositionRow, [topic: number, partition: number, group: string]>;
  readonly groups: Database<GroupRow, string>;
  readonly members: Database<MemberRow, [group: string, member: string]>;
  /** Schema id → text. */
  readonly schemas: Database<string, number>;
  /** What identifies a schema → its id. */
  readonly schemaIds: Database<number, string>;
}

/** The key of a record. */
export function logKey(topic: number, partition: number, offset: number): Key {
  return { topic, partition, offset } as never;
}

interface LogKey {
  readonly topic: number;
  readonly partition: number;
  readonly offset: number;
}

export interface TopicRow {
  readonly id: number;
  readonly partitions: number;
  readonly retention: TopicRetention;
}

/** What is forgotten of a topic, the same for every process that looks; `null`: endless, which JSON does not know. */
export interface TopicRetention {
  readonly ageMs: number | null;
  readonly bytes: number | null;
  readonly unread: 'keep' | 'drop';
  /** A process named the topic in its options: nobody else changes the rules. */
  readonly isNamed: boolean;
}

export interface EndsRow {
  /** The oldest record that is still there, and the offset of the next one to come. */
  readonly first: number;
  readonly next: number;
  readonly bytes: number;
  /** Of the newest record; time never runs back within a partition. */
  readonly time: number;
}

export interface PositionRow {
  readonly committed: number;
  /** Finished beyond `committed`: unfinished, finished, unfinished, … run lengths from there on. */
  readonly ahead: readonly number[];
  /** The member that owns the partition now. */
  readonly owner?: string;
}

export interface GroupRow {
  /** Raised with every change that other members have to look at. */
  readonly generation: number;
  /** When a member was last there, in milliseconds since 1970. */
  readonly seen: number;
}

export interface MemberRow extends ProcessIdentity {
  readonly topics: readonly number[];
  /** Until when its leases hold, on the machine's clock. */
  readonly until: number;
}

export function openDatabases(root: RootDatabase): Databases {
  const json = <V, K extends Key>(name: string): Database<V, K> => root.openDB<V, K>({ name, encoding: 'json' });
  return {
    meta: json('meta'),
    topics: json('topics'),
    log: root.openDB<Frame, Key>({ name: 'log', ...raw }),
    ends: json('ends'),
    times: json('times'),
    positions: json('positions'),
    groups: json('groups'),
    members: json('members'),
    schemas: json('schemas'),
    schemaIds: json('schema-ids'),
  };
}

// 4 bytes of topic, 4 of partition, 8 of offset, big-endian: records of a partition lie side by side in order.
const logKeys = {
  writeKey(key: LogKey, target: Buffer, at: number): number {
    target.writeUInt32BE(key.topic, at);
    target.writeUInt32BE(key.partition, at + 4);
    target.writeUInt32BE(Math.floor(key.offset / 2 ** 32), at + 8);
    return target.writeUInt32BE(key.offset % 2 ** 32, at + 12);
  },
  // Whoever reads knows topic and partition already.
  readKey: (source: Buffer, at: number): number => source.readUInt32BE(at + 8) * 2 ** 32 + source.readUInt32BE(at + 12),
};

const frames = {
  encode: (frame: Frame) => frame,
  // LMDB's buffer is used again by the next read.
  decode(bytes: Buffer): Frame {
    const { length } = bytes;
    const frame = Buffer.allocUnsafe(length);
    frame.set(new Uint8Array(bytes.buffer, bytes.byteOffset, length));
    return frame;
  },
};

// The typings of lmdb-js know these options of the root only.
const raw = { keyEncoder: logKeys, encoder: frames };

/** What a range over the log gives as key: the offset alone. */
export const offsetOfEntry = (entry: { readonly key: unknown }): number => entry.key as number;

export const DATABASES_AT_MOST = 16;
