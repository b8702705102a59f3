import type { Batch, Receiver, Subscription } from '@event-bus/core';
import { expect, it } from 'vitest';
import type { CommitPosition, KafkaConsumer, KafkaConsumerHandlers, KafkaRecord } from './kafkajs/client.js';
import { subscribe } from './subscription.js';

/** A subscription to partition 0 of `t`, on a consumer of which the test has the handlers. */
async function setup() {
  const commits: (readonly CommitPosition[])[] = [];
  const received: Batch[] = [];
  let handlers!: KafkaConsumerHandlers;
  let answer: 'ok' | 'fenced' | 'later' = 'ok';
  const consumer: KafkaConsumer = {
    run: async (given) => void (handlers = given),
    async commit(_, positions) {
      commits.push(positions);
      return answer;
    },
    holds: () => true,
    status: () => ({ state: 'running', partitions: [], idleMs: 0 }),
    stop: async () => {},
  };
  const receiver: Receiver = {
    assigned: () => {},
    receive: (batch) => void received.push(batch),
    revoking: async () => {},
    lost: () => {},
    trouble: () => {},
  };
  const subscription = await subscribe(consumer, receiver);
  return {
    commits,
    received,
    subscription,
    answerWith: (given: typeof answer) => void (answer = given),
    assign: (generation: number, position: number, metadata = '') =>
      handlers.onAssigned(generation, [{ ...PLACE, position: String(position), metadata }]),
    hand: (generation: number, from: number, to: number) =>
      void handlers.onBatch({ ...PLACE, generation, records: records(from, to), next: String(to) }),
    leave: (generation: number) => handlers.onLeaving(generation, new AbortController().signal),
  };
}

const PLACE = { topic: 't', partition: 0 };

const records = (from: number, to: number): KafkaRecord[] =>
  Array.from({ length: to - from }, (_, i) => ({
    ...PLACE,
    offset: String(from + i),
    timestamp: 0,
    key: null,
    value: null,
    headers: [],
  }));

const commit = (subscription: Subscription, position: number, ahead: readonly number[] = []) =>
  subscription.commit([{ ...PLACE, position: String(position), ahead: ahead.map(String) }]);

const offsetsOf = (batch: Batch | undefined) => batch?.records.map(({ offset }) => Number(offset));

it('passes over the records that a former owner finished ahead', async () => {
  const former = await setup();
  former.assign(1, 0);
  former.hand(1, 0, 10);
  await commit(former.subscription, 2, [4, 5, 8]);

  const next = await setup();
  next.assign(1, 2, former.commits[0]![0]!.metadata);
  next.hand(1, 2, 10);

  expect(offsetsOf(next.received[0])).toEqual([2, 3, 6, 7, 9]);
  expect(next.received[0]!.next).toBe('10');
});

it('keeps what is finished ahead in later commits, until the position has passed it', async () => {
  const { assign, commits, hand, subscription } = await setup();
  assign(1, 0);
  hand(1, 0, 10);

  await commit(subscription, 0, [2, 3, 6]);
  await commit(subscription, 4, []);
  const next = await setup();
  next.assign(1, 4, commits[1]![0]!.metadata);
  next.hand(1, 4, 10);

  expect(offsetsOf(next.received[0])).toEqual([4, 5, 7, 8, 9]);
});

it('takes no batch and sends no commit of a generation that is over', async () => {
  const { assign, commits, hand, leave, received, subscription } = await setup();
  assign(1, 0);
  hand(1, 0, 2);
  await leave(1);
  hand(1, 2, 4);
  expect(await commit(subscription, 2)).toEqual(['fenced']);

  assign(2, 0);
  hand(1, 2, 4);
  hand(2, 0, 2);

  expect(received.map(offsetsOf)).toEqual([
    [0, 1],
    [0, 1],
  ]);
  expect(commits).toEqual([]);
});

it('never moves a position back, unless reading went back: then the topic was made anew', async () => {
  const { assign, commits, hand, subscription } = await setup();
  assign(1, 0);
  hand(1, 0, 10);
  await commit(subscription, 8);
  expect(await commit(subscription, 5)).toEqual(['committed']);
  expect(commits.map(([one]) => one?.position)).toEqual(['8']);

  hand(1, 0, 3);
  await commit(subscription, 3);

  expect(commits.map(([one]) => one?.position)).toEqual(['8', '3']);
});

it.each([
  { says: 'fenced', answer: 'fenced' },
  { says: 'later', answer: 'later' },
  { says: 'ok', answer: 'committed' },
] as const)('answers $answer when the consumer says $says', async ({ says, answer }) => {
  const { answerWith, assign, hand, subscription } = await setup();
  assign(1, 0);
  hand(1, 0, 2);
  answerWith(says);

  expect(await commit(subscription, 2)).toEqual([answer]);
});
