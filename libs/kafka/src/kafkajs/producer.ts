/**
 * Produce requests on kafkajs's connections, with producer ids and sequence numbers of our own. kafkajs's producer has one answer for a
 * whole send: a partition that is not well makes it reject all of them, send all of them again, and store the others twice. Here every
 * partition has its own answer.
 *
 *   append ─▶ by leader and producer id ─▶ Produce ─┬─ stored ─▶ the next number
 *                                                   ├─ failed ─▶ the same number
 *                                                   └─ unknown ─▶ the same number for the same records, or a new producer id
 *
 * A broker tells a batch that comes again by its producer id and number. Other records under a number that may be taken would pass for
 * a repeat, and be dropped.
 */
import { BusError, type BusRecord, type TopicPartition } from '@event-bus/core';
import { placeOf } from '@event-bus/core/internal';
import { persistent } from './admin.js';
import type { KafkaProducer, Outcome, Part } from './client.js';
import { ask, check, protocolError, type Broker, type Cluster } from './cluster.js';
import { busErrorOf, isRefusal, protocolType } from './failure.js';
import { headersFromPairs } from './fast-path.js';
import { Leaders, missing } from './leaders.js';
import type { ProduceArguments, ProduceMessage } from './produce-encoder.js';
import { PRODUCE_TIMEOUT_MS } from './settings.js';

export interface ProducerParts {
  /** Of `openClusterOf`, and nobody else's. */
  readonly cluster: Cluster;
  /** Our encoder is in: it takes headers as pairs. */
  readonly takesPairs: () => Promise<boolean>;
}

export function kafkajsProducer({ cluster, takesPairs }: ProducerParts): KafkaProducer {
  const leaders = new Leaders(cluster);
  const ids = new ProducerIds(cluster);
  const sequences = new Map<string, Sequence>();
  const open = new Set<Promise<unknown>>();
  let closing: Promise<void> | undefined;

  async function append(parts: readonly Part[]): Promise<Outcome[]> {
    if (closing) return parts.map(() => failed(new BusError('BUS_CLOSED', 'The Kafka producer is closed.')));
    const outcomes: Outcome[] = [];
    const requests = new Map<string, Request>();
    for (const [index, part] of parts.entries()) {
      const leader = leaders.of(part);
      const sequence = leader === undefined ? failed(withoutLeader(leaders, part)) : await sequenceOf(part);
      if ('status' in sequence) {
        outcomes[index] = sequence;
        continue;
      }
      const name = `${leader} ${sequence.id.producerId}`;
      let request = requests.get(name);
      if (request === undefined) requests.set(name, (request = { leader: leader!, id: sequence.id, sends: [] }));
      request.sends.push({ index, part, sequence });
    }
    await Promise.all(Array.from(requests.values(), (request) => produce(request, outcomes)));
    if (outcomes.every(({ status }) => status === 'stored')) leaders.refreshWhenOld();
    else leaders.refresh();
    return outcomes;
  }

  async function sequenceOf(part: Part): Promise<Sequence | Outcome> {
    const place = placeOf(part);
    const known = sequences.get(place);
    if (known?.doubted && !known.isSpent && areSame(known.doubted, part.records)) return known;
    const isOver = known !== undefined && (known.isSpent || known.doubted !== undefined);
    try {
      const id = await ids.newest(isOver ? known.id : undefined);
      if (known?.id === id) return known;
      const fresh: Sequence = { id, next: 0, doubted: undefined, isSpent: false };
      sequences.set(place, fresh);
      return fresh;
    } catch (error) {
      return failed(error as BusError);
    }
  }

  async function produce({ leader, id, sends }: Request, outcomes: Outcome[]): Promise<void> {
    const tell = (outcome: Outcome) => sends.forEach(({ index }) => (outcomes[index] = outcome));
    let broker: Broker;
    try {
      broker = await cluster.findBroker({ nodeId: leader });
    } catch (error) {
      return tell(failed(busErrorOf(error, `Connecting to broker ${leader}`)));
    }
    try {
      const answer = await ask<ProduceAnswer>(broker, 'Produce', {
        acks: ALL_REPLICAS,
        timeout: PRODUCE_TIMEOUT_MS,
        ...id,
        topicData: topicData(sends, await takesPairs()),
      } satisfies ProduceArguments);
      const answers = byPlace(answer);
      for (const { index, part, sequence } of sends) {
        const said = answers.get(placeOf(part));
        outcomes[index] = said === undefined ? unknown(unanswered(leader)) : outcomeOf(part, said);
        note(sequence, part, outcomes[index], said?.errorCode);
      }
    } catch (error) {
      const failure = busErrorOf(error, `Sending to broker ${leader}`);
      tell(isRefusal(error) ? failed(failure) : unknown(failure));
      for (const { index, part, sequence } of sends) note(sequence, part, outcomes[index]!);
      leave(broker);
    }
  }

  /** A connection that failed, or a broker that is silent: the next request begins on a new one. */
  function leave(broker: Broker): void {
    const { host, port } = broker.connectionPool;
    cluster.removeBroker({ host, port });
    broker.disconnect().catch(() => {});
  }

  return {
    async open() {
      await takesPairs();
      await ids.newest(undefined);
    },
    knownPartitions: (topic) => leaders.countOf(topic),
    leaderOf: (place) => leaders.of(place),
    partitions: (topic) => leaders.lookUp(topic),
    append(parts) {
      const appending = append(parts);
      open.add(appending);
      return appending.finally(() => open.delete(appending));
    },
    close: () => (closing ??= Promise.allSettled(open).then(() => cluster.disconnect())),
  };
}

/** How far a partition is under a producer id. */
interface Sequence {
  readonly id: ProducerId;
  /** The number of the next record. */
  next: number;
  /** Sent with that number, and perhaps stored. */
  doubted: readonly BusRecord[] | undefined;
  /** The broker takes nothing more under this id. */
  isSpent: boolean;
}

interface ProducerId {
  readonly producerId: string;
  readonly producerEpoch: number;
}

interface Request {
  readonly leader: number;
  readonly id: ProducerId;
  readonly sends: { readonly index: number; readonly part: Part; readonly sequence: Sequence }[];
}

/** Partitions share the newest id: those that were left under an older one come over when nothing of theirs is in doubt. */
class ProducerIds {
  #newest: ProducerId | undefined;
  #asking: Promise<ProducerId> | undefined;

  constructor(private readonly cluster: Cluster) {}

  /** Another one than `spent`. */
  newest(spent: ProducerId | undefined): ProducerId | Promise<ProducerId> {
    if (this.#newest !== undefined && this.#newest !== spent) return this.#newest;
    return (this.#asking ??= this.#ask().finally(() => (this.#asking = undefined)));
  }

  async #ask(): Promise<ProducerId> {
    return (this.#newest = await persistent(this.cluster, 'Connecting the producer', async () => {
      const broker = await this.cluster.brokerPool.findConnectedBroker();
      const answer = await ask<ProducerId & { readonly errorCode: number }>(broker, 'InitProducerId', {});
      check(answer.errorCode);
      return { producerId: answer.producerId, producerEpoch: answer.producerEpoch };
    }));
  }
}

// ---- requests

function topicData(sends: Request['sends'], withPairs: boolean): ProduceArguments['topicData'] {
  const topics = new Map<string, { partition: number; firstSequence: number; messages: ProduceMessage[] }[]>();
  for (const { part, sequence } of sends) {
    let partitions = topics.get(part.topic);
    if (partitions === undefined) topics.set(part.topic, (partitions = []));
    const messages = part.records.map((record) => messageOf(record, withPairs));
    partitions.push({ partition: part.partition, firstSequence: sequence.next, messages });
  }
  return Array.from(topics, ([topic, partitions]) => ({ topic, partitions }));
}

function messageOf({ key, value, headers }: BusRecord, withPairs: boolean): ProduceMessage {
  return {
    key: bufferOf(key),
    value: bufferOf(value),
    headers: withPairs ? undefined : headersFromPairs(headers),
    pairs: withPairs ? headers : undefined,
  };
}

// kafkajs writes any other array of bytes as text.
function bufferOf(bytes: Uint8Array | null): Buffer | null {
  return bytes === null || Buffer.isBuffer(bytes)
    ? bytes
    : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

const ALL_REPLICAS = -1;

// ---- answers

interface PartitionAnswer {
  readonly partition: number;
  readonly errorCode: number;
  readonly baseOffset: string;
}

interface ProduceAnswer {
  readonly topics: readonly { readonly topicName: string; readonly partitions: readonly PartitionAnswer[] }[];
}

function byPlace({ topics }: ProduceAnswer): Map<string, PartitionAnswer> {
  const answers = new Map<string, PartitionAnswer>();
  for (const { topicName, partitions } of topics)
    for (const answer of partitions) answers.set(placeOf({ topic: topicName, partition: answer.partition }), answer);
  return answers;
}

function outcomeOf({ topic, partition }: Part, { errorCode, baseOffset }: PartitionAnswer): Outcome {
  if (errorCode === 0) return { status: 'stored', baseOffset };
  const native = protocolError(errorCode);
  const type = protocolType(native) ?? '';
  const what = `Sending to topic "${topic}" partition ${partition}`;
  // The topic is gone, or this broker has not heard of it: what all of them say decides.
  if (type === 'UNKNOWN_TOPIC_OR_PARTITION')
    return failed(new BusError('BUS_TRANSPORT_UNAVAILABLE', `${what} failed: ${native.message}.`, { cause: native }));
  const error = busErrorOf(native, what, { topic, partition });
  if (isRefusal(native)) return { status: 'failed', error, oneMayBeToBlame: OF_ONE_RECORD.has(type) };
  return NOT_STORED.has(type) ? failed(error) : unknown(error);
}

function note(sequence: Sequence, { records }: Part, outcome: Outcome, errorCode = 0): void {
  if (outcome.status === 'stored') sequence.next = (sequence.next + records.length) % SEQUENCES;
  if (outcome.status !== 'failed') sequence.doubted = outcome.status === 'stored' ? undefined : records;
  if (SPENT.has(errorCode)) sequence.isSpent = true;
}

const SEQUENCES = 2 ** 31;

// Said before anything is written. All other errors leave a doubt: a leader that steps down while it waits for its replicas says that it
// is none, and the next one may have the records.
const NOT_STORED = new Set([
  'CORRUPT_MESSAGE',
  'NOT_ENOUGH_REPLICAS',
  'OUT_OF_ORDER_SEQUENCE_NUMBER',
  'INVALID_PRODUCER_EPOCH',
  'UNKNOWN_PRODUCER_ID',
]);

const OF_ONE_RECORD = new Set(['MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE', 'INVALID_RECORD', 'INVALID_TIMESTAMP']);

// OUT_OF_ORDER_SEQUENCE_NUMBER, DUPLICATE_SEQUENCE_NUMBER, INVALID_PRODUCER_EPOCH, UNKNOWN_PRODUCER_ID
const SPENT = new Set([45, 46, 47, 59]);

const failed = (error: BusError): Outcome => ({ status: 'failed', error });
const unknown = (error: BusError): Outcome => ({ status: 'unknown', error });

function withoutLeader(leaders: Leaders, { topic, partition }: TopicPartition): BusError {
  if (leaders.isGone(topic)) return missing(topic);
  const text = `Partition ${partition} of topic "${topic}" has no leader now.`;
  return new BusError('BUS_TRANSPORT_UNAVAILABLE', text, { details: { topic, partition } });
}

const unanswered = (leader: number) =>
  new BusError('BUS_TRANSPORT_UNAVAILABLE', `Broker ${leader} did not say whether the records are stored.`);

const areSame = (some: readonly BusRecord[], others: readonly BusRecord[]) =>
  some.length === others.length && some.every((record, i) => record === others[i]);
