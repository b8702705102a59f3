import { BusError, systemClock } from '@event-bus/core';
import type { TopicPartition } from '@event-bus/core';
import { topicOf, type Cluster, type Metadata } from './cluster.js';
import { busErrorOf, protocolType } from './failure.js';
import { METADATA_MAX_AGE_MS } from './settings.js';

/**
 * Who leads which partition, as the brokers said last. Asking costs no request. kafkajs's own look-up fails for all topics when one of them
 * is missing or has a partition without a leader; it needs a cluster of `openClusterOf`.
 */
export class Leaders {
  readonly #topics = new Map<string, Topic>();
  #metadata: Metadata | null = null;
  #isRefreshing = false;
  #askedAt = -Infinity;

  constructor(private readonly cluster: Cluster) {}

  /** How many partitions a topic has; `undefined` when that is not known, or when the topic is gone. */
  countOf(topic: string): number | undefined {
    return this.isGone(topic) ? undefined : this.#known(topic)?.leaders.length;
  }

  /** `undefined`: nobody leads it, as far as is known. */
  of({ topic, partition }: TopicPartition): number | undefined {
    const leader = this.#known(topic)?.leaders[partition];
    return leader === undefined || leader < 0 || this.isGone(topic) ? undefined : leader;
  }

  /** It was there, and for some seconds brokers have said that it is not. Just after a start one may know less than the others. */
  isGone(topic: string): boolean {
    const since = this.#known(topic)?.missingSince;
    return since !== undefined && systemClock.monotonic() - since > GONE_AFTER_MS;
  }

  /** Asks the brokers. Rejects with `BUS_TOPIC_MISSING`, or when none answers. */
  async lookUp(topic: string): Promise<number> {
    this.#askedAt = systemClock.monotonic();
    try {
      await topicOf(this.cluster, topic);
    } catch (error) {
      if (protocolType(error) !== 'UNKNOWN_TOPIC_OR_PARTITION')
        throw busErrorOf(error, `Looking up topic "${topic}"`, { topic });
      this.cluster.targetTopics.delete(topic);
      throw missing(topic);
    }
    return this.#known(topic)!.leaders.length;
  }

  /** Has the brokers asked, soon, by the way. */
  refresh(): void {
    if (this.#isRefreshing || systemClock.monotonic() - this.#askedAt < REFRESH_PAUSE_MS) return;
    this.#isRefreshing = true;
    this.#askedAt = systemClock.monotonic();
    this.cluster
      .refreshMetadata()
      .catch(() => {}) // whoever needs an answer asks again
      .finally(() => (this.#isRefreshing = false));
  }

  refreshWhenOld(): void {
    if (systemClock.monotonic() - this.#askedAt > METADATA_MAX_AGE_MS) this.refresh();
  }

  #known(topic: string): Topic | undefined {
    const { metadata } = this.cluster.brokerPool;
    if (metadata !== this.#metadata) this.#learn(metadata);
    return this.#topics.get(topic);
  }

  #learn(metadata: Metadata | null): void {
    this.#metadata = metadata;
    for (const { topic, topicErrorCode, partitionMetadata } of metadata?.topicMetadata ?? []) {
      if (topicErrorCode === 0 && partitionMetadata.length > 0) {
        const leaders = partitionMetadata.map(() => NOBODY);
        for (const { partitionId, leader } of partitionMetadata) leaders[partitionId] = leader;
        this.#topics.set(topic, { leaders, missingSince: undefined });
      } else if (topicErrorCode === UNKNOWN_TOPIC) {
        const known = this.#topics.get(topic);
        if (known) known.missingSince ??= systemClock.monotonic();
      }
    }
  }
}

export function missing(topic: string): BusError {
  const text = `Topic "${topic}" does not exist. Create it: the bus never does so by itself.`;
  return new BusError('BUS_TOPIC_MISSING', text, { details: { topic } });
}

interface Topic {
  /** By partition. */
  readonly leaders: readonly number[];
  missingSince: number | undefined;
}

const NOBODY = -1;
const UNKNOWN_TOPIC = 3;
const GONE_AFTER_MS = 3_000;
const REFRESH_PAUSE_MS = 100;
