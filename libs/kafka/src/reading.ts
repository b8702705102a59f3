/** Ranges of topics outside any group, and what a position means in each partition. */
import { BusError, type ReadOptions, type SeekPosition, type StoredRecord, type TopicPartition } from '@event-bus/core';
import type { KafkaAdmin, KafkaReader, ReadBatch } from './kafkajs/client.js';

/** Yields the records of a range. Ends at `to`, or quietly when aborted. Throws `BUS_DATA_LOSS` for records that are gone. */
export async function* readRange(
  admin: KafkaAdmin,
  reader: KafkaReader,
  { topic, partition, from = 'start', to = 'end', signal }: ReadOptions,
): AsyncGenerator<StoredRecord> {
  const [starts, ends] = await Promise.all([
    offsetsOf(admin, topic, from, partition),
    to === 'follow' ? undefined : offsetsOf(admin, topic, to, partition),
  ]);
  const ended = new AbortController();
  const stop = AbortSignal.any([ended.signal, ...(signal === undefined ? [] : [signal])]);
  try {
    const readings = starts
      .map((start, i) => ({ topic, partition: start.partition, from: start.offset, to: ends?.[i]!.offset }))
      .filter((range) => range.to === undefined || Number(range.from) < Number(range.to))
      .map(({ to: end, ...range }) =>
        reader.read({ ...range, ...(end === undefined ? {} : { to: end }), signal: stop })[Symbol.asyncIterator](),
      );
    // Following reads all partitions at once; a range is read one partition after the other.
    if (to === 'follow') yield* merged(readings);
    else for (const reading of readings) yield* recordsOf(reading);
  } finally {
    ended.abort();
  }
}

type Reading = AsyncIterator<ReadBatch>;

async function* recordsOf(reading: Reading): AsyncGenerator<StoredRecord> {
  for (let step = await reading.next(); !step.done; step = await reading.next()) yield* whole(step.value);
}

async function* merged(readings: readonly Reading[]): AsyncGenerator<StoredRecord> {
  const next = (reading: Reading) => reading.next().then((step) => ({ reading, step }));
  const open = new Map(readings.map((reading) => [reading, next(reading)]));
  while (open.size > 0) {
    const { reading, step } = await Promise.race(open.values());
    if (step.done) {
      open.delete(reading);
    } else {
      yield* whole(step.value);
      open.set(reading, next(reading));
    }
  }
}

/** The records of a batch that begins where it was to begin. */
function whole({ topic, partition, records, skipped }: ReadBatch): readonly StoredRecord[] {
  if (skipped === undefined) return records;
  const [from, to] = skipped;
  throw new BusError(
    'BUS_DATA_LOSS',
    `Offsets ${from} up to ${to} of topic "${topic}" partition ${partition} went before they were read. Read from "start" to take what is left.`,
    { details: { topic, partition, from, to } },
  );
}

/**
 * A position as an offset of every partition, or of the one that is asked for. Throws `BUS_TOPIC_MISSING` for a partition that is not
 * there, and `BUS_DATA_LOSS` for an offset that is not in the log.
 */
export async function offsetsOf(
  admin: KafkaAdmin,
  topic: string,
  to: SeekPosition,
  partition: number | undefined,
): Promise<readonly { readonly partition: number; readonly offset: string }[]> {
  if (typeof to === 'object' && 'time' in to) {
    const found = wanted(topic, await admin.atTime(topic, to.time), partition);
    return found.map((one) => ({ partition: one.partition, offset: known({ topic, ...one }, one.offset) }));
  }
  return wanted(topic, await admin.watermarks(topic), partition).map((one) => {
    const place = { topic, partition: one.partition };
    if (to === 'start') return { ...place, offset: known(place, one.start) };
    const end = known(place, one.end);
    return { ...place, offset: to === 'end' ? end : within(place, to.offset, known(place, one.start), end) };
  });
}

function wanted<T extends { readonly partition: number }>(
  topic: string,
  all: readonly T[],
  partition: number | undefined,
): readonly T[] {
  if (partition === undefined) return all;
  const found = all.filter((one) => one.partition === partition);
  if (found.length > 0) return found;
  throw new BusError('BUS_TOPIC_MISSING', `Topic "${topic}" has no partition ${partition}: it has ${all.length}.`, {
    details: { topic, partition },
  });
}

function known({ topic, partition }: TopicPartition, offset: string | undefined): string {
  if (offset !== undefined) return offset;
  throw new BusError(
    'BUS_TRANSPORT_UNAVAILABLE',
    `Partition ${partition} of topic "${topic}" has no leader now; try again later.`,
    { details: { topic, partition } },
  );
}

function within({ topic, partition }: TopicPartition, offset: string, start: string, end: string): string {
  const isIn = /^\d{1,16}$/.test(offset) && Number(offset) >= Number(start) && Number(offset) <= Number(end);
  if (isIn) return offset;
  throw new BusError(
    'BUS_DATA_LOSS',
    `Offset "${offset}" of topic "${topic}" partition ${partition} is not in the log, which holds ${start} up to ${end}. Start from "start" to take what is left.`,
    { details: { topic, partition, offset, start, end } },
  );
}
