/** One process's handle on the simulated broker: the whole transport contract. */
import {
  BusError,
  type BusRecord,
  type Clock,
  type Codec,
  type PublishOutcome,
  type Random,
  type ReadOptions,
  type StoredRecord,
  type Subscription,
  type Transport,
} from '@event-bus/core';
import { delay, partitionOf } from '@event-bus/core/internal';
import { integer } from '../seeded-random.js';
import type { Groups } from './groups.js';
import type { Link } from './link.js';
import type { Log } from './log.js';
import { subscribe } from './subscription.js';
import type { SimulatedFaults } from '../simulated.js';

export interface TransportParts {
  readonly process: string;
  readonly clock: Clock;
  readonly brokerClock: Clock;
  readonly random: Random;
  readonly codec: Codec;
  readonly link: Link;
  readonly log: Log;
  readonly groups: Groups;
  readonly faults: SimulatedFaults;
  readonly partitions: number;
  readonly maxRecordBytes: number;
  readonly sessionTimeoutMs: number;
  readonly batchRecords: number;
}

export function transport(parts: TransportParts): Transport {
  const { clock, brokerClock, random, codec, link, log, groups, faults, partitions, maxRecordBytes } = parts;
  const subscriptions = new Set<Subscription>();
  const publishing = new Set<Promise<unknown>>();
  const ended = new AbortController();
  let state: 'new' | 'open' | 'closing' | 'closed' = 'new';
  let closed: Promise<void> | undefined;

  return {
    name: 'simulated',
    codec,
    capabilities: {
      durable: false,
      fenced: true,
      seekByTime: true,
      lagExact: true,
      finishedAhead: true,
      maxRecordBytes,
    },

    async open() {
      if (state !== 'new') return mustBeOpen();
      await link.call(() => undefined);
      if (state === 'new') state = 'open';
    },

    async publish(topic, records, { deadlineMs = 30_000 } = {}) {
      mustBeOpen();
      mustFit(records);
      const work = publish(topic, records, deadlineMs);
      publishing.add(work);
      const forget = () => void publishing.delete(work);
      work.then(forget, forget);
      return work;
    },

    async subscribe(options, receiver) {
      mustBeOpen();
      const commitFault: NonNullable<SimulatedFaults['commit']> = (commit) => faults.commit?.(commit);
      const subscription = await subscribe({ ...parts, commitFault }, options, receiver);
      subscriptions.add(subscription);
      return {
        ...subscription,
        stop: () => subscription.stop().then(() => void subscriptions.delete(subscription)),
      };
    },

    read,

    async positions({ topic, group }) {
      mustBeOpen();
      return link.call(() =>
        Array.from({ length: log.partitions(topic) }, (_, partition) => {
          const bounds = { start: String(log.start(topic, partition)), end: String(log.end(topic, partition)) };
          const known = group === undefined ? undefined : groups.position(group, { topic, partition });
          if (known === undefined) return { topic, partition, ...bounds };
          const lag = log.count(topic, partition, known.position, known.ahead);
          return { topic, partition, ...bounds, committed: String(known.position), lag };
        }),
      );
    },

    async seek({ topic, group, to, partition }) {
      mustBeOpen();
      return link.call(() => {
        if (groups.isRunning(group)) {
          throw new BusError('BUS_BUSY', `Group "${group}" is running; stop its members before seeking.`);
        }
        const wanted = partition === undefined ? range(log.partitions(topic)) : [partition];
        if (typeof to === 'object' && 'offset' in to && wanted.length > 1)
          throw new BusError('BUS_CONFIG_INVALID', `Offset ${to.offset} belongs to one partition; say which.`);
        for (const each of wanted) groups.seek(group, { topic, partition: each }, log.offsetAt(topic, each, to));
      });
    },

    async topics() {
      mustBeOpen();
      return link.call(() => log.topics());
    },

    async ensureTopic(topic, options = {}) {
      mustBeOpen();
      if (!TOPIC_NAME.test(topic)) {
        throw new BusError(
          'BUS_CONFIG_INVALID',
          `"${topic}" is no topic name; use up to 249 letters, digits, ".", "_" and "-".`,
        );
      }
      return link.call(() => {
        const known = log.create(topic, options.partitions ?? partitions);
        if (options.partitions !== undefined && options.partitions !== known.partitions) {
          const found = `Topic "${topic}" has ${known.partitions} partitions, not ${options.partitions}`;
          throw new BusError('BUS_TOPIC_MISSING', `${found}; ask for the number it has.`);
        }
        return known;
      });
    },

    close: () => (closed ??= close()),
  };

  function mustBeOpen(): void {
    if (state === 'open') return;
    throw new BusError('BUS_CLOSED', `The simulated transport is ${state === 'new' ? 'not open yet' : 'closed'}.`);
  }

  function mustFit(records: readonly BusRecord[]): void {
    for (const record of records) {
      const bytes = sizeOf(record);
      if (bytes > maxRecordBytes) {
        throw new BusError(
          'BUS_RECORD_TOO_LARGE',
          `A record of ${bytes} bytes is over the limit of ${maxRecordBytes} bytes.`,
        );
      }
    }
  }

  async function publish(topic: string, records: readonly BusRecord[], deadlineMs: number): Promise<PublishOutcome[]> {
    const serve = async () => {
      const { outcomes, isAnswered } = store(topic, records);
      // An answer that was lost is missed only when it is late.
      if (!isAnswered) await delay(brokerClock, Math.min(deadlineMs, ANSWER_TIMEOUT_MS));
      return outcomes;
    };
    return link.call(serve, deadlineMs).catch((error: BusError) => {
      if (error.code !== 'BUS_TRANSPORT_UNAVAILABLE') throw error;
      return records.map(() => ({ status: 'unknown', error }) as const);
    });
  }

  /** Stores the records partition by partition; each partition meets its own fate. */
  function store(topic: string, records: readonly BusRecord[]): { outcomes: PublishOutcome[]; isAnswered: boolean } {
    const count = log.partitions(topic);
    const keyless = integer(random, 0, count - 1);
    const outcomes: PublishOutcome[] = [];
    const indexes = new Map<number, number[]>();
    records.forEach(({ key }, index) => {
      const partition = key === null ? keyless : partitionOf(key, count);
      indexes.set(partition, [...(indexes.get(partition) ?? []), index]);
    });
    let isAnswered = true;
    for (const [partition, own] of indexes) {
      const fault = faults.publish?.({ topic, partition, records: own.length });
      const append = () =>
        log.append(
          topic,
          partition,
          own.map((index) => records[index]!),
          brokerClock.now(),
        );
      const stored = fault === 'refused' || fault === 'lost' ? [] : append();
      if (fault === 'doubled') brokerClock.timer(integer(random, 0, DOUBLE_WITHIN_MS), append);
      own.forEach((index, at) => void (outcomes[index] = outcomeOf(fault, stored[at])));
      if (fault === 'lost' || fault === 'unanswered') isAnswered = false;
    }
    return { outcomes, isAnswered };
  }

  async function* read({
    topic,
    partition,
    from = 'start',
    to = 'end',
    signal,
  }: ReadOptions): AsyncGenerator<StoredRecord> {
    mustBeOpen();
    const stop = AbortSignal.any([ended.signal, ...(signal === undefined ? [] : [signal])]);
    const bounds = await link.call(() =>
      (partition === undefined ? range(log.partitions(topic)) : [partition]).map((each) => ({
        partition: each,
        at: Math.max(log.start(topic, each), log.offsetAt(topic, each, from)),
        end: to === 'follow' ? Infinity : log.offsetAt(topic, each, to),
      })),
    );
    for (;;) {
      let found = 0;
      for (const bound of bounds) {
        while (bound.at < bound.end && !stop.aborted) {
          const { records, next } = await link.call(() => log.fetch(topic, bound.partition, bound.at, READ_RECORDS));
          for (const record of records) {
            if (stop.aborted || Number(record.offset) >= bound.end) break;
            found++;
            yield record;
          }
          if (next === bound.at) break;
          bound.at = next;
        }
      }
      if (to !== 'follow' || stop.aborted) return;
      if (found === 0) await appended(topic, stop);
    }
  }

  /** Waits for the next record of a topic, at most a moment: one may have come while we looked elsewhere. */
  function appended(topic: string, stop: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        forget();
        cancel();
        stop.removeEventListener('abort', end);
        resolve();
      };
      const forget = log.onceAppended(topic, () => link.push(end));
      const cancel = clock.timer(FOLLOW_MS, end);
      stop.addEventListener('abort', end, { once: true });
    });
  }

  async function close(): Promise<void> {
    state = 'closing';
    ended.abort();
    await Promise.all([...subscriptions].map((subscription) => subscription.stop()));
    await Promise.allSettled(publishing);
    await codec.close();
    state = 'closed';
  }
}

function outcomeOf(fault: string | undefined, stored: StoredRecord | undefined): PublishOutcome {
  if (fault === 'lost' || fault === 'unanswered') return { status: 'unknown', error: unavailable('did not answer') };
  if (stored === undefined) return { status: 'not-stored', error: unavailable('refused the record') };
  return { status: 'stored', partition: stored.partition, offset: stored.offset };
}

function unavailable(what: string): BusError {
  return new BusError('BUS_TRANSPORT_UNAVAILABLE', `The simulated broker ${what}.`);
}

function sizeOf({ key, value, headers }: BusRecord): number {
  const own = (key?.byteLength ?? 0) + (value?.byteLength ?? 0);
  return headers.reduce((sum, [name, bytes]) => sum + Buffer.byteLength(name) + bytes.byteLength, own);
}

const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

const TOPIC_NAME = /^(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}$/;
const ANSWER_TIMEOUT_MS = 1_000;
const DOUBLE_WITHIN_MS = 500;
const READ_RECORDS = 500;
const FOLLOW_MS = 500;
