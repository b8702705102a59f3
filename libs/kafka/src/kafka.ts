/**
 * The transport: Apache Kafka, on the wire of Open edX. The file reads as the table of contents of this library: how records are
 * published, subscribed to, read and counted there. Everything that knows kafkajs is in `kafkajs/`.
 */
import { avroCodec, httpRegistry, type HttpRegistryOptions, type SchemaStore } from '@event-bus/avro';
import {
  BusError,
  isBusError,
  systemClock,
  type BusRecord,
  type Capabilities,
  type Codec,
  type PartitionPositions,
  type PublishOutcome,
  type Transport,
} from '@event-bus/core';
import { abortable, countOf, delay, partitionOf, recordBytes } from '@event-bus/core/internal';
import { rangesAhead } from './finished-ahead.js';
import type { KafkaConsumer, KafkaProducer, KafkaReader, KafkaRecord, Watermarks } from './kafkajs/client.js';
import { kafkajsClient, type KafkaNotice } from './kafkajs/kafkajs-client.js';
import { connectionFaults, type KafkaConnectionOptions } from './kafkajs/settings.js';
import { murmur2PartitionOf } from './partition-murmur2.js';
import { offsetsOf, readRange } from './reading.js';
import { Entry, SendPipe } from './send-pipe.js';
import { subscribe } from './subscription.js';

export interface KafkaOptions extends KafkaConnectionOptions {
  /** The schema registry. */
  readonly registry: HttpRegistryOptions;
  /**
   * How a key chooses its partition. `crc32`: as librdkafka, and so every Django producer of Open edX, does it; `murmur2`: as Java
   * producers do. A topic that both write needs one of them; a function is asked per topic. Default `crc32`.
   */
  readonly partitioner?: Partitioner | ((topic: string) => Partitioner);
  /** What becomes of a topic that is missing at start: made with the broker's defaults or these, or refused. Default `{}`: made. */
  readonly createTopics?: false | { readonly partitions?: number; readonly replicationFactor?: number };
  /** Largest record, in bytes; the broker and the topic must allow it. Default 1 000 000. */
  readonly maxRecordBytes?: number;
  /** Hears what the client library has to say: warnings and errors without data. Default: a process warning. */
  readonly onNotice?: (notice: KafkaNotice) => void;
}

export type Partitioner = 'crc32' | 'murmur2';

/** Kafka as a transport. Opens nothing. Throws `BUS_CONFIG_INVALID` with all that is wrong with the options. */
export function kafka(options: KafkaOptions): Transport {
  const { createTopics = {}, maxRecordBytes = 1_000_000, onNotice = warn } = options;
  const registry = checked(options);
  const client = kafkajsClient(options, onNotice);
  const codec = refusingUnreadable(avroCodec({ registry }));
  const partitioners = new Map<string, Partitioner>();
  const consumers = new Set<KafkaConsumer>();
  const readers = new Set<KafkaReader>();
  const closed = new AbortController();
  const publishing = new Set<Promise<unknown>>();
  const lookups = new Map<string, Promise<unknown>>();
  const counts = new Map<string, number>();
  let keyless = 0;
  let opening: Promise<void> | undefined;
  let closing: Promise<void> | undefined;
  let producer: KafkaProducer | undefined;
  let pipe: SendPipe | undefined;

  async function open(): Promise<void> {
    await client.admin.open();
    producer = client.producer();
    await producer.open();
    pipe = new SendPipe(producer);
  }

  function refuseClosed(): void {
    if (closing !== undefined)
      throw new BusError('BUS_CLOSED', 'The Kafka transport is closed. Make a new one to connect again.');
  }

  /** What was published before the close is still sent: who publishes asks `refuseClosed` first. */
  function opened(): { readonly producer: KafkaProducer; readonly pipe: SendPipe } {
    if (producer === undefined || pipe === undefined)
      throw new BusError('BUS_CLOSED', 'The Kafka transport is not open yet. Call open() and wait for it.');
    return { producer, pipe };
  }

  /** The order of calls is the order of records: whoever comes while partitions are being counted waits behind. */
  function append(
    topic: string,
    records: readonly BusRecord[],
    deadlineMs: number,
  ): Promise<readonly PublishOutcome[]> {
    const deadline = performance.now() + deadlineMs;
    const earlier = lookups.get(topic);
    const count = earlier === undefined ? opened().producer.knownPartitions(topic) : undefined;
    if (count !== undefined) return enqueue(topic, count, records, deadline);
    // In an object: who waits behind waits until these records are in the pipe, not until they are stored.
    const lookup = Promise.resolve(earlier)
      .then(() => countUntil(topic, deadline))
      .then(
        (known) => ({ stored: enqueue(topic, known, records, deadline) }),
        (error: BusError) => ({ stored: Promise.resolve(notTried(records, error)) }),
      );
    const settled = lookup.catch(() => {});
    lookups.set(topic, settled);
    void settled.then(() => lookups.get(topic) === settled && lookups.delete(topic));
    return lookup.then(({ stored }) => stored);
  }

  /** Asks until a broker answers, or refuses. */
  async function countUntil(topic: string, deadline: number): Promise<number> {
    const { producer } = opened();
    const late = new AbortController();
    let last: BusError | undefined;
    const cancel = systemClock.timer(deadline - performance.now(), () => late.abort(last ?? unanswered(topic)));
    try {
      for (;;) {
        late.signal.throwIfAborted();
        const known = producer.knownPartitions(topic);
        if (known !== undefined) return known;
        try {
          return await abortable(late.signal, producer.partitions(topic));
        } catch (error) {
          last = error as BusError;
          if (!last.retryable) throw error;
        }
        await delay(systemClock, LOOKUP_PAUSE_MS, late.signal);
      }
    } finally {
      cancel();
    }
  }

  function enqueue(
    topic: string,
    partitions: number,
    records: readonly BusRecord[],
    deadline: number,
  ): Promise<readonly PublishOutcome[]> {
    noteCount(topic, partitions);
    const turn = keyless++;
    const { pipe } = opened();
    const partitioner = partitioners.get(topic) ?? partitionerOf(options.partitioner, topic);
    partitioners.set(topic, partitioner);
    return Promise.all(
      records.map((record) => {
        const partition = partitionFor(partitioner, partitions, record.key, turn);
        return new Promise<PublishOutcome>((settle) =>
          pipe.add(topic, partition, new Entry(record, sizeOf(record), deadline, settle)),
        );
      }),
    );
  }

  function noteCount(topic: string, partitions: number): void {
    const before = counts.get(topic);
    counts.set(topic, partitions);
    if (before === undefined || before === partitions) return;
    onNotice({
      level: 'warn',
      text: `Topic "${topic}" has ${partitions} partitions now, it had ${before}: keys move to other partitions, and events of one key from before and after may be handled out of order.`,
      details: { topic, before, partitions },
    });
  }

  async function close(): Promise<void> {
    closed.abort();
    await opening?.catch(() => {});
    await Promise.all([...consumers].map((consumer) => consumer.stop()));
    await Promise.all([...readers].map((reader) => reader.close()));
    await Promise.allSettled(publishing);
    await pipe?.idle();
    await producer?.close();
    await codec.close();
    await client.close();
  }

  return {
    name: 'kafka',
    capabilities: { ...CAPABILITIES, maxRecordBytes },
    codec,

    async open() {
      refuseClosed();
      opening ??= open().catch((error: unknown) => {
        opening = undefined;
        throw error;
      });
      return opening;
    },

    async publish(topic, records, { deadlineMs = PUBLISH_DEADLINE_MS } = {}) {
      refuseClosed();
      opened();
      checkName('topic', topic);
      for (const [index, record] of records.entries()) refuseLarge(topic, index, sizeOf(record), maxRecordBytes);
      if (records.length === 0) return [];
      const stored = append(topic, records, deadlineMs);
      publishing.add(stored);
      return stored.finally(() => publishing.delete(stored));
    },

    publishOne(topic, record, deadlineMs, settle) {
      const bytes = sizeOf(record);
      const isReady = closing === undefined && pipe !== undefined && !lookups.has(topic);
      const partitions = isReady ? producer!.knownPartitions(topic) : undefined;
      const partitioner = partitioners.get(topic);
      if (partitions !== undefined && partitioner !== undefined && bytes <= maxRecordBytes) {
        noteCount(topic, partitions);
        const partition = partitionFor(partitioner, partitions, record.key, keyless++);
        const deadline = performance.now() + deadlineMs;
        pipe!.add(topic, partition, new Entry(record, bytes, deadline, settle));
        return;
      }
      this.publish(topic, [record], { deadlineMs }).then(
        ([outcome]) => settle(outcome!),
        (error: Error) => settle({ status: 'not-stored', error }),
      );
    },

    async subscribe({ topics, group, from = 'earliest', revokeTimeoutMs = REVOKE_TIMEOUT_MS }, receiver) {
      refuseClosed();
      checkName('group', group);
      const consumer = client.consumer({ topics, group, from, revokeTimeoutMs });
      const stop = () => consumer.stop().finally(() => consumers.delete(consumer));
      consumers.add(consumer);
      try {
        const subscription = await subscribe(consumer, receiver);
        refuseClosed();
        return { ...subscription, stop };
      } catch (error) {
        await stop();
        throw error;
      }
    },

    async *read(range) {
      refuseClosed();
      const reader = client.reader();
      readers.add(reader);
      const signals = range.signal === undefined ? [closed.signal] : [closed.signal, range.signal];
      try {
        yield* readRange(client.admin, reader, { ...range, signal: AbortSignal.any(signals) });
      } finally {
        readers.delete(reader);
        await reader.close();
      }
      // Or a part would pass for the whole.
      if (range.signal?.aborted !== true) refuseClosed();
    },

    async positions({ topic, group }) {
      refuseClosed();
      const [marks, committed] = await Promise.all([
        client.admin.watermarks(topic),
        group === undefined ? [] : client.admin.committed(group, [topic]),
      ]);
      return marks.map(({ partition, start, end }): PartitionPositions => {
        const own = committed.find((one) => one.partition === partition);
        const lag = group === undefined ? undefined : lagOf({ partition, start, end }, own);
        return {
          topic,
          partition,
          ...(start === undefined ? {} : { start }),
          ...(end === undefined ? {} : { end }),
          ...(own === undefined ? {} : { committed: own.position }),
          ...(lag === undefined ? {} : { lag }),
        };
      });
    },

    async seek({ topic, group, to, partition }) {
      refuseClosed();
      if (typeof to === 'object' && 'offset' in to && partition === undefined) {
        const partitions = await client.admin.partitions(topic);
        if (partitions > 1) throw ofOnePartition(topic, to.offset, partitions);
      }
      const offsets = await offsetsOf(client.admin, topic, to, partition);
      const positions = offsets.map((one) => ({ topic, partition: one.partition, position: one.offset, metadata: '' }));
      await client.admin.setCommitted(group, positions);
    },

    async topics() {
      refuseClosed();
      return client.admin.topics();
    },

    async ensureTopic(topic, { partitions } = {}) {
      refuseClosed();
      checkName('topic', topic);
      const known = await client.admin.partitions(topic).catch((error: unknown) => {
        if (!isBusError(error, 'BUS_TOPIC_MISSING')) throw error;
        if (createTopics === false)
          throw new BusError(
            'BUS_TOPIC_MISSING',
            `Topic "${topic}" does not exist, and option "createTopics" is false. Create it, or let the bus do it.`,
            { details: { topic } },
          );
        return undefined;
      });
      if (known === undefined && createTopics !== false) {
        await client.admin.create({ topic, ...createTopics, ...(partitions === undefined ? {} : { partitions }) });
      }
      const now = known ?? (await client.admin.partitions(topic));
      if (partitions === undefined || partitions === now) return { topic, partitions: now };
      throw new BusError(
        'BUS_TOPIC_MISSING',
        `Topic "${topic}" has ${now} partitions, not ${partitions}. Name another topic, or ask for ${now}.`,
        { details: { topic, partitions: now } },
      );
    },

    close: () => (closing ??= close()),
  };
}

function partitionFor(partitioner: Partitioner, partitions: number, key: Uint8Array | null, turn: number): number {
  if (key === null) return turn % partitions;
  return partitioner === 'crc32' ? partitionOf(key, partitions) : murmur2PartitionOf(key, partitions);
}

/** Nobody could say where the records belong: a topic that is missing is the caller's affair, a broker that is away is an outcome. */
function notTried(records: readonly BusRecord[], error: BusError): readonly PublishOutcome[] {
  if (!error.retryable) throw error;
  return records.map(() => ({ status: 'not-stored', error }));
}

function unanswered(topic: string): BusError {
  const text = `No broker said before the deadline how many partitions topic "${topic}" has.`;
  return new BusError('BUS_TRANSPORT_UNAVAILABLE', text, { details: { topic } });
}

function ofOnePartition(topic: string, offset: string, partitions: number): BusError {
  const text = `Offset ${offset} belongs to one partition, topic "${topic}" has ${partitions}. Say which with "partition".`;
  return new BusError('BUS_CONFIG_INVALID', text, { details: { topic } });
}

function lagOf(
  { start, end }: Watermarks,
  committed: { readonly position: string; readonly metadata: string } | undefined,
): number | undefined {
  if (start === undefined || end === undefined) return undefined;
  if (committed === undefined) return Number(end) - Number(start);
  const position = Math.max(Number(committed.position), Number(start));
  return Math.max(0, Number(end) - position - countOf(rangesAhead(position, committed.metadata)));
}

/** Records whose headers cannot be read, or are over the limits, are no events, whatever their other headers say. */
function refusingUnreadable(codec: Codec): Codec {
  const faultOf = (record: BusRecord) => (record as KafkaRecord).unreadable;
  return {
    ...codec,
    eventType: (record) => (faultOf(record) === undefined ? codec.eventType(record) : undefined),
    metadata(record) {
      const fault = faultOf(record);
      if (fault === undefined) return codec.metadata(record);
      throw new BusError('BUS_DECODE_FAILED', `The record is not a readable event: ${fault}.`, {
        details: { reason: 'headers' },
      });
    },
  };
}

function sizeOf(record: BusRecord): number {
  return RECORD_OVERHEAD + recordBytes(record) + record.headers.length * HEADER_OVERHEAD;
}

function refuseLarge(topic: string, index: number, bytes: number, limit: number): void {
  if (bytes <= limit) return;
  const text = `Record ${index} for topic "${topic}" has ${bytes} bytes, the limit is ${limit}. Send a reference instead, or raise maxRecordBytes here and at the broker.`;
  throw new BusError('BUS_RECORD_TOO_LARGE', text, { details: { topic, index, bytes } });
}

function checkName(kind: 'topic' | 'group', name: string): void {
  if (/^[A-Za-z0-9._-]{1,249}$/.test(name) && name !== '.' && name !== '..') return;
  throw new BusError(
    'BUS_CONFIG_INVALID',
    `The ${kind} name "${name}" is refused; use 1 to 249 letters, digits, ".", "_" and "-".`,
    { details: { [kind]: name } },
  );
}

/** Throws for a function that answers something else: another partition than was meant is lost order. */
function partitionerOf(option: KafkaOptions['partitioner'] = 'crc32', topic: string): Partitioner {
  const chosen = typeof option === 'function' ? option(topic) : option;
  if (PARTITIONERS.includes(chosen)) return chosen;
  const text = `Option "partitioner" must be "crc32" or "murmur2", or a function that answers one of them; for topic "${topic}" it answered ${JSON.stringify(chosen)}.`;
  throw new BusError('BUS_CONFIG_INVALID', text, { details: { topic } });
}

const PARTITIONERS: readonly unknown[] = ['crc32', 'murmur2'];

/** The registry, once nothing is wrong with any option. */
function checked(options: KafkaOptions): SchemaStore {
  const { partitioner, maxRecordBytes, registry } = options;
  const faults = connectionFaults(options);
  if (partitioner !== undefined && typeof partitioner !== 'function' && !PARTITIONERS.includes(partitioner))
    faults.push(`Option "partitioner" must be "crc32", "murmur2" or a function, got ${JSON.stringify(partitioner)}.`);
  if (maxRecordBytes !== undefined && !(Number.isSafeInteger(maxRecordBytes) && maxRecordBytes > 0))
    faults.push(`Option "maxRecordBytes" must be a positive integer, got ${String(maxRecordBytes)}.`);
  let store: SchemaStore | undefined;
  try {
    if (registry?.url === undefined) faults.push('Option "registry" must name the schema registry: { url }.');
    else store = httpRegistry(registry);
  } catch (error) {
    faults.push((error as Error).message);
  }
  if (store !== undefined && faults.length === 0) return store;
  throw new BusError('BUS_CONFIG_INVALID', faults.join('\n'), { details: { faults } });
}

function warn({ text, details }: KafkaNotice): void {
  process.emitWarning(`${text} ${JSON.stringify(details)}`, { code: 'EVENT_BUS_KAFKA' });
}

const CAPABILITIES: Omit<Capabilities, 'maxRecordBytes'> = {
  durable: true,
  fenced: true,
  seekByTime: true,
  lagExact: true,
  finishedAhead: true,
};
const PUBLISH_DEADLINE_MS = 30_000;
const REVOKE_TIMEOUT_MS = 25_000;
const LOOKUP_PAUSE_MS = 200;
// What Kafka adds around a record and a header, at most.
const RECORD_OVERHEAD = 70;
const HEADER_OVERHEAD = 10;
