import { BusError, systemClock } from '@event-bus/core';
import { delay } from '@event-bus/core/internal';
import { persistent } from './admin.js';
import type { KafkaReader, ReadBatch, ReadRange } from './client.js';
import {
  EARLIEST,
  LATEST,
  OFFSET_OUT_OF_RANGE,
  ask,
  listOffsets,
  protocolError,
  topicOf,
  type Cluster,
} from './cluster.js';
import { busErrorOf } from './failure.js';
import { internal } from './library.js';
import { recordOf, type Message } from './records.js';
import { MAX_FETCH_BYTES, MAX_WAIT_MS } from './settings.js';

/** Drives kafkajs's cluster and brokers: a group would wait for a join, three seconds on a default broker, and leave traces. */
export function kafkajsReader(cluster: Cluster, ready: () => Promise<unknown>): KafkaReader {
  const asked = new Set<Promise<unknown>>();
  return {
    async *read(range) {
      await ready();
      yield* read(cluster, range, asked);
    },
    async close() {
      await cluster.disconnect();
      // What an abort left behind may connect once more.
      if (asked.size > 0) void Promise.allSettled(asked).then(() => cluster.disconnect());
    },
  };
}

interface PartitionAnswer {
  readonly errorCode: number;
  readonly highWatermark: string;
  readonly partition: number;
  readonly messages: readonly Message[];
  /** The broker holds back what there is. */
  readonly isThrottled: boolean;
}

/** kafkajs's own: leaves out transaction marks, aborted transactions, and what lies before the offset that was asked for. */
interface FilteredBatch {
  readonly rawMessages: readonly Message[];
  readonly messages: readonly Message[];
  lastOffset(): string;
}

async function* read(
  cluster: Cluster,
  { topic, partition, from, to, signal }: ReadRange,
  asked: Set<Promise<unknown>>,
): AsyncGenerator<ReadBatch> {
  const Batch =
    internal<new (topic: string, offset: string, answer: PartitionAnswer) => FilteredBatch>('consumer/batch');
  const until = to === undefined ? undefined : BigInt(to);
  let position = BigInt(from);
  let skipped: readonly [string, string] | undefined;
  let emptyAnswers = 0;
  while (!signal?.aborted && (until === undefined || position < until)) {
    const fetched = fetch(cluster, topic, partition, position, signal);
    asked.add(fetched);
    const forget = () => asked.delete(fetched);
    fetched.then(forget, forget);
    const answer = await unlessAborted(fetched, signal);
    if (!answer) return;
    if (answer.errorCode === OFFSET_OUT_OF_RANGE) {
      const start = await startBehind(cluster, topic, partition, position);
      skipped = [position.toString(), start.toString()];
      position = start;
      continue;
    }
    const batch = new Batch(topic, position.toString(), answer);
    const end = BigInt(answer.highWatermark);
    if (batch.rawMessages.length === 0) {
      // A bounded reading ends where the log does, or where nothing comes any more: compaction may have taken the last records before it.
      if (!answer.isThrottled) emptyAnswers++;
      if (until !== undefined && (position >= end || emptyAnswers === MAX_EMPTY_ANSWERS)) break;
      continue;
    }
    emptyAnswers = 0;
    position = BigInt(batch.lastOffset()) + 1n;
    const records = batch.messages
      .filter(({ offset }) => until === undefined || BigInt(offset) < until)
      .map((message) => recordOf(topic, partition, message));
    const next = until !== undefined && position > until ? until : position;
    yield { topic, partition, records, next: next.toString(), end: end.toString(), ...(skipped ? { skipped } : {}) };
    skipped = undefined;
  }
  if (skipped) yield { topic, partition, records: [], next: position.toString(), end: position.toString(), skipped };
}

// Of `MAX_WAIT_MS` each: a broker answers at once when there is something.
const MAX_EMPTY_ANSWERS = 4;

/** One answer, once a leader gives one. A broker that stays away for `PATIENCE_MS` is an error. */
async function fetch(
  cluster: Cluster,
  topic: string,
  partition: number,
  position: bigint,
  signal: AbortSignal | undefined,
): Promise<PartitionAnswer> {
  const what = `Reading topic "${topic}" partition ${partition}`;
  for (const since = systemClock.monotonic(); ; await delay(systemClock, MAX_WAIT_MS)) {
    try {
      const answer = await persistent(cluster, what, () => fetchOnce(cluster, topic, partition, position));
      if (answer.errorCode === 0 || answer.errorCode === OFFSET_OUT_OF_RANGE) return answer;
      throw protocolError(answer.errorCode);
    } catch (error) {
      const failure = busErrorOf(error, what, { topic, partition });
      if (!failure.retryable || signal?.aborted || systemClock.monotonic() - since > PATIENCE_MS) throw failure;
      await cluster.refreshMetadata().catch(() => {}); // the leader may be another one by now
    }
  }
}

const PATIENCE_MS = 30_000;

async function fetchOnce(
  cluster: Cluster,
  topic: string,
  partition: number,
  position: bigint,
): Promise<PartitionAnswer> {
  const known = cluster.brokerPool.metadata?.topicMetadata.find(
    (entry) => entry.topic === topic && entry.topicErrorCode === 0,
  );
  const { partitionMetadata } = known ?? (await topicOf(cluster, topic));
  const leader = partitionMetadata.find(({ partitionId }) => partitionId === partition)?.leader;
  if (leader === undefined)
    throw new BusError(
      'BUS_TOPIC_MISSING',
      `Topic "${topic}" has no partition ${partition}: it has ${partitionMetadata.length}.`,
    );
  const broker = await cluster.findBroker({ nodeId: leader });
  const {
    responses,
    throttleTime = 0,
    clientSideThrottleTime = 0,
  } = await ask<FetchAnswer>(broker, 'Fetch', {
    isolationLevel: READ_COMMITTED,
    maxWaitTime: MAX_WAIT_MS,
    minBytes: 1,
    maxBytes: MAX_FETCH_BYTES,
    topics: [{ topic, partitions: [{ partition, fetchOffset: position.toString(), maxBytes: MAX_FETCH_BYTES }] }],
    rackId: '',
  });
  return { ...responses[0]!.partitions[0]!, isThrottled: throttleTime + clientSideThrottleTime > 0 };
}

interface FetchAnswer {
  readonly responses: readonly { readonly partitions: readonly Omit<PartitionAnswer, 'isThrottled'>[] }[];
  readonly throttleTime?: number;
  readonly clientSideThrottleTime?: number;
}

const READ_COMMITTED = 1;

async function startBehind(cluster: Cluster, topic: string, partition: number, position: bigint): Promise<bigint> {
  const what = `Reading the positions of topic "${topic}"`;
  const [start, end] = await persistent(cluster, what, async () => {
    const found = await Promise.all(
      [EARLIEST, LATEST].map((at) => listOffsets(cluster, topic, [partition], at, { uncommitted: true })),
    );
    return found.map((offsets) => offsets.get(partition));
  });
  if (start !== undefined && start > position) return start;
  if (end !== undefined && end < position) {
    throw new BusError(
      'BUS_DATA_LOSS',
      `Offset ${position} of topic "${topic}" partition ${partition} lies behind its end, ${end}: the position is wrong, or the topic was made anew.`,
    );
  }
  throw new BusError('BUS_TRANSPORT_UNAVAILABLE', `${what} failed: partition ${partition} has no leader that answers.`);
}

/** `undefined` when aborted; the request behind it ends by itself, within its own wait. */
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T | undefined> {
  if (!signal) return work;
  return new Promise((resolve, reject) => {
    const abort = () => resolve(undefined);
    signal.addEventListener('abort', abort, { once: true });
    if (signal.aborted) abort();
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
