/**
 * Brokers that are made up, below kafkajs's own consumer: its runner, fetch manager and consumer group are real, so what they do when a
 * broker fails shows without one, and in virtual time. One group, with one member.
 */
import { BusError, type LostRange } from '@event-bus/core';
import type { Kafka } from 'kafkajs';
import { vi } from 'vitest';
import type { AssignedPartition, KafkaBatch, KafkaConsumer, KafkaConsumerOptions } from './client.js';
import { OFFSET_OUT_OF_RANGE, protocolError, type Cluster } from './cluster.js';
import { kafkajsConsumer } from './consumer.js';
import { internal, kafkajs } from './library.js';
import type { Message } from './records.js';
import { METADATA_MAX_AGE_MS } from './settings.js';

const { KafkaJSOffsetOutOfRange } =
  internal<Record<'KafkaJSOffsetOutOfRange', new (error: Error, place: object) => Error>>('errors');

interface Partition {
  leader: number;
  start: number;
  /** From `start` on. */
  readonly messages: Message[];
}

export class MadeUpKafka {
  readonly topics = new Map<string, Partition[]>();
  /** By `topic/partition`. */
  readonly committed = new Map<string, { readonly offset: string; readonly metadata: string }>();
  /** All commits that were taken, in order. */
  readonly commits: { readonly place: string; readonly offset: string }[] = [];
  /** Called before a broker answers: what it throws is the answer, a promise holds the answer up. */
  fault: (api: Api, node: number) => void | Promise<void> = () => {};
  /** How long the group waits for its member when it is rebalanced. */
  rebalanceTimeoutMs = 0;
  readonly #asked = new Map<Api, number>();
  #generation = 0;
  #member = '';

  /** `{ courses: [1, 2] }`: a topic with two partitions, led by brokers 1 and 2. Broker 3 is the group's coordinator. */
  constructor(topics: Readonly<Record<string, readonly number[]>>) {
    for (const [topic, leaders] of Object.entries(topics)) this.addPartitions(topic, leaders);
  }

  addPartitions(topic: string, leaders: readonly number[]): void {
    const added = leaders.map((leader): Partition => ({ leader, start: 0, messages: [] }));
    this.topics.set(topic, [...(this.topics.get(topic) ?? []), ...added]);
  }

  write(topic: string, partition: number, count: number, also: Partial<Message> = {}): void {
    const { start, messages } = this.#partition(topic, partition);
    for (let i = 0; i < count; i++) messages.push({ ...messageAt(start + messages.length), ...also });
  }

  /** Retention, of all there is. */
  expire(topic: string, partition: number): void {
    const log = this.#partition(topic, partition);
    log.start += log.messages.splice(0).length;
  }

  /** The next offset that is written. */
  end(topic: string, partition: number): number {
    const { start, messages } = this.#partition(topic, partition);
    return start + messages.length;
  }

  move(topic: string, partition: number, leader: number): void {
    this.#partition(topic, partition).leader = leader;
  }

  /** How often brokers were asked. */
  asked(api: Api): number {
    return this.#asked.get(api) ?? 0;
  }

  /** The group is told that another member wants to join. */
  rebalance(): void {
    this.#generation++;
  }

  /** As `new Kafka()` makes one, on these brokers. */
  kafka(): Kafka {
    const kafka = new kafkajs.Kafka({ brokers: ['made-up:1'], logLevel: 0 });
    const key = Object.getOwnPropertySymbols(kafka).find(({ description }) => description?.endsWith(':createCluster'))!;
    (kafka as unknown as Record<symbol, unknown>)[key] = () => this.cluster();
    return kafka;
  }

  cluster(): Cluster {
    const brokers = Object.fromEntries(NODES.map((node) => [node, this.#broker(node)]));
    const committed = {};
    let metadata = this.#metadata();
    let refreshedAt = Date.now();
    const refreshMetadata = async () => {
      await soon();
      metadata = this.#metadata();
      refreshedAt = Date.now();
    };
    const cluster = {
      connect: () => this.#ask('Connect', NODES[0]!),
      disconnect: soon,
      isConnected: () => true,
      addTargetTopic: soon,
      addMultipleTargetTopics: soon,
      refreshMetadata,
      refreshMetadataIfNecessary: async () => {
        if (Date.now() - refreshedAt > METADATA_MAX_AGE_MS) await refreshMetadata();
      },
      removeBroker: () => {},
      getNodeIds: () => NODES.map(String),
      findTopicPartitionMetadata: (topic: string) =>
        metadata.topicMetadata.find((known) => known.topic === topic)?.partitionMetadata ?? [],
      findGroupCoordinator: async () => {
        await this.#ask('FindCoordinator', COORDINATOR);
        return cluster.findBroker({ nodeId: String(COORDINATOR) });
      },
      findBroker: async ({ nodeId }: { readonly nodeId: string }) => brokers[nodeId],
      committedOffsets: () => committed,
      defaultOffset: () => '-2',
      fetchTopicsOffset: async (topics: Asked['topics']) =>
        topics.map(({ topic, partitions }) => ({
          topic,
          partitions: partitions.map(({ partition }) => ({
            partition,
            offset: String(this.#partition(topic, partition).start),
          })),
        })),
      brokerPool: {
        brokers,
        get metadata() {
          return metadata;
        },
      },
    };
    return cluster as unknown as Cluster;
  }

  #broker(node: number) {
    const ask = async <T>(api: Api, answer: () => T): Promise<T> => {
      await this.#ask(api, node);
      return answer();
    };
    return {
      nodeId: node,
      isConnected: () => true,
      disconnect: soon,
      joinGroup: ({ rebalanceTimeout }: { readonly rebalanceTimeout: number }) =>
        ask('JoinGroup', () => this.#join(rebalanceTimeout)),
      syncGroup: () => ask('SyncGroup', () => this.#assignment()),
      heartbeat: (member: Member) => ask('Heartbeat', () => this.#check(member)),
      leaveGroup: () => ask('LeaveGroup', () => void this.#generation++),
      offsetCommit: (commit: Commit) => ask('OffsetCommit', () => this.#commit(commit)),
      offsetFetch: (asked: Asked) => ask('OffsetFetch', () => this.#positions(asked)),
      fetch: async (asked: Asked) => {
        await this.#ask('Fetch', node);
        const news = () => this.#fetched(node, asked);
        for (let waited = 0; waited < asked.maxWaitTime! && news().length === 0; waited += STEP_MS) await soon();
        return { responses: news() };
      },
      // What `ask` of cluster.ts makes of a request.
      lookupRequest: (key: number) => (args: Asked) => ({ request: { key, args }, response: {} }),
      connectionPool: {
        send: ({ request: { key, args } }: { readonly request: { readonly key: number; readonly args: Asked } }) =>
          key === OFFSET_FETCH
            ? ask('OffsetFetch', () => this.#positions(args))
            : ask('ListOffsets', () => this.#offsets(args)),
      },
    };
  }

  async #ask(api: Api, node: number): Promise<void> {
    this.#asked.set(api, this.asked(api) + 1);
    await soon();
    await this.fault(api, node);
  }

  #metadata() {
    const topicMetadata = Array.from(this.topics, ([topic, partitions]) => ({
      topic,
      topicErrorCode: 0,
      partitionMetadata: partitions.map(({ leader }, partitionId) => ({ partitionId, leader })),
    }));
    return { topicMetadata };
  }

  #partition(topic: string, partition: number): Partition {
    return this.topics.get(topic)![partition]!;
  }

  // ---- the group

  #join(rebalanceTimeoutMs: number) {
    this.rebalanceTimeoutMs = rebalanceTimeoutMs;
    this.#generation++;
    this.#member = 'member';
    const memberMetadata = kafkajs.AssignerProtocol.MemberMetadata.encode({
      version: 0,
      topics: [...this.topics.keys()],
      userData: Buffer.alloc(0),
    });
    return {
      generationId: this.#generation,
      memberId: this.#member,
      leaderId: this.#member,
      members: [{ memberId: this.#member, memberMetadata }],
      groupProtocol: 'RoundRobinAssigner',
    };
  }

  #assignment() {
    const assignment = Object.fromEntries(
      Array.from(this.topics, ([topic, partitions]) => [topic, partitions.map((_, partition) => partition)]),
    );
    const memberAssignment = { version: 0, assignment, userData: Buffer.alloc(0) };
    return { memberAssignment: kafkajs.AssignerProtocol.MemberAssignment.encode(memberAssignment) };
  }

  #check({ groupGenerationId }: Member): void {
    if (groupGenerationId !== this.#generation) throw protocolError(ILLEGAL_GENERATION);
  }

  #commit({ topics, ...member }: Commit): void {
    this.#check(member);
    for (const { topic, partitions } of topics)
      for (const { partition, offset, metadata } of partitions) {
        const place = `${topic}/${partition}`;
        this.commits.push({ place, offset: String(offset) });
        this.committed.set(place, { offset: String(offset), metadata: metadata ?? '' });
      }
  }

  #positions({ topics }: Asked) {
    return {
      responses: topics.map(({ topic, partitions }) => ({
        topic,
        partitions: partitions.map(({ partition }) => ({
          partition,
          errorCode: 0,
          ...(this.committed.get(`${topic}/${partition}`) ?? { offset: '-1', metadata: '' }),
        })),
      })),
    };
  }

  // ---- the logs

  #offsets({ topics }: Asked) {
    return {
      responses: topics.map(({ topic, partitions }) => ({
        topic,
        partitions: partitions.map(({ partition, timestamp }) => {
          const { start, messages } = this.#partition(topic, partition);
          return { partition, errorCode: 0, offset: String(timestamp === EARLIEST ? start : start + messages.length) };
        }),
      })),
    };
  }

  #fetched(node: number, { topics }: Asked) {
    const news = ({ topic, partition, fetchOffset }: AskedPartition & { readonly topic: string }) => {
      const { leader, start, messages } = this.#partition(topic, partition);
      if (leader !== node) throw protocolError(NOT_LEADER);
      const from = Number(fetchOffset) - start;
      if (from < 0 || from > messages.length)
        throw new KafkaJSOffsetOutOfRange(protocolError(OFFSET_OUT_OF_RANGE), { topic, partition });
      const waiting = messages.findIndex(({ missing }, i) => i > from && missing);
      return {
        partition,
        errorCode: 0,
        highWatermark: String(start + messages.length),
        abortedTransactions: [],
        preferredReadReplica: -1,
        messages: messages.slice(
          from,
          waiting < 0 ? from + RECORDS_AT_ONCE : Math.min(waiting, from + RECORDS_AT_ONCE),
        ),
      };
    };
    return topics
      .map(({ topic, partitions }) => ({
        topicName: topic,
        partitions: partitions.map((one) => news({ topic, ...one })).filter(({ messages }) => messages.length > 0),
      }))
      .filter(({ partitions }) => partitions.length > 0);
  }
}

type Api =
  | 'Connect'
  | 'FindCoordinator'
  | 'JoinGroup'
  | 'SyncGroup'
  | 'Heartbeat'
  | 'LeaveGroup'
  | 'OffsetCommit'
  | 'OffsetFetch'
  | 'ListOffsets'
  | 'Fetch';

interface Member {
  readonly groupGenerationId: number;
}

interface Commit extends Member {
  readonly topics: readonly {
    readonly topic: string;
    readonly partitions: readonly { partition: number; offset: unknown; metadata?: string | null }[];
  }[];
}

interface AskedPartition {
  readonly partition: number;
  readonly timestamp?: number;
  readonly fetchOffset?: string;
}

interface Asked {
  readonly topics: readonly { readonly topic: string; readonly partitions: readonly AskedPartition[] }[];
  readonly maxWaitTime?: number;
}

const NODES = [1, 2, 3];
const COORDINATOR = 3;
const OFFSET_FETCH = 9;
const EARLIEST = -2;
const NOT_LEADER = 6;
const ILLEGAL_GENERATION = 22;
const RECORDS_AT_ONCE = 10;
const STEP_MS = 5;

/** Nothing answers at once, or virtual time would stand still. */
const soon = () => new Promise<void>((resolve) => setTimeout(resolve, STEP_MS));

export const messageAt = (offset: number): Message => ({
  offset: String(offset),
  timestamp: '0',
  key: null,
  value: Buffer.from(String(offset)),
  headers: {},
  pairs: [],
});

/** A consumer on made-up brokers, and all that it was told. */
export class Subscriber {
  readonly consumer: KafkaConsumer;
  /** `topic/partition:offset`, in the order in which they were handed over. */
  readonly read: string[] = [];
  readonly assigned: AssignedPartition[] = [];
  readonly lost: LostRange[] = [];
  readonly troubles: (BusError | undefined)[] = [];
  generation = 0;
  /** Answers a batch: the back-pressure. */
  take: (batch: KafkaBatch) => void | Promise<void> = () => {};
  leave: () => Promise<void> = async () => {};

  constructor(kafka: MadeUpKafka, options: Partial<KafkaConsumerOptions> = {}) {
    this.consumer = kafkajsConsumer(
      { kafka: () => kafka.kafka(), cluster: kafka.cluster(), ready: async () => {}, random: () => 0.5 },
      { topics: [...kafka.topics.keys()], group: 'g', from: 'earliest', revokeTimeoutMs: 25_000, ...options },
    );
  }

  run(): Promise<void> {
    return this.consumer.run({
      onAssigned: (generation, partitions) => {
        this.generation = generation;
        this.assigned.push(...partitions);
      },
      onBatch: (batch) => {
        for (const { topic, partition, offset } of batch.records) this.read.push(`${topic}/${partition}:${offset}`);
        return this.take(batch);
      },
      onLeaving: () => this.leave(),
      onLost: (range) => void this.lost.push(range),
      onTrouble: (error) => void this.troubles.push(error),
    });
  }

  /** Offsets of one `topic/partition`. */
  readonly readOf = (place: string): number[] =>
    this.read.filter((one) => one.startsWith(`${place}:`)).map((one) => Number(one.split(':')[1]));
}

/** Lets virtual time pass until it is so; answers how long that took. */
export async function until(holds: () => boolean, withinMs: number): Promise<number> {
  for (let passed = 0; ; passed += PASS_MS) {
    if (holds()) return passed;
    if (passed >= withinMs) throw new Error(`Not so after ${withinMs} ms: ${String(holds)}`);
    await vi.advanceTimersByTimeAsync(PASS_MS);
  }
}

const PASS_MS = 50;
