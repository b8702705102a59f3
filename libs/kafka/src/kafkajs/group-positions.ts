/** Where a group stands in its topics, and begins, as its coordinator and the logs tell; remembered over all lives of its consumer. */
import type { TopicPartition } from '@event-bus/core';
import { placeOf } from '@event-bus/core/internal';
import { partitionsByTopic, persistent } from './admin.js';
import type { KafkaConsumerOptions } from './client.js';
import { EARLIEST, LATEST, committedOf, listOffsets, topicOf, type Cluster, type Committed } from './cluster.js';
import { isUnknownTopic } from './failure.js';
import { beginningOf, type Beginning, type LogRange } from './positions.js';

export interface Begun extends Beginning {
  readonly place: TopicPartition;
}

export interface Beginnings {
  /** Of those partitions whose leaders answer. */
  readonly found: readonly Begun[];
  readonly committed: readonly Committed[];
  /** Why some topics could not be looked up. */
  readonly failures: readonly unknown[];
}

export class GroupPositions {
  readonly #cluster: Cluster;
  readonly #options: KafkaConsumerOptions;
  /** Partitions in which the group has a position, as far as is known. A group with members loses it only with the topic. */
  readonly #committed = new Set<string>();
  /** By topic, the last partition in which the group had a position when it was first seen to have any. */
  readonly #begun = new Map<string, number>();

  constructor(cluster: Cluster, options: KafkaConsumerOptions) {
    this.#cluster = cluster;
    this.#options = options;
  }

  /** Resolves once a coordinator tells positions: one that is still loading the group refuses its members. */
  async ready(): Promise<void> {
    const { group } = this.#options;
    await persistent(this.#cluster, `Finding group "${group}"`, () => committedOf(this.#cluster, group, new Map()));
  }

  /**
   * To be called before each join. A partition that is added later has no position, but nothing in it is old. It is told from those of a
   * new group by then: once a group that is new has its partitions, some members commit where they begin before others have looked.
   */
  async noteBegun(): Promise<void> {
    const { from, group } = this.#options;
    const topics = from === 'latest' ? this.#options.topics.filter((topic) => !this.#begun.has(topic)) : [];
    if (topics.length === 0) return;
    const positions = await persistent(this.#cluster, `Reading the positions of group "${group}"`, async () => {
      const partitions = new Map<string, number[]>();
      for (const topic of topics)
        partitions.set(
          topic,
          (await topicOf(this.#cluster, topic)).partitionMetadata.map(({ partitionId }) => partitionId),
        );
      return committedOf(this.#cluster, group, partitions);
    });
    for (const { topic, partition, position } of positions)
      if (position >= 0n) this.#begun.set(topic, Math.max(partition, this.#begun.get(topic) ?? partition));
  }

  /** What is found of some topics counts, also when another one cannot be looked up now. */
  async beginnings(places: readonly TopicPartition[]): Promise<Beginnings> {
    const byTopic = partitionsByTopic(places);
    await this.#cluster.connect();
    const committed = await committedOf(this.#cluster, this.#options.group, byTopic);
    const lookups = await Promise.allSettled(
      Array.from(byTopic.keys(), (topic) =>
        this.#beginningsIn(
          topic,
          committed.filter((entry) => entry.topic === topic),
        ),
      ),
    );
    return {
      found: lookups.flatMap((lookup) => (lookup.status === 'fulfilled' ? lookup.value : [])),
      committed,
      failures: lookups.flatMap((lookup) => (lookup.status === 'rejected' ? [lookup.reason as unknown] : [])),
    };
  }

  async #beginningsIn(topic: string, committed: readonly Committed[]): Promise<Begun[]> {
    const logs = await this.#logs(
      topic,
      committed.map(({ partition }) => partition),
    );
    const withoutPosition = committed.filter(({ position }) => position < 0n).map(({ partition }) => partition);
    const first = await this.#firstPositions(topic, logs, withoutPosition);
    return committed.flatMap((entry) => {
      const place = { topic, partition: entry.partition };
      const log = logs.get(entry.partition);
      // Whoever begins at the end does so once: a topic that was made anew is read from its start.
      if (log && entry.position < 0n && this.#committed.has(placeOf(place)))
        return [{ place, position: log.start, metadata: '', isMoved: true }];
      const start = entry.position < 0n ? first.get(entry.partition) : 0n;
      return log && start !== undefined
        ? [{ place, ...beginningOf(place, entry, log, start, this.#options.from) }]
        : [];
    });
  }

  async #firstPositions(
    topic: string,
    logs: ReadonlyMap<number, LogRange>,
    partitions: readonly number[],
  ): Promise<Map<number, bigint | undefined>> {
    const { from } = this.#options;
    if (from === 'earliest' || partitions.length === 0)
      return new Map(partitions.map((partition) => [partition, logs.get(partition)?.start]));
    const latest = await listOffsets(this.#cluster, topic, partitions, LATEST);
    if (from === 'latest') {
      const isAdded = (partition: number) => partition > (this.#begun.get(topic) ?? Infinity);
      return new Map(
        partitions.map((partition) => [
          partition,
          isAdded(partition) ? logs.get(partition)?.start : latest.get(partition),
        ]),
      );
    }
    const atTime = await listOffsets(this.#cluster, topic, partitions, from.time);
    return new Map(
      partitions.map((partition) => [
        partition,
        atTime.get(partition) === -1n ? latest.get(partition) : atTime.get(partition),
      ]),
    );
  }

  /** What a coordinator told, or took; answers the partitions whose position it has forgotten. */
  note(positions: readonly Committed[]): TopicPartition[] {
    const forgotten: TopicPartition[] = [];
    for (const { topic, partition, position } of positions) {
      const key = placeOf({ topic, partition });
      if (position >= 0n) this.#committed.add(key);
      else if (this.#committed.delete(key)) forgotten.push({ topic, partition });
    }
    return forgotten;
  }

  /** A topic that is gone, or in which the group has lost its position. */
  async deletedTopic(places: readonly TopicPartition[]): Promise<string | undefined> {
    const byTopic = partitionsByTopic(places);
    await this.#cluster.connect();
    const positions = await committedOf(this.#cluster, this.#options.group, byTopic);
    const forgotten = positions.find((entry) => entry.position < 0n && this.#committed.has(placeOf(entry)));
    if (forgotten) return forgotten.topic;
    for (const topic of byTopic.keys()) {
      try {
        await topicOf(this.#cluster, topic);
      } catch (error) {
        if (isUnknownTopic(error)) return topic;
        throw error;
      }
    }
    return undefined;
  }

  /** `undefined` while nobody can tell. */
  async logOf({ topic, partition }: TopicPartition): Promise<LogRange | undefined> {
    const logs = await this.#logs(topic, [partition]).catch(() => undefined);
    return logs?.get(partition);
  }

  async #logs(topic: string, partitions: readonly number[]): Promise<Map<number, LogRange>> {
    const [starts, ends] = await Promise.all(
      [EARLIEST, LATEST].map((at) => listOffsets(this.#cluster, topic, partitions, at, { uncommitted: true })),
    );
    const ranges = new Map<number, LogRange>();
    for (const partition of partitions) {
      const start = starts!.get(partition);
      const end = ends!.get(partition);
      if (start !== undefined && end !== undefined) ranges.set(partition, { start, end });
    }
    return ranges;
  }
}
