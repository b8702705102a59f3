/**
 * A consumer group on Kafka in the words of the contract: generations become assignments, finished-ahead offsets travel in commit
 * metadata, and records that a former owner finished ahead are passed over.
 */
import { BusError, type Batch, type Commit, type Receiver, type Subscription } from '@event-bus/core';
import { mergeRanges, placeOf, rangesOfOffsets, type Range } from '@event-bus/core/internal';
import { aheadMetadata, rangesAhead } from './finished-ahead.js';
import type {
  AssignedPartition,
  CommitPosition,
  KafkaBatch,
  KafkaConsumer,
  KafkaConsumerHandlers,
} from './kafkajs/client.js';

export async function subscribe(consumer: KafkaConsumer, receiver: Receiver): Promise<Subscription> {
  const held = new Map<string, Held>();
  let generation = -1;

  const handlers: KafkaConsumerHandlers = {
    onAssigned(current, partitions) {
      generation = current;
      for (const partition of partitions)
        held.set(placeOf(partition), {
          ...partition,
          generation,
          reached: Number(partition.position),
          done: rangesAhead(Number(partition.position), partition.metadata),
        });
      receiver.assigned(partitions.map(({ topic, partition }) => ({ topic, partition })));
    },

    onBatch(batch) {
      const mine = held.get(placeOf(batch));
      if (mine?.generation !== batch.generation) return;
      if (Number(batch.next) < mine.reached) beginAnew(mine);
      return receiver.receive(withoutDone(batch, mine));
    },

    async onLeaving(leaving, gone) {
      const partitions = [...held.values()].filter((one) => one.generation === leaving);
      await receiver.revoking(
        partitions.map(({ topic, partition }) => ({ topic, partition })),
        gone,
      );
      for (const partition of partitions)
        if (held.get(placeOf(partition)) === partition) held.delete(placeOf(partition));
    },

    onLost: (range) => receiver.lost(range),
    onTrouble: (error) => receiver.trouble(error),
  };

  await consumer.run(handlers);
  return {
    async commit(commits) {
      const mine = commits.map((commit) => held.get(placeOf(commit)));
      const current = Math.max(...mine.map((one) => one?.generation ?? -1));
      const isOurs = mine.map((one) => one?.generation === current);
      const positions = commits.flatMap((commit, i) => (isOurs[i] ? (positionOf(commit, mine[i]!) ?? []) : []));
      const answer = positions.length === 0 ? 'ok' : await consumer.commit(current, positions);
      return isOurs.map((is) => (!is || answer === 'fenced' ? 'fenced' : answer === 'ok' ? 'committed' : 'later'));
    },
    holds: () => consumer.holds(),
    status: () => consumer.status(),
    stop: () => consumer.stop(),
  };
}

/** A partition of the present generation. */
interface Held extends AssignedPartition {
  readonly generation: number;
  /** The furthest position that was committed, or is being committed. */
  reached: number;
  /** What was finished ahead, by a former owner or by us. */
  done: readonly Range[];
}

/** Reading went back behind what is committed: the topic was made anew, and its offsets with it. */
function beginAnew(held: Held): void {
  held.reached = 0;
  held.done = [];
}

function withoutDone(batch: KafkaBatch, { done }: Held): Batch {
  const { topic, partition, next } = batch;
  const records = done.length === 0 ? batch.records : batch.records.filter(({ offset }) => !isIn(done, Number(offset)));
  return { topic, partition, records, next };
}

function isIn(ranges: readonly Range[], offset: number): boolean {
  return ranges.some(([from, to]) => offset >= from && offset < to);
}

/** `undefined` when the group is further already: Kafka itself would move it back. */
function positionOf({ topic, partition, position, ahead }: Commit, held: Held): CommitPosition | undefined {
  const at = Number(position);
  if (!Number.isSafeInteger(at))
    throw new BusError('BUS_DATA_LOSS', `Position "${position}" is not one of Kafka.`, {
      details: { topic, partition },
    });
  if (at < held.reached) return undefined;
  held.reached = at;
  const done = mergeRanges(at, held.done, rangesOfOffsets(ahead.map(Number)), MAX_RANGES);
  held.done = done;
  return { topic, partition, position, metadata: aheadMetadata(at, done) };
}

// More do not fit beside a position.
const MAX_RANGES = 3_000;
