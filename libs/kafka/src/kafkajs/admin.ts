import { BusError, systemClock, type TopicPartition } from '@event-bus/core';
import { delay } from '@event-bus/core/internal';
import type { CommitPosition, KafkaAdmin, NewTopic } from './client.js';
import { EARLIEST, LATEST, ask, committedOf, listOffsets, topicOf, type Cluster, type Metadata } from './cluster.js';
import { busErrorOf, isFenced, protocolType } from './failure.js';

export function kafkajsAdmin(cluster: Cluster): KafkaAdmin {
  const persist = <T>(what: string, work: () => Promise<T>) => persistent(cluster, what, work);
  const partitionsOf = async (topic: string) =>
    (await topicOf(cluster, topic)).partitionMetadata.map(({ partitionId }) => partitionId).sort(ascending);

  const admin: KafkaAdmin = {
    open: () => persist('Connecting to Kafka', () => cluster.refreshMetadata()),

    topics: () =>
      persist('Listing the topics', async () => {
        const broker = await cluster.brokerPool.findConnectedBroker();
        const { topicMetadata } = await ask<Metadata>(broker, 'Metadata', {
          topics: [],
          allowAutoTopicCreation: false,
        });
        return topicMetadata
          .filter(
            ({ isInternal, topic, topicErrorCode }) => topicErrorCode === 0 && !isInternal && !topic.startsWith('__'),
          )
          .map(({ topic, partitionMetadata }) => ({ topic, partitions: partitionMetadata.length }))
          .sort((a, b) => (a.topic < b.topic ? -1 : 1));
      }),

    partitions: (topic) => persist(`Looking up topic "${topic}"`, async () => (await partitionsOf(topic)).length),

    create: async (topic) => {
      const created = await persist(`Creating topic "${topic.topic}"`, () => createTopic(cluster, topic));
      await persist(`Waiting for the leaders of topic "${topic.topic}"`, () => leaders(cluster, topic.topic));
      return created;
    },

    watermarks: (topic) =>
      persist(`Reading the positions of topic "${topic}"`, async () => {
        const partitions = await partitionsOf(topic);
        const [starts, ends] = await Promise.all(
          [EARLIEST, LATEST].map((at) => listOffsets(cluster, topic, partitions, at)),
        );
        return partitions.map((partition) => ({
          partition,
          start: starts!.get(partition)?.toString(),
          end: ends!.get(partition)?.toString(),
        }));
      }),

    atTime: (topic, ms) =>
      persist(`Looking up a time in topic "${topic}"`, async () => {
        const partitions = await partitionsOf(topic);
        const found = await listOffsets(cluster, topic, partitions, ms);
        const ends = await listOffsets(cluster, topic, partitions, LATEST);
        return partitions.map((partition) => {
          const offset = found.get(partition);
          return {
            partition,
            offset: (offset !== undefined && offset < 0n ? ends.get(partition) : offset)?.toString(),
          };
        });
      }),

    committed: (group, topics) =>
      persist(`Reading the positions of group "${group}"`, async () => {
        const asked = new Map<string, number[]>();
        for (const topic of topics) asked.set(topic, await partitionsOf(topic));
        return (await committedOf(cluster, group, asked))
          .filter(({ position }) => position >= 0n)
          .map((entry) => ({ ...entry, position: entry.position.toString() }));
      }),

    setCommitted: (group, positions) =>
      persist(`Moving group "${group}"`, () => setCommitted(cluster, group, positions)),
  };
  return admin;
}

/** Tries what another broker, or the same in a moment, may answer. Every error comes out as a `BusError`. */
export async function persistent<T>(cluster: Cluster, what: string, work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      await cluster.connect();
      return await work();
    } catch (error) {
      const failure = busErrorOf(error, what);
      if (!failure.retryable || attempt === ATTEMPTS || failure.code === 'BUS_BUSY') throw failure;
      const { name, host, port } = error as { name?: string; host?: string; port?: number };
      if (name === 'KafkaJSConnectionClosedError' && host !== undefined && port !== undefined)
        cluster.removeBroker({ host, port });
      await delay(systemClock, attempt * PAUSE_MS);
    }
  }
}

const ATTEMPTS = 4;
const PAUSE_MS = 200;

async function createTopic(
  cluster: Cluster,
  { topic, partitions, replicationFactor, config = {} }: NewTopic,
): Promise<boolean> {
  await cluster.refreshMetadata();
  const controller = await cluster.findControllerBroker();
  const configEntries = Object.entries(config).map(([name, value]) => ({ name, value }));
  try {
    // -1: the broker's own default.
    await controller.createTopics({
      topics: [{ topic, numPartitions: partitions ?? -1, replicationFactor: replicationFactor ?? -1, configEntries }],
    });
    return true;
  } catch (error) {
    if (protocolType(error) === 'TOPIC_ALREADY_EXISTS') return false;
    throw error;
  }
}

/** Waits until every broker that can be reached knows who leads: the next question may go to any of them. */
async function leaders(cluster: Cluster, topic: string): Promise<void> {
  for (
    const since = systemClock.monotonic();
    systemClock.monotonic() - since < LEADERS_TIMEOUT_MS;
    await delay(systemClock, PAUSE_MS / 4)
  ) {
    const nodes = Object.keys(cluster.brokerPool.brokers).map(Number);
    const known = await Promise.all(nodes.map((nodeId) => hasLeaders(cluster, nodeId, topic)));
    if (known.includes(true) && !known.includes(false)) return;
  }
  throw new BusError(
    'BUS_TRANSPORT_UNAVAILABLE',
    `Topic "${topic}" was created, but after ${LEADERS_TIMEOUT_MS / 1_000} s not all of its partitions have a leader.`,
  );
}

/** Undefined of a broker that cannot be asked. */
async function hasLeaders(cluster: Cluster, nodeId: number, topic: string): Promise<boolean | undefined> {
  let metadata: Metadata;
  try {
    metadata = await (await cluster.findBroker({ nodeId })).metadata([topic]);
  } catch {
    return undefined;
  }
  const found = metadata.topicMetadata.find((entry) => entry.topic === topic);
  const partitions = found?.topicErrorCode === 0 ? found.partitionMetadata : [];
  return partitions.length > 0 && partitions.every(({ leader }) => leader >= 0);
}

const LEADERS_TIMEOUT_MS = 10_000;

/**
 * A commit without member and generation, which the coordinator takes for a group without members only. kafkajs's own `setOffsets` joins
 * the group for it, waits for a rebalance, and hides its errors.
 */
async function setCommitted(cluster: Cluster, group: string, positions: readonly CommitPosition[]): Promise<void> {
  const topics = partitionsByTopic(positions);
  const coordinator = await cluster.findGroupCoordinator({ groupId: group });
  try {
    await coordinator.offsetCommit({
      groupId: group,
      groupGenerationId: -1,
      memberId: '',
      topics: commitTopics(positions),
    });
  } catch (error) {
    if (!isFenced(error) && protocolType(error) !== 'REBALANCE_IN_PROGRESS') throw error;
    throw new BusError('BUS_BUSY', `Group "${group}" has running members: stop them before its position is moved.`, {
      cause: error,
    });
  }
  const found = await committedOf(cluster, group, topics);
  for (const { topic, partition, position } of positions) {
    const now = found.find((entry) => entry.topic === topic && entry.partition === partition)?.position;
    if (now !== BigInt(position)) {
      throw new BusError(
        'BUS_BUSY',
        `Group "${group}" moved by itself: topic "${topic}" partition ${partition} is at ${now}, not at ${position}. Stop its members.`,
      );
    }
  }
}

export function partitionsByTopic(places: readonly TopicPartition[]): Map<string, number[]> {
  const topics = new Map<string, number[]>();
  for (const { topic, partition } of places) topics.set(topic, [...(topics.get(topic) ?? []), partition]);
  return topics;
}

/** Positions as an OffsetCommit takes them. */
export function commitTopics(positions: readonly CommitPosition[]) {
  const topics = new Map<string, { partition: number; offset: string; metadata: string }[]>();
  for (const { topic, partition, position, metadata } of positions) {
    const partitions = topics.get(topic) ?? [];
    partitions.push({ partition, offset: position, metadata });
    topics.set(topic, partitions);
  }
  return Array.from(topics, ([topic, partitions]) => ({ topic, partitions }));
}

const ascending = (a: number, b: number) => a - b;
