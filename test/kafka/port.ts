import { randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import type { BusError, BusRecord, LostRange } from '@event-bus/core';
import { partitionOf } from '@event-bus/core/internal';
import type {
  AssignedPartition,
  CommitPosition,
  KafkaBatch,
  KafkaClient,
  KafkaConsumer,
  KafkaConsumerOptions,
  Part,
} from '../../libs/kafka/src/kafkajs/client.js';
import { kafkajsClient, type KafkaNotice } from '../../libs/kafka/src/kafkajs/kafkajs-client.js';
import type { KafkaConnectionOptions } from '../../libs/kafka/src/kafkajs/settings.js';

// Of the copy that the library itself uses.
export const kafkajs = createRequire(new URL('../../libs/kafka/package.json', import.meta.url))(
  'kafkajs',
) as typeof import('kafkajs');

export interface Port {
  readonly client: KafkaClient;
  readonly notices: KafkaNotice[];
}

export function openPort(brokers: readonly string[], options: Partial<KafkaConnectionOptions> = {}): Port {
  const notices: KafkaNotice[] = [];
  return { client: kafkajsClient({ brokers, ...options }, (notice) => notices.push(notice)), notices };
}

/** A topic of its own for each test, and a group of the same name. */
export async function freshTopic(client: KafkaClient, partitions = 1): Promise<string> {
  const topic = `t-${randomUUID().slice(0, 8)}`;
  await client.admin.create({ topic, partitions });
  return topic;
}

export const record = (
  value: string,
  { key = null as string | null, headers = [] as BusRecord['headers'] } = {},
): BusRecord => ({
  key: key === null ? null : Buffer.from(key),
  value: Buffer.from(value),
  headers,
});

/** A key of a partition. */
export function keyOf(partition: number, partitions: number): string {
  for (let n = 0; ; n++) if (partitionOf(Buffer.from(`course-${n}`), partitions) === partition) return `course-${n}`;
}

export const numbered = (topic: string, partition: number, from: number, count: number): Part => ({
  topic,
  partition,
  records: Array.from({ length: count }, (_, i) => record(String(from + i))),
});

/** Stores all, once. */
export async function store(client: KafkaClient, parts: readonly Part[]): Promise<void> {
  const producer = client.producer();
  try {
    for (const topic of new Set(parts.map((part) => part.topic))) await producer.partitions(topic);
    for (let open = parts; open.length > 0;) {
      const outcomes = await producer.append(open);
      for (const outcome of outcomes) if (outcome.status !== 'stored' && !outcome.error.retryable) throw outcome.error;
      open = open.filter((_, i) => outcomes[i]!.status !== 'stored');
      if (open.length > 0) await sleep(50); // a leader of a new topic hears of that a moment later
    }
  } finally {
    await producer.close();
  }
}

/** A topic with these brokers for its partitions. */
export async function placedTopic(brokers: readonly string[], replicas: readonly number[][]): Promise<string> {
  const topic = `placed-${randomUUID().slice(0, 8)}`;
  const replicaAssignment = replicas.map((nodes, partition) => ({ partition, replicas: nodes }));
  await withAdmin(brokers, (admin) =>
    admin.createTopics({ topics: [{ topic, replicaAssignment } as never], waitForLeaders: true }),
  );
  return topic;
}

type Admin = ReturnType<InstanceType<typeof kafkajs.Kafka>['admin']>;

/** kafkajs's own. */
export async function withAdmin<T>(brokers: readonly string[], work: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = new kafkajs.Kafka({ brokers: [...brokers], logLevel: 0 }).admin();
  await admin.connect();
  try {
    return await work(admin);
  } finally {
    await admin.disconnect();
  }
}

/** Retention, at once. */
export async function deleteBefore(
  brokers: readonly string[],
  topic: string,
  partition: number,
  offset: number | string,
): Promise<void> {
  await withAdmin(brokers, async (admin) => {
    await admin.fetchTopicOffsets(topic); // or it does not know the leader
    await admin.deleteTopicRecords({ topic, partitions: [{ partition, offset: String(offset) }] });
  });
}

export async function eventually(holds: () => boolean | Promise<boolean>, withinMs = 60_000): Promise<void> {
  for (const until = Date.now() + withinMs; !(await holds()); await sleep(20)) {
    if (Date.now() > until) throw new Error(`Not so after ${withinMs} ms: ${String(holds)}`);
  }
}

/** A consumer that handles each record for `handleMs`, several partitions at once, and commits what is finished, as the bus does. */
export class Member {
  readonly consumer: KafkaConsumer;
  /** `partition:value`, in the order in which they were begun. */
  readonly begun: string[] = [];
  readonly assigned: AssignedPartition[] = [];
  readonly lost: LostRange[] = [];
  readonly troubles: (BusError | undefined)[] = [];
  readonly batches: KafkaBatch[] = [];
  /** Batches of partitions that had not been assigned. */
  readonly early: KafkaBatch[] = [];
  readonly commits: string[] = [];
  generation = 0;
  /** While it is set, batches are taken and not answered. */
  held: Promise<void> | undefined;
  readonly #handleMs: number;
  #working = new Map<number, Promise<void>>();
  #finished = new Map<string, CommitPosition>();
  #commitTimer: NodeJS.Timeout;

  constructor(
    client: KafkaClient,
    options: Partial<KafkaConsumerOptions> & { topic: string; handleMs?: number; commitMs?: number },
  ) {
    const { topic, handleMs = 0, commitMs = 200, ...rest } = options;
    this.consumer = client.consumer({
      topics: [topic],
      group: topic,
      from: 'earliest',
      revokeTimeoutMs: 10_000,
      ...rest,
    });
    this.#handleMs = handleMs;
    this.#commitTimer = setInterval(() => void this.commit(), commitMs);
  }

  run(): Promise<void> {
    return this.consumer.run({
      onAssigned: (generation, partitions) => {
        if (generation !== this.generation) this.#finished.clear();
        this.generation = generation;
        this.assigned.push(...partitions);
      },
      onBatch: (batch) => {
        if (!this.assigned.some(({ topic, partition }) => topic === batch.topic && partition === batch.partition))
          this.early.push(batch);
        this.batches.push(batch);
        const work = (this.#working.get(batch.partition) ?? Promise.resolve()).then(() => this.#handle(batch));
        this.#working.set(batch.partition, work);
        return this.held ?? (this.#handleMs > 0 ? work : undefined);
      },
      onLeaving: async (generation, gone) => {
        const stopped = new Promise((resolve) => gone.addEventListener('abort', resolve, { once: true }));
        this.#leaving = generation;
        await Promise.race([Promise.all(this.#working.values()), stopped]);
        await this.commit();
      },
      onLost: (range) => void this.lost.push(range),
      onTrouble: (error) => void this.troubles.push(error),
    });
  }

  /** Records of a generation that is being left are not begun any more. */
  #leaving = 0;

  async #handle(batch: KafkaBatch): Promise<void> {
    const { topic, partition, records, next, generation } = batch;
    for (const { offset, value } of records) {
      if (generation <= this.#leaving) return;
      this.begun.push(`${partition}:${Buffer.from(value ?? []).toString()}`);
      if (this.#handleMs > 0) await sleep(this.#handleMs);
      this.#finish({ topic, partition, position: String(BigInt(offset) + 1n), metadata: '' });
    }
    this.#finish({ topic, partition, position: next, metadata: '' });
  }

  #finish(position: CommitPosition): void {
    this.#finished.set(String(position.partition), position);
  }

  async commit(): Promise<void> {
    const positions = [...this.#finished.values()];
    this.#finished.clear();
    if (positions.length > 0) this.commits.push(await this.consumer.commit(this.generation, positions));
  }

  async stop(): Promise<void> {
    clearInterval(this.#commitTimer);
    await this.consumer.stop();
  }
}
