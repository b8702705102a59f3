/**
 * One idempotent producer of kafkajs, and its successors. kafkajs retries by itself, so what comes out of a send is final or in doubt:
 * after a doubt its sequence numbers cannot be trusted any more, and a new producer, with a new id, takes over.
 */
import { BusError } from '@event-bus/core';
import type { Kafka, Producer, ProducerBatch } from 'kafkajs';
import type { KafkaProducer, Outcome, Part } from './client.js';
import { onCluster, type Cluster } from './cluster.js';
import { busErrorOf, isRefusal } from './failure.js';
import { headersFromPairs } from './fast-path.js';
import type { ProduceMessage } from './produce-encoder.js';
import { PRODUCER_CONFIG, PRODUCE_TIMEOUT_MS } from './settings.js';

export interface ProducerParts {
  /** A new object each time. */
  readonly kafka: () => Kafka;
  /** Our encoder is in: it takes headers as pairs. */
  readonly takesPairs: () => Promise<boolean>;
}

export function kafkajsProducer(parts: ProducerParts): KafkaProducer {
  const sessions = new Sessions(parts);
  return {
    open: () =>
      sessions
        .use(async () => {})
        .catch((error: unknown) => Promise.reject(busErrorOf(error, 'Connecting the producer'))),
    knownPartitions: (topic) => sessions.partitions(topic),
    partitions: (topic) =>
      sessions
        .use((session) => lookUp(session, topic))
        .catch((error: unknown) => Promise.reject(busErrorOf(error, 'Connecting the producer'))),
    append: (wanted) => append(sessions, wanted),
    close: () => sessions.close(),
  };
}

async function lookUp(session: Session, topic: string): Promise<number> {
  try {
    await session.cluster.addMultipleTargetTopics([topic]);
  } catch (error) {
    throw busErrorOf(error, `Looking up topic "${topic}"`, { topic });
  }
  const count = partitionCount(session, topic);
  if (count === undefined)
    throw new BusError(
      'BUS_TOPIC_MISSING',
      `Topic "${topic}" does not exist. Create it: the bus never does so by itself.`,
      { details: { topic } },
    );
  return count;
}

// ---- sending

async function append(sessions: Sessions, parts: readonly Part[]): Promise<Outcome[]> {
  const outcomes: (Outcome | undefined)[] = parts.map(() => undefined);
  try {
    const refusal = await sessions.use((session) => sendAll(session, parts, outcomes));
    if (refusal) await sendEach(sessions, parts, outcomes, refusal);
  } catch (error) {
    // No session: nothing was sent.
    fill(outcomes, { status: 'failed', error: busErrorOf(error, 'Connecting the producer') });
  }
  return outcomes as Outcome[];
}

/** Fills in the outcomes, or answers the error when the send was refused for good and any part may be the reason. */
async function sendAll(session: Session, parts: readonly Part[], outcomes: (Outcome | undefined)[]): Promise<unknown> {
  let open = parts.map((_, index) => index);
  for (let round = 0; round < MISSING_ROUNDS && open.length > 0; round++) {
    try {
      const stored = await session.send(open.map((index) => parts[index]!));
      for (const index of open) {
        const baseOffset = stored.get(placeOf(parts[index]!));
        if (baseOffset !== undefined) outcomes[index] = { status: 'stored', baseOffset };
      }
      // kafkajs resolves without having written a partition whose leader moved to a broker that had answered for others.
      open = open.filter((index) => !outcomes[index]);
    } catch (error) {
      session.isStale = true;
      if (!isRefusal(error)) fill(outcomes, { status: 'unknown', error: busErrorOf(error, 'Sending') });
      else if (open.length > 1) return error;
      else
        outcomes[open[0]!] = {
          status: 'failed',
          error: busErrorOf(error, `Sending to topic "${parts[open[0]!]!.topic}"`),
        };
      return undefined;
    }
  }
  if (open.length === 0) return undefined;
  const error = new BusError(
    'BUS_TRANSPORT_UNAVAILABLE',
    `The brokers did not say whether the records are stored, ${MISSING_ROUNDS} times in a row.`,
  );
  fill(outcomes, { status: 'unknown', error });
  return undefined;
}

const MISSING_ROUNDS = 5;

/** Only what is refused alone is refused. What was stored in the refused send is stored twice, with the same event id. */
async function sendEach(
  sessions: Sessions,
  parts: readonly Part[],
  outcomes: (Outcome | undefined)[],
  refusal: unknown,
): Promise<void> {
  for (const [index, part] of parts.entries()) {
    if (outcomes[index]) continue;
    const alone: (Outcome | undefined)[] = [undefined];
    try {
      await sessions.use((session) => sendAll(session, [part], alone));
    } catch {
      alone[0] = { status: 'unknown', error: busErrorOf(refusal, 'Sending') };
    }
    outcomes[index] = alone[0];
  }
}

function fill(outcomes: (Outcome | undefined)[], outcome: Outcome): void {
  outcomes.forEach((known, index) => (outcomes[index] = known ?? outcome));
}

const placeOf = ({ topic, partition }: { readonly topic: string; readonly partition: number }) =>
  `${partition} ${topic}`;

// ---- sessions: one producer id each

interface Session {
  readonly cluster: Cluster;
  /** The base offset of each partition that the brokers named. */
  send(parts: readonly Part[]): Promise<Map<string, string>>;
  disconnect(): Promise<void>;
  /** Its sequence numbers are in doubt. */
  isStale: boolean;
}

function partitionCount({ cluster }: Session, topic: string): number | undefined {
  const count = cluster.brokerPool.metadata?.topicMetadata.find((entry) => entry.topic === topic)?.partitionMetadata
    .length;
  return count === 0 ? undefined : count;
}

class Sessions {
  readonly #parts: ProducerParts;
  #current: Promise<Session> | undefined;
  #session: Session | undefined;
  #users = 0;
  #idle: (() => void)[] = [];
  #isClosed = false;
  readonly #leaving = new Set<Promise<void>>();
  /** What former sessions knew: the present one learns of a topic with its first send. */
  readonly #counts = new Map<string, number>();

  constructor(parts: ProducerParts) {
    this.#parts = parts;
  }

  partitions(topic: string): number | undefined {
    return (this.#session && partitionCount(this.#session, topic)) ?? this.#counts.get(topic);
  }

  /** A stale session lives until its last user is through: a partition is never in two sessions at once. */
  async use<T>(work: (session: Session) => Promise<T>): Promise<T> {
    while (this.#session?.isStale) {
      if (this.#users === 0) this.#drop(this.#session);
      else await new Promise<void>((resolve) => this.#idle.push(resolve));
    }
    if (this.#isClosed) throw new BusError('BUS_CLOSED', 'The Kafka producer is closed.');
    this.#users++;
    try {
      return await work(await (this.#current ??= this.#open()));
    } finally {
      if (--this.#users === 0) this.#idle.splice(0).forEach((resolve) => resolve());
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    while (this.#users > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
    if (this.#session) this.#drop(this.#session);
    await Promise.all(this.#leaving);
  }

  async #open(): Promise<Session> {
    try {
      return (this.#session = await openSession(this.#parts));
    } catch (error) {
      this.#current = undefined;
      throw error;
    }
  }

  #drop(session: Session): void {
    for (const { topic, partitionMetadata } of session.cluster.brokerPool.metadata?.topicMetadata ?? [])
      if (partitionMetadata.length > 0) this.#counts.set(topic, partitionMetadata.length);
    this.#session = undefined;
    this.#current = undefined;
    const left = session.disconnect().finally(() => this.#leaving.delete(left));
    this.#leaving.add(left);
  }
}

async function openSession({ kafka: make, takesPairs }: ProducerParts): Promise<Session> {
  const kafka = make();
  let cluster: Cluster | undefined;
  onCluster(kafka, (made) => (cluster = made));
  const producer = kafka.producer(PRODUCER_CONFIG);
  const withPairs = await takesPairs();
  const disconnect = () => producer.disconnect().catch(() => {});
  try {
    await producer.connect();
  } catch (error) {
    void disconnect();
    throw error;
  }
  return { cluster: cluster!, send: (parts) => sendBatch(producer, parts, withPairs), disconnect, isStale: false };
}

async function sendBatch(producer: Producer, parts: readonly Part[], withPairs: boolean): Promise<Map<string, string>> {
  const topics = new Map<string, Message[]>();
  for (const { topic, partition, records } of parts) {
    let messages = topics.get(topic);
    if (messages === undefined) topics.set(topic, (messages = []));
    for (const { key, value, headers } of records)
      messages.push({
        key: bufferOf(key),
        value: bufferOf(value),
        partition,
        headers: withPairs ? undefined : headersFromPairs(headers),
        pairs: withPairs ? headers : undefined,
      });
  }
  const topicMessages = Array.from(topics, ([topic, messages]) => ({
    topic,
    messages: groupedOnce(messages),
  })) as ProducerBatch['topicMessages'] & object;
  const answers = await producer.sendBatch({ acks: -1, timeout: PRODUCE_TIMEOUT_MS, topicMessages });
  return new Map(
    answers.map(({ topicName, partition, baseOffset }) => [
      placeOf({ topic: topicName, partition }),
      String(baseOffset),
    ]),
  );
}

type Message = ProduceMessage & { readonly partition: number };

/** kafkajs groups what it sends by partition, with `reduce`, and copies the group for every record. Nothing else reduces these. */
function groupedOnce(messages: Message[]): Message[] {
  const value = () => {
    const groups: Record<number, Message[]> = {};
    for (const message of messages) (groups[message.partition] ??= []).push(message);
    return groups;
  };
  return Object.defineProperty(messages, 'reduce', { value });
}

// kafkajs writes any other array of bytes as text.
function bufferOf(bytes: Uint8Array | null): Buffer | null {
  return bytes === null || Buffer.isBuffer(bytes)
    ? bytes
    : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
