/**
 * A consumer group on Kafka in the words of the contract: generations become assignments, finished-ahead offsets travel in commit
 * metadata, and records that a former owner finished ahead are passed over.
 */
import {
  BusError,
  type Batch,
  type Commit,
  type Receiver,
  type Subscription,
  type TopicPartition,
} from '@event-bus/core';
import { mergeRanges, rangesOfOffsets, type Range } from '@event-bus/core/internal';
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
          done: rangesAhead(Number(partition.position), partition.metadata),
        });
      receiver.assigned(partitions.map(({ topic, partition }) => ({ topic, partition })));
    },

    onBatch(batch) {
      const mine = held.get(placeOf(batch));
      if (mine?.generation !== batch.generation) return;
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
      const positions = commits.flatMap((commit, i) =>
        mine[i]?.generation === current ? [positionOf(commit, mine[i])] : [],
      );
      if (positions.length === 0) return commits.map(() => 'fenced');
      const answer = await consumer.commit(current, positions);
      return commits.map((_, i) =>
        mine[i]?.generation !== current || answer === 'fenced' ? 'fenced' : answer === 'ok' ? 'committed' : 'later',
      );
    },
    status: () => consumer.status(),
    stop: () => consumer.stop(),
  };
}

/** A partition of the present generation. `done`: what was finished ahead, by a former owner or by us. */
interface Held extends AssignedPartition {
  readonly generation: number;
  done: readonly Range[];
}

function withoutDone(batch: KafkaBatch, { done }: Held): Batch {
  const { topic, partition, next } = batch;
  const records = done.length === 0 ? batch.records : batch.records.filter(({ offset }) => !isIn(done, Number(offset)));
  return { topic, partition, records, next };
}

function isIn(ranges: readonly Range[], offset: number): boolean {
  return ranges.some(([from, to]) => offset >= from && offset < to);
}

function positionOf({ topic, partition, position, ahead }: Commit, held: Held): CommitPosition {
  const at = Number(position);
  if (!Number.isSafeInteger(at))
    throw new BusError('BUS_DATA_LOSS', `Position "${position}" is not one of Kafka.`, {
      details: { topic, partition },
    });
  const done = mergeRanges(at, held.done, rangesOfOffsets(ahead.map(Number)), MAX_RANGES);
  held.done = done;
  return { topic, partition, position, metadata: aheadMetadata(at, done) };
}

const placeOf = ({ topic, partition }: TopicPartition) => `${topic}\n${partition}`;

// More do not fit beside a position.
const MAX_RANGES = 3_000;
