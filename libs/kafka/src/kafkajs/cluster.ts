/**
 * kafkajs's own view of a cluster. Its admin has no position lookup that outlives one leaderless partition, and no read without a group;
 * what is missing is asked of the brokers directly. Known for kafkajs 2.2.4 only.
 */
import { BusError, systemClock } from '@event-bus/core';
import { delay } from '@event-bus/core/internal';
import type { Kafka, KafkaConfig } from 'kafkajs';
import { internal, kafkajs } from './library.js';

export interface Cluster {
  readonly brokerPool: BrokerPool;
  /** What `refreshMetadata` asks for. */
  readonly targetTopics: Set<string>;
  connect(): Promise<void>;
  disconnect(): Promise<void>;
  addMultipleTargetTopics(topics: readonly string[]): Promise<void>;
  refreshMetadata(): Promise<void>;
  refreshMetadataIfNecessary(): Promise<void>;
  findBroker(node: { nodeId: number }): Promise<Broker>;
  findControllerBroker(): Promise<Broker>;
  findGroupCoordinator(group: { groupId: string }): Promise<Broker>;
  removeBroker(address: { host: string; port: number }): void;
}

interface BrokerPool {
  readonly metadata: Metadata | null;
  /** By node id. */
  readonly brokers: Readonly<Record<string, Broker>>;
  createBroker: (options: object) => Broker;
  findConnectedBroker(): Promise<Broker>;
}

export interface Broker {
  readonly connectionPool: {
    readonly host: string;
    readonly port: number;
    send(request: object): Promise<unknown>;
  };
  lookupRequest(key: number, definition: object): (args: object) => ProtocolRequest;
  metadata(topics: readonly string[]): Promise<Metadata>;
  createTopics(options: object): Promise<unknown>;
  offsetCommit(options: object): Promise<unknown>;
  leaveGroup(member: { readonly groupId: string; readonly memberId: string }): Promise<unknown>;
  disconnect(): Promise<void>;
}

interface ProtocolRequest {
  readonly request: object;
  readonly response: { readonly decode: (bytes: Buffer) => Promise<unknown> };
  readonly requestTimeout?: number;
}

export interface Metadata {
  readonly topicMetadata: readonly TopicMetadata[];
}

export interface TopicMetadata {
  readonly topic: string;
  readonly topicErrorCode: number;
  readonly isInternal?: boolean;
  readonly partitionMetadata: readonly { readonly partitionId: number; readonly leader: number }[];
}

interface ClusterOptions {
  readonly metadataMaxAge?: number;
  readonly allowAutoTopicCreation?: boolean;
}

type CreateCluster = (options: ClusterOptions) => Cluster;

/** A cluster of our own, whose metadata also tells of topics that are missing and partitions without a leader, instead of failing. */
export function openClusterOf(config: KafkaConfig, options: ClusterOptions): Cluster {
  const cluster = clusterFactoryOf(new kafkajs.Kafka(config))(options);
  const { brokerPool } = cluster;
  const create = brokerPool.createBroker;
  brokerPool.createBroker = (brokerOptions) => {
    const broker = create(brokerOptions);
    broker.metadata = (topics) => ask<Metadata>(broker, 'Metadata', { topics, allowAutoTopicCreation: false });
    return broker;
  };
  return cluster;
}

function clusterFactoryOf(kafka: Kafka): CreateCluster {
  const key = Object.getOwnPropertySymbols(kafka).find(
    (symbol) => symbol.description === 'private:Kafka:createCluster',
  );
  if (!key)
    throw new BusError('BUS_UNSUPPORTED', 'This version of kafkajs is not known to the bus: install kafkajs 2.2.4.');
  return (kafka as unknown as Record<symbol, CreateCluster>)[key]!;
}

/** Sends one request and answers what came back, also when it tells of errors: they belong to single partitions. */
export async function ask<T>(broker: Broker, api: keyof typeof API_KEYS, args: object): Promise<T> {
  const { requests } = internal<{ requests: Record<string, object> }>('protocol/requests');
  const { request, response, requestTimeout } = broker.lookupRequest(API_KEYS[api], requests[api]!)(args);
  try {
    return (await broker.connectionPool.send({
      request,
      response: { decode: response.decode, parse: async (data: T) => data },
      ...(requestTimeout === undefined ? {} : { requestTimeout }),
    })) as T;
  } catch (error) {
    // As kafkajs does: a broker that closed one of our connections gets both made anew.
    if ((error as Error).name === 'KafkaJSConnectionClosedError') await broker.disconnect();
    throw error;
  }
}

const API_KEYS = { Produce: 0, Fetch: 1, ListOffsets: 2, Metadata: 3, OffsetFetch: 9, InitProducerId: 22 } as const;

/** The error that kafkajs makes of Kafka's number, with `type` and `retriable`. */
export const protocolError = (code: number) =>
  internal<{ createErrorFromCode(code: number): Error }>('protocol/error').createErrorFromCode(code);

/** Throws the error that a code stands for. */
export function check(code: number): void {
  if (code !== 0) throw protocolError(code);
}

/** A topic as the cluster knows it now. Throws `UNKNOWN_TOPIC_OR_PARTITION` and the like. */
export async function topicOf(cluster: Cluster, topic: string): Promise<TopicMetadata> {
  await cluster.addMultipleTargetTopics([topic]);
  await cluster.refreshMetadata();
  const found = cluster.brokerPool.metadata?.topicMetadata.find((entry) => entry.topic === topic);
  if (!found) throw protocolError(UNKNOWN_TOPIC_OR_PARTITION);
  check(found.topicErrorCode);
  return found;
}

export const OFFSET_OUT_OF_RANGE = 1;
const UNKNOWN_TOPIC_OR_PARTITION = 3;
export const EARLIEST = -2;
export const LATEST = -1;
const READ_UNCOMMITTED = 0;
const READ_COMMITTED = 1;

interface OffsetsAnswer {
  readonly responses: readonly {
    readonly partitions: readonly {
      readonly partition: number;
      readonly errorCode: number;
      readonly offset?: string;
      readonly offsets?: readonly string[];
    }[];
  }[];
}

/**
 * An offset of each partition: the start (`EARLIEST`), the end (`LATEST`) or the first at or after a time, `-1` when there is none.
 * `undefined` where no leader answers. The end is that of what is committed, unless `uncommitted` asks for the end of the log itself.
 */
export async function listOffsets(
  cluster: Cluster,
  topic: string,
  partitions: readonly number[],
  at: number,
  { uncommitted = false } = {},
): Promise<Map<number, bigint | undefined>> {
  const found = new Map<number, bigint | undefined>(partitions.map((partition) => [partition, undefined]));
  const isolationLevel = uncommitted ? READ_UNCOMMITTED : READ_COMMITTED;
  for (let attempt = 1; ; attempt++) {
    const leaders = await leadersOf(
      cluster,
      topic,
      (partition) => found.has(partition) && found.get(partition) === undefined,
    );
    await Promise.all(
      Array.from(leaders, async ([nodeId, led]) => {
        const topics = [{ topic, partitions: led.map((partition) => ({ partition, timestamp: at })) }];
        const answer = await askForOffsets(cluster, nodeId, { replicaId: -1, isolationLevel, topics });
        for (const [partition, offset] of answer) found.set(partition, offset);
      }),
    );
    // A broker learns that it leads a new partition a moment after the others do.
    const isOpen = [...leaders.values()].flat().some((partition) => found.get(partition) === undefined);
    if (!isOpen || attempt === LOOKUPS) return found;
    await delay(systemClock, LOOKUP_PAUSE_MS);
  }
}

const LOOKUPS = 8;
const LOOKUP_PAUSE_MS = 150;

async function leadersOf(
  cluster: Cluster,
  topic: string,
  isWanted: (partition: number) => boolean,
): Promise<Map<number, number[]>> {
  const leaders = new Map<number, number[]>();
  for (const { partitionId, leader } of (await topicOf(cluster, topic)).partitionMetadata) {
    if (isWanted(partitionId) && leader >= 0) leaders.set(leader, [...(leaders.get(leader) ?? []), partitionId]);
  }
  return leaders;
}

/** What one broker knows; the partitions that it does not answer for stay out. */
async function askForOffsets(cluster: Cluster, nodeId: number, request: object): Promise<Map<number, bigint>> {
  try {
    const { responses } = await ask<OffsetsAnswer>(await cluster.findBroker({ nodeId }), 'ListOffsets', request);
    return new Map(
      responses
        .flatMap((response) => response.partitions)
        .filter(({ errorCode }) => errorCode === 0)
        .map(({ partition, offset, offsets }) => [partition, BigInt(offset ?? offsets?.[0] ?? -1)]),
    );
  } catch {
    return new Map();
  }
}

export interface Committed {
  readonly topic: string;
  readonly partition: number;
  /** Negative when the group has none. */
  readonly position: bigint;
  readonly metadata: string;
}

interface CommittedAnswer {
  readonly errorCode?: number;
  readonly responses: readonly {
    readonly topic: string;
    readonly partitions: readonly {
      readonly partition: number;
      readonly offset: string;
      readonly metadata: string | null;
      readonly errorCode: number;
    }[];
  }[];
}

/** What a group committed. Throws when a coordinator does not know, or may not tell. */
export async function committedOf(
  cluster: Cluster,
  group: string,
  topics: ReadonlyMap<string, readonly number[]>,
): Promise<Committed[]> {
  const coordinator = await cluster.findGroupCoordinator({ groupId: group });
  const asked = Array.from(topics, ([topic, partitions]) => ({
    topic,
    partitions: partitions.map((partition) => ({ partition })),
  }));
  const answer = await ask<CommittedAnswer>(coordinator, 'OffsetFetch', { groupId: group, topics: asked });
  check(answer.errorCode ?? 0);
  return answer.responses.flatMap(({ topic, partitions }) =>
    partitions.map(({ partition, offset, metadata, errorCode }) => {
      check(errorCode);
      return { topic, partition, position: BigInt(offset), metadata: metadata ?? '' };
    }),
  );
}
