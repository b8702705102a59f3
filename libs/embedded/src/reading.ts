/** Ranges of the log outside any group: replay, tail, console. Snapshots are renewed with every chunk, so a slow reader holds nothing. */
import { BusError, type ReadOptions, type SeekPosition, type StoredRecord } from '@event-bus/core';
import type { TopicRow } from './databases.js';
import type { Environment } from './environment.js';
import { offsetOf, positionText } from './position.js';

/**
 * Yields the records of a range. Ends at `to`, or quietly when aborted. Throws `BUS_DATA_LOSS` for records that are gone or changed on the
 * disk, and the reason of `closed` once that is aborted.
 */
export async function* readRange(
  environment: Environment,
  topic: TopicRow,
  options: ReadOptions,
  closed: AbortSignal,
): AsyncGenerator<StoredRecord> {
  const { signal } = options;
  const isFollowing = options.to === 'follow';
  const partitions = options.partition === undefined ? [...Array(topic.partitions).keys()] : [options.partition];
  const at = new Map<number, number>();
  const ends = new Map<number, number>();
  environment.snapshot(() => {
    for (const partition of partitions) {
      at.set(partition, seekOffset(environment, topic, partition, options.from ?? 'start'));
      ends.set(
        partition,
        isFollowing
          ? Infinity
          : seekOffset(environment, topic, partition, (options.to as SeekPosition | undefined) ?? 'end'),
      );
    }
  });
  const news = isFollowing ? new News(environment, [closed, ...(signal === undefined ? [] : [signal])]) : undefined;
  try {
    while (signal?.aborted !== true) {
      let isCaughtUp = true;
      for (const partition of partitions) {
        closed.throwIfAborted();
        const from = at.get(partition)!;
        const slice = environment.snapshot(() =>
          environment.log.read(options.topic, topic.id, partition, from, ends.get(partition)!, CHUNK),
        );
        for (const { from: first, to, reason } of slice.lost)
          throw gone(environment, options.topic, partition, first, to, reason);
        if (slice.next > from) isCaughtUp = false;
        at.set(partition, slice.next);
        for (const record of slice.records) {
          if (isAborted(signal)) return;
          if (slice.corrupt.includes(record)) throw corrupt(environment, record);
          yield record;
          closed.throwIfAborted();
        }
      }
      if (!isCaughtUp) await new Promise((resolve) => setImmediate(resolve));
      else if (news === undefined) return;
      else await news.next();
    }
  } finally {
    news?.close();
  }
}

/** The offset a seek means in one partition. */
export function seekOffset(environment: Environment, topic: TopicRow, partition: number, to: SeekPosition): number {
  checkPartition(topic, partition);
  const { first, next } = environment.log.ends(topic.id, partition);
  if (to === 'start') return first;
  if (to === 'end') return next;
  if ('time' in to) return environment.log.offsetAt(topic.id, partition, checkTime(to.time));
  const offset = offsetOf(environment.epoch, to.offset);
  if (offset >= first && offset <= next) return offset;
  const details = {
    partition,
    offset: to.offset,
    start: positionText(environment.epoch, first),
    end: positionText(environment.epoch, next),
  };
  throw new BusError(
    'BUS_DATA_LOSS',
    `Position ${to.offset} of partition ${partition} is not in the log, which holds ${details.start} up to ${details.end}. Start from "start" to take what is left.`,
    { details },
  );
}

/** Throws `BUS_TOPIC_MISSING` for a partition that the topic does not have. */
export function checkPartition(topic: TopicRow, partition: number): void {
  if (Number.isInteger(partition) && partition >= 0 && partition < topic.partitions) return;
  throw new BusError('BUS_TOPIC_MISSING', `The topic has partitions 0 to ${topic.partitions - 1}, got ${partition}.`, {
    details: { partition },
  });
}

/** Throws `BUS_CONFIG_INVALID` for what is no time: no record is older than NaN, so it would mean the end. */
export function checkTime(time: number): number {
  if (Number.isFinite(time)) return time;
  throw new BusError('BUS_CONFIG_INVALID', `A time must be a number of milliseconds since 1970, got ${String(time)}.`);
}

// Remembers a ring that came while nobody waited.
class News {
  #isNews = false;
  #waiting: (() => void) | undefined;
  readonly #deafen: () => void;
  readonly #tell = () => {
    this.#isNews = true;
    this.#waiting?.();
  };

  constructor(
    environment: Environment,
    private readonly signals: readonly AbortSignal[],
  ) {
    this.#deafen = environment.bell.listen(this.#tell);
    for (const signal of signals) signal.addEventListener('abort', this.#tell);
  }

  async next(): Promise<void> {
    if (!this.#isNews) await new Promise<void>((resolve) => (this.#waiting = resolve));
    this.#waiting = undefined;
    this.#isNews = false;
  }

  close(): void {
    this.#deafen();
    for (const signal of this.signals) signal.removeEventListener('abort', this.#tell);
  }
}

const isAborted = (signal: AbortSignal | undefined): boolean => signal?.aborted === true;

function corrupt({ path, epoch }: Environment, { topic, partition, offset }: StoredRecord): BusError {
  const next = positionText(epoch, offsetOf(epoch, offset) + 1);
  return new BusError(
    'BUS_DATA_LOSS',
    `Record ${offset} of ${topic}/${partition} is not what was written: its bytes changed on the disk of ${path}. Check the disk; read on from ${next}.`,
    { details: { topic, partition, offset, next } },
  );
}

function gone(
  environment: Environment,
  topic: string,
  partition: number,
  from: number,
  to: number,
  reason: string,
): BusError {
  const details = {
    topic,
    partition,
    from: positionText(environment.epoch, from),
    to: positionText(environment.epoch, to),
    count: to - from,
  };
  return new BusError(
    'BUS_DATA_LOSS',
    `${details.count} records of ${topic}/${partition} from ${details.from} are gone: ${reason}.`,
    { details },
  );
}

const CHUNK = { records: 1_000, bytes: 2 ** 20 };
