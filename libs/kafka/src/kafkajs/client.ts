/**
 * The inner port of this library: what the transport needs of a Kafka client, and nothing of how one client does it. The folder
 * `kafkajs/` fulfils it with kafkajs 2.2.4; a second client would be one more folder. All errors are `BusError`s.
 */
import type { BusError, BusRecord, LostRange, StartPosition, StoredRecord, TopicPartition } from '@event-bus/core';

export interface KafkaClient {
  /** Does nothing until `open` is called; each has connections of its own. */
  producer(): KafkaProducer;
  consumer(options: KafkaConsumerOptions): KafkaConsumer;
  reader(): KafkaReader;
  /** One for all; consumers use its connections too. */
  readonly admin: KafkaAdmin;
  /** Closes the connections of `admin`. Producers, consumers and readers are closed by their owners, before. */
  close(): Promise<void>;
}

/** A record as Kafka has it. Its bytes are its own, and not slices of the answer they came in; unless `fastPath.decode` is off. */
export interface KafkaRecord extends StoredRecord {
  /**
   * Why this record must not be read as an event: its headers are broken or over the limits, and only the first are kept; or it stands for
   * a whole batch that cannot be read, which is its value.
   */
  readonly unreadable?: string;
}

/** Records of one partition that one request is to store. */
export interface Part extends TopicPartition {
  readonly records: readonly BusRecord[];
}

/**
 * How a part ended. `stored`: record i has the offset `baseOffset + i`. `failed`: nothing of it is stored, nor will be by this call; of
 * `oneMayBeToBlame` the others may be stored without it. `unknown`: it may be stored, and may be stored later.
 */
export type Outcome =
  | { readonly status: 'stored'; readonly baseOffset: string }
  | { readonly status: 'failed'; readonly error: BusError; readonly oneMayBeToBlame?: boolean }
  | { readonly status: 'unknown'; readonly error: BusError };

export interface KafkaProducer {
  /** Connects and gets a producer id. Rejects with `BUS_TRANSPORT_UNAVAILABLE` or `BUS_TRANSPORT_REFUSED`. */
  open(): Promise<void>;
  /** How many partitions a topic has, as far as this producer knows. `undefined` also of a topic that was there and is gone. */
  knownPartitions(topic: string): number | undefined;
  /** The broker to which records of a partition would go now; `undefined` when there is none. */
  leaderOf(place: TopicPartition): number | undefined;
  /** Asks the brokers. Rejects with `BUS_TOPIC_MISSING`, or when no broker answers. */
  partitions(topic: string): Promise<number>;
  /**
   * Sends every part once, one record batch each, and answers one outcome per part, in order; it never rejects. For topics that
   * `partitions` was asked about. A part never fails for another one's sake, but the answer waits for all. No partition may be in two
   * calls at once, or twice in one: order rests on that. A call may take twenty seconds; no deadline cuts it short, for newer records of
   * the same partition must not overtake. After `unknown`, the very same records sent again are stored once; others of that partition may
   * come to lie before a late copy of these.
   */
  append(parts: readonly Part[]): Promise<Outcome[]>;
  /** Waits for open calls, then disconnects. Idempotent. */
  close(): Promise<void>;
}

export interface KafkaConsumerOptions {
  readonly topics: readonly string[];
  readonly group: string;
  /** Where a group without a position starts. */
  readonly from: StartPosition;
  /** How long `onLeaving` may take, in milliseconds. A rebalance waits for it: the members of a group should have the same. */
  readonly revokeTimeoutMs: number;
}

/** A partition that is ours in a generation. */
export interface AssignedPartition extends TopicPartition {
  /** Where reading begins. */
  readonly position: string;
  /** What the group committed beside its position; empty when it has none, or when the position had to be moved. */
  readonly metadata: string;
}

export interface KafkaBatch extends TopicPartition {
  readonly generation: number;
  /** In order. May be empty: then only `next` is news (transaction marks, aborted transactions). */
  readonly records: KafkaRecord[];
  /** The position behind the batch. */
  readonly next: string;
}

/** What a consumer calls. None may throw. */
export interface KafkaConsumerHandlers {
  /**
   * These partitions are ours, until `onLeaving` of the same generation. Comes before their first batch; several times in one generation
   * when some positions are known later than others, as without a leader.
   */
  onAssigned(generation: number, partitions: readonly AssignedPartition[]): void;
  /** Takes a batch. The promise is the back-pressure: the next batch of the partition waits for it. Membership does not. */
  onBatch(batch: KafkaBatch): void | Promise<void>;
  /**
   * The generation ends. Commits are taken until the promise resolves. `gone` is aborted when the partitions are lost already, or when the
   * time is over; a short grace later the consumer goes on without waiting.
   */
  onLeaving(generation: number, gone: AbortSignal): Promise<void>;
  /** Records vanished before they were read; reading goes on behind them. */
  onLost(range: LostRange): void;
  /** The consumer cannot read now, or can again (`undefined`). It goes on trying by itself. */
  onTrouble(error: BusError | undefined): void;
}

/** A position to commit: everything before it is finished. `metadata` is kept beside it, at most 4 096 bytes on a default broker. */
export interface CommitPosition extends TopicPartition {
  readonly position: string;
  readonly metadata: string;
}

export interface KafkaConsumer {
  /**
   * Resolves once the consumer runs by itself; partitions arrive later. Rejects with `BUS_TOPIC_MISSING` or `BUS_TRANSPORT_REFUSED` when a
   * first try shows that it never would. May be called once.
   */
  run(handlers: KafkaConsumerHandlers): Promise<void>;
  /** `fenced`: the generation is over, drop it. `later`: not now, commit again. Never rejects. */
  commit(generation: number, positions: readonly CommitPosition[]): Promise<'ok' | 'fenced' | 'later'>;
  /** Whether the session can still be on, as far as the clock tells. */
  holds(): boolean;
  status(): {
    readonly state: 'joining' | 'running' | 'rebalancing' | 'trouble' | 'stopped';
    readonly partitions: readonly TopicPartition[];
    readonly idleMs: number;
  };
  /** Takes nothing more, calls `onLeaving` for what is held and waits for it, leaves the group, disconnects. Idempotent. */
  stop(): Promise<void>;
}

export interface ReadRange extends TopicPartition {
  /** First offset to read. One before the start of the log begins at the start; see `skipped`. */
  readonly from: string;
  /** Up to, not including; without it the reading goes on until it is aborted. */
  readonly to?: string;
  readonly signal?: AbortSignal;
}

export interface ReadBatch extends TopicPartition {
  readonly records: KafkaRecord[];
  readonly next: string;
  /** The first offset that is not in the log yet. */
  readonly end: string;
  /** Offsets that were to be read but are gone: from (inclusive) and to (exclusive). */
  readonly skipped?: readonly [from: string, to: string];
}

export interface KafkaReader {
  /** Reads a range of one partition without a group. Ends at `to`, or when aborted; throws a typed error when the broker stays away. */
  read(range: ReadRange): AsyncIterable<ReadBatch>;
  close(): Promise<void>;
}

/** `undefined` where it cannot be known now, as without a leader. */
export interface Watermarks {
  readonly partition: number;
  readonly start: string | undefined;
  readonly end: string | undefined;
}

export interface CommittedPosition extends TopicPartition {
  readonly position: string;
  readonly metadata: string;
}

export interface NewTopic {
  readonly topic: string;
  /** Default: the broker's. */
  readonly partitions?: number;
  /** Default: the broker's. */
  readonly replicationFactor?: number;
  /** Kafka's own names, such as `retention.ms`. */
  readonly config?: Readonly<Record<string, string>>;
}

export interface KafkaAdmin {
  /** Connects. Idempotent. The other methods connect by themselves. */
  open(): Promise<void>;
  /** Every topic this client may see, internal ones left out. */
  topics(): Promise<{ readonly topic: string; readonly partitions: number }[]>;
  /** Rejects with `BUS_TOPIC_MISSING`. */
  partitions(topic: string): Promise<number>;
  /** `false`: it existed already. */
  create(topic: NewTopic): Promise<boolean>;
  /** Of all partitions, in order. */
  watermarks(topic: string): Promise<Watermarks[]>;
  /** The first offset at or after a time (milliseconds since 1970), the end where nothing is so young. */
  atTime(topic: string, ms: number): Promise<{ readonly partition: number; readonly offset: string | undefined }[]>;
  /** Only partitions where the group has a position. */
  committed(group: string, topics: readonly string[]): Promise<CommittedPosition[]>;
  /** Moves the positions of a group without members; `BUS_BUSY` when it has some. */
  setCommitted(group: string, positions: readonly CommitPosition[]): Promise<void>;
}
