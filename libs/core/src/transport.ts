/**
 * The contract of a transport: it moves bytes, keeps them in order per partition, and remembers positions. It knows no event, no
 * retry and no dead letter; all meaning is above. A transport is a plain object made by a factory (`embedded(options)`,
 * `kafka(options)`); making it opens nothing. The conformance suite in `@event-bus/testing` is this page as a program.
 */
import type { Codec } from './codec.js';

/** A header name and its bytes. Order and repeats are part of the record. Records share what they repeat: nobody may change the bytes. */
export type Header = readonly [name: string, value: Uint8Array];

/** What a transport moves: bytes, a key and headers. */
export interface BusRecord {
  /** Decides the partition and the order; `null`: ordered by partition only. */
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
  readonly headers: readonly Header[];
}

/** Where a record is. Offsets are opaque: only the transport that made them compares or reads them. */
export interface Place {
  readonly topic: string;
  readonly partition: number;
  readonly offset: string;
}

/** A record that is safe in the log. `timestamp` is when it was stored, in milliseconds since 1970. */
export interface StoredRecord extends BusRecord, Place {
  readonly timestamp: number;
}

/** What a transport can keep of the promises. Plain data: it feeds the conformance suite, the docs table and the start-up checks. */
export interface Capabilities {
  /** An acknowledged record survives a crash of the process and, as far as the server was told to, of the machine. */
  readonly durable: boolean;
  /** A late commit of a member that lost its partition is refused. */
  readonly fenced: boolean;
  readonly seekByTime: boolean;
  /** The lag is counted, not estimated. */
  readonly lagExact: boolean;
  /** Records finished beyond the position are remembered and not handed over again after a restart. */
  readonly finishedAhead: boolean;
  /** Largest record (key, value and headers) that `publish` takes, in bytes. */
  readonly maxRecordBytes: number;
}

/** How one record of a `publish` ended. `unknown`: it may be stored, and may be stored later. */
export type PublishOutcome =
  | { readonly status: 'stored'; readonly partition: number; readonly offset: string }
  | { readonly status: 'not-stored' | 'unknown'; readonly error: Error };

export interface PublishOptions {
  /** How long the transport may try, in milliseconds. Default 30 000. */
  readonly deadlineMs?: number;
}

export type StartPosition = 'earliest' | 'latest' | { readonly time: number };

export type SeekPosition = 'start' | 'end' | { readonly time: number } | { readonly offset: string };

export interface TopicPartition {
  readonly topic: string;
  readonly partition: number;
}

/** Records of one partition, in order. The arrays belong to the receiver: it may change them. */
export interface Batch extends TopicPartition {
  readonly records: StoredRecord[];
  /** The position behind this batch: what to commit once everything up to here is finished. Lies behind holes (compaction, transaction marks). */
  readonly next: string;
}

/** Records that vanished before they were read: `from` up to, not including, `to`. */
export interface LostRange extends TopicPartition {
  readonly from: string;
  readonly to: string;
  /** How many, when it is known. */
  readonly count?: number;
  readonly reason: string;
}

/** What a transport calls. None of these may throw; `receive` and `revoking` are awaited. */
export interface Receiver {
  /** These partitions are ours from now on. Called before their first batch. */
  assigned(partitions: readonly TopicPartition[]): void;
  /**
   * Takes a batch. Resolves when the receiver can take more: this is the back-pressure, not the end of the work. A transport never
   * has two calls open for one partition, and goes on keeping its membership however long one takes.
   */
  receive(batch: Batch): void | Promise<void>;
  /**
   * These partitions are about to leave. The transport waits for the promise (at most its revoke deadline) and still takes commits
   * meanwhile; afterwards it takes none. `gone` is aborted when the partitions are lost already or the deadline passed: the receiver then stops waiting.
   */
  revoking(partitions: readonly TopicPartition[], gone: AbortSignal): Promise<void>;
  /** Records vanished before they were read. Reading goes on behind them. */
  lost(range: LostRange): void;
  /** The transport cannot read now (`error`), or can again (`undefined`). It goes on trying by itself. */
  trouble(error: Error | undefined): void;
}

export interface Commit extends TopicPartition {
  /** Everything before here is finished: the offset of the first unfinished record, or a batch's `next`. */
  readonly position: string;
  /** Offsets of finished records at or behind the position; any subset is right. */
  readonly ahead: readonly string[];
}

export interface Subscription {
  /**
   * Moves positions. Answers per commit, in order: `committed`; `fenced`: the partition is not ours any more, drop it; `later`: not
   * now, the caller commits again (with news) at its next turn. Never rejects.
   */
  commit(commits: readonly Commit[]): Promise<readonly ('committed' | 'fenced' | 'later')[]>;
  /**
   * Whether what is held can still be ours, as far as the clock tells; no I/O. False once nobody has renewed it in time, as in a process
   * that stood still: no handler starts then, until it was renewed or has left. Where it cannot be known: true.
   */
  holds(): boolean;
  /** Facts for health checks; no I/O. */
  status(): SubscriptionStatus;
  /** Takes nothing more, calls `revoking` for what is held and waits for it, leaves the group. Idempotent. */
  stop(): Promise<void>;
}

export interface SubscriptionStatus {
  readonly state: 'joining' | 'running' | 'rebalancing' | 'trouble' | 'stopped';
  readonly partitions: readonly TopicPartition[];
  /** Milliseconds since the reading loop last moved. A stuck loop is a dead consumer in a live process. */
  readonly idleMs: number;
}

export interface SubscribeOptions {
  readonly topics: readonly string[];
  readonly group: string;
  /** Where a group without a position starts. Default `earliest`. */
  readonly from?: StartPosition;
  /** How long `revoking` may take, in milliseconds. Default 25 000. */
  readonly revokeTimeoutMs?: number;
}

export interface ReadOptions {
  readonly topic: string;
  /** Default: all, merged in no promised order between partitions. */
  readonly partition?: number;
  /** Default `start`. */
  readonly from?: SeekPosition;
  /** Up to, not including; default the end as it was when the reading began. `follow`: goes on until aborted. */
  readonly to?: SeekPosition | 'follow';
  readonly signal?: AbortSignal;
}

/** Positions of one partition. A value that cannot be known is `undefined`, which is not 0. */
export interface PartitionPositions extends TopicPartition {
  /** `undefined`: nobody who knows it answers. */
  readonly start?: string;
  readonly end?: string;
  /** `undefined`: the group has no position here. */
  readonly committed?: string;
  /** Records the group has still to finish. */
  readonly lag?: number;
}

export interface TopicOptions {
  /** Default: the transport's. Another count than the existing topic's is refused with `BUS_TOPIC_MISSING`. */
  readonly partitions?: number;
}

export interface TopicInfo {
  readonly topic: string;
  readonly partitions: number;
}

export interface Transport {
  readonly name: string;
  readonly capabilities: Capabilities;
  readonly codec: Codec;
  /** Connects and checks the settings against the server. Idempotent. Rejects with a typed error. */
  open(): Promise<void>;
  /**
   * Stores records and resolves with one outcome per record, in order, once every one is settled. Records of one key are stored in the
   * order in which they were handed in, over all calls. Rejects only when nothing was tried: closed, topic missing, a record over the limit.
   */
  publish(topic: string, records: readonly BusRecord[], options?: PublishOptions): Promise<readonly PublishOutcome[]>;
  /**
   * The same for one record, for transports where promises are most of what a send costs. Never throws; calls `settle` once, and not
   * before it has returned. In one order with `publish`. Left out: the producer calls `publish`.
   */
  publishOne?(topic: string, record: BusRecord, deadlineMs: number, settle: (outcome: PublishOutcome) => void): void;
  /** Resolves once the subscription runs by itself; partitions may arrive later. */
  subscribe(options: SubscribeOptions, receiver: Receiver): Promise<Subscription>;
  /** Reads a range and moves no group. */
  read(options: ReadOptions): AsyncIterable<StoredRecord>;
  /** Positions of every partition of a topic; of a group when given. */
  positions(options: { readonly topic: string; readonly group?: string }): Promise<readonly PartitionPositions[]>;
  /** Moves the position of a stopped group; a running one is refused with `BUS_BUSY`. */
  seek(options: {
    readonly topic: string;
    readonly group: string;
    readonly to: SeekPosition;
    readonly partition?: number;
  }): Promise<void>;
  topics(): Promise<readonly TopicInfo[]>;
  /** Creates the topic when it is missing. */
  ensureTopic(topic: string, options?: TopicOptions): Promise<TopicInfo>;
  /** Waits for what is in hand, stops subscriptions, then lets go of everything. Idempotent. */
  close(): Promise<void>;
}
