import { BusError } from '@event-bus/core';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import type { KafkaBatch, KafkaConsumerOptions } from './client.js';
import { protocolError } from './cluster.js';
import { internal } from './library.js';
import { PARTITIONS_AT_ONCE, SESSION_TIMEOUT_MS } from './settings.js';
import { MadeUpKafka, Subscriber, until } from './made-up-kafka.test.fixture.js';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** A consumer that reads two partitions of two brokers, to which somebody writes ten records a second. */
async function reading(
  options: Partial<KafkaConsumerOptions> = {},
): Promise<{ readonly kafka: MadeUpKafka; readonly subscriber: Subscriber }> {
  const kafka = new MadeUpKafka({ t: [1, 2] });
  const subscriber = new Subscriber(kafka, options);
  let written = 0;
  const writing = setInterval(() => kafka.write('t', written++ % 2, 1), 100);
  onTestFinished(() => clearInterval(writing));
  await settled(subscriber.run());
  await more(subscriber);
  return { kafka, subscriber };
}

/** Time has to pass for it. */
async function settled(promise: Promise<unknown>): Promise<void> {
  let isSettled = false;
  void promise.then(() => (isSettled = true));
  await until(() => isSettled, 10_000);
}

/** Both partitions are read on. */
async function more({ readOf }: Subscriber): Promise<void> {
  const before = PLACES.map((place) => readOf(place).length);
  await until(() => PLACES.every((place, i) => readOf(place).length > before[i]! + 5), 10_000);
}

const PLACES = ['t/0', 't/1'];

const closed = () => {
  const { KafkaJSConnectionClosedError } = internal<Record<string, new (text: string, at: object) => Error>>('errors');
  return new KafkaJSConnectionClosedError!('Closed connection', { host: 'made-up', port: 3 });
};
const NOT_COORDINATOR = 16;
const COORDINATOR_LOADS = 14;

describe('a join that fails', () => {
  it.each([
    { api: 'FindCoordinator', why: 'the connection was closed', error: closed },
    { api: 'JoinGroup', why: 'the connection was closed', error: closed },
    { api: 'JoinGroup', why: 'the coordinator is loading', error: () => protocolError(COORDINATOR_LOADS) },
    { api: 'SyncGroup', why: 'the connection was closed', error: closed },
  ] as const)('holds nobody up, when a leader has moved, and $api fails because $why', async ({ api, error }) => {
    const { kafka, subscriber } = await reading();
    const asked = kafka.asked(api);
    kafka.fault = (now) => {
      if (now === api && kafka.asked(api) === asked + 1) throw error();
    };
    subscriber.leave = () => new Promise((resolve) => setTimeout(resolve, 1_000));

    kafka.move('t', 0, 2);
    await until(() => kafka.asked(api) > asked, 10_000);

    await more(subscriber);
    expect(subscriber.consumer.status().state).toBe('running');
  });

  it('holds nobody up, when the group is rebalanced and its coordinator is loading', async () => {
    const { kafka, subscriber } = await reading();
    const asked = kafka.asked('JoinGroup');
    kafka.fault = (api) => {
      if (api === 'JoinGroup' && kafka.asked(api) === asked + 1) throw protocolError(COORDINATOR_LOADS);
    };

    kafka.rebalance();
    await until(() => kafka.asked('JoinGroup') > asked, 10_000);

    await more(subscriber);
    expect(subscriber.consumer.status().state).toBe('running');
  });

  it('is left to kafkajs when the coordinator has moved: the member stays', async () => {
    const { kafka, subscriber } = await reading();
    const asked = kafka.asked('JoinGroup');
    kafka.fault = (api) => {
      if (api === 'JoinGroup' && kafka.asked(api) === asked + 1) throw protocolError(NOT_COORDINATOR);
    };

    kafka.rebalance();
    await until(() => kafka.asked('JoinGroup') === asked + 2, 10_000);

    await more(subscriber);
    expect(subscriber.troubles).toEqual([]);
    expect(kafka.asked('LeaveGroup')).toBe(0);
  });
});

it('says so when a join takes longer than members may drain, and when it is over', async () => {
  const { kafka, subscriber } = await reading();
  let answer = () => {};
  kafka.fault = (api) => (api === 'JoinGroup' ? new Promise((resolve) => (answer = resolve)) : undefined);

  kafka.rebalance();
  await until(() => subscriber.troubles.length > 0, 40_000);
  expect(subscriber.troubles).toMatchObject([
    {
      code: 'BUS_TRANSPORT_UNAVAILABLE',
      message: expect.stringContaining('waited for its partitions for 3') as string,
    },
  ]);
  expect(subscriber.consumer.status().state).toBe('trouble');

  answer();
  await until(() => subscriber.consumer.status().state === 'running', 5_000);
  expect(subscriber.troubles.at(-1)).toBeUndefined();
});

it('is waited for by its group as long as its handlers may take, and does not take that for a broker that says nothing', async () => {
  const { kafka, subscriber } = await reading({ revokeTimeoutMs: 150_000 });
  const drainMs = 140_000;
  subscriber.leave = () => new Promise((resolve) => setTimeout(resolve, drainMs));

  kafka.rebalance();
  await until(() => subscriber.consumer.status().state === 'rebalancing', 5_000);
  await until(() => subscriber.consumer.status().state === 'running', drainMs + 5_000);

  expect(kafka.rebalanceTimeoutMs).toBeGreaterThan(drainMs);
  expect(subscriber.troubles).toEqual([]);
});

describe('a record batch that cannot be read', () => {
  it('is handed over as one record, byte for byte, and holds nobody up', async () => {
    const { kafka, subscriber } = await reading();
    const batches: KafkaBatch[] = [];
    subscriber.take = (batch) => void batches.push(batch);
    const batch = Buffer.from('the batch');

    kafka.write('t', 0, 1, { batch, unreadable: 'it stands for a batch' });
    await more(subscriber);

    const records = batches.flatMap(({ records }) => records).filter(({ unreadable }) => unreadable !== undefined);
    expect(records).toMatchObject([{ value: batch, unreadable: 'it stands for a batch' }]);
    expect(subscriber.troubles).toEqual([]);
  });

  it('holds up its partition alone while its codec is missing, and that is said until it is over', async () => {
    const { kafka, subscriber } = await reading();
    const missing = new BusError('BUS_UNSUPPORTED', 'Hand in a codec as option "codecs.lz4".');
    const offset = kafka.end('t', 0);
    kafka.write('t', 0, 1, { missing });

    await until(() => subscriber.troubles.length > 0, 1_000);
    const before = subscriber.readOf('t/1').length;
    await until(() => subscriber.readOf('t/1').length > before + 100, 30_000);

    expect(subscriber.troubles).toMatchObject([
      {
        code: 'BUS_UNSUPPORTED',
        message: `Partition 0 of topic "t" waits at offset ${offset}. Hand in a codec as option "codecs.lz4".`,
      },
    ]);
    expect(subscriber.readOf('t/0').at(-1)).toBe(offset - 1);
    expect(subscriber.consumer.status()).toMatchObject({ state: 'trouble', partitions: [{}, {}] });
    await settled(subscriber.consumer.stop());
  });
});

describe('a partition that nobody takes records of', () => {
  it.each([
    { name: 'one', stuck: 1 },
    { name: 'as many as kafkajs has workers', stuck: PARTITIONS_AT_ONCE },
  ])('holds no other one up: $name', async ({ stuck }) => {
    const kafka = new MadeUpKafka({ t: Array.from({ length: stuck + 1 }, () => 1) });
    const subscriber = new Subscriber(kafka);
    let release = () => {};
    const released = new Promise<void>((resolve) => (release = resolve));
    subscriber.take = ({ partition }) => (partition < stuck ? released : undefined);
    const write = () => Array.from({ length: stuck + 1 }, (_, partition) => kafka.write('t', partition, 1));
    const writing = setInterval(write, 100);
    onTestFinished(() => clearInterval(writing));
    await settled(subscriber.run());
    const free = () => subscriber.readOf(`t/${stuck}`).length;
    await until(() => subscriber.readOf('t/0').length > 0, 5_000);

    // Longer than a session.
    for (let second = 0; second < 40; second++) {
      const before = free();
      await until(() => free() > before, 2_500);
      await vi.advanceTimersByTimeAsync(1_000);
    }
    const taken = subscriber.readOf('t/0').length;
    clearInterval(writing);
    release();
    await until(() => subscriber.readOf('t/0').length === kafka.end('t', 0), 5_000);

    expect(taken).toBeLessThan(11);
    expect(subscriber.readOf('t/0')).toEqual(Array.from({ length: kafka.end('t', 0) }, (_, offset) => offset));
    expect(subscriber.troubles).toEqual([]);
    expect(kafka.asked('JoinGroup')).toBe(1);
    await settled(subscriber.consumer.stop());
  });

  it('is read by the next generation, also when it had no room in the last one', async () => {
    const { kafka, subscriber } = await reading();
    subscriber.take = ({ partition, generation }) =>
      partition === 0 && generation === 1 ? new Promise(() => {}) : undefined;
    const before = subscriber.readOf('t/1').length;
    await until(() => subscriber.readOf('t/1').length > before + 50, 20_000);

    kafka.rebalance();
    await until(() => subscriber.generation === 2, 10_000);
    await more(subscriber);
    await settled(subscriber.consumer.stop());
  });
});

it('commits the position of a new group under its own generation, or not at all', async () => {
  const kafka = new MadeUpKafka({ t: [1] });
  kafka.write('t', 0, 3);
  kafka.expire('t', 0);
  const subscriber = new Subscriber(kafka, { from: 'latest' });
  // The coordinator takes no commit until the partition has been elsewhere, where 50 records were handled.
  kafka.fault = (api) => {
    if (api === 'OffsetCommit' && subscriber.generation < 2) throw protocolError(COORDINATOR_LOADS);
    if (api !== 'JoinGroup' || kafka.asked(api) === 1) return;
    kafka.write('t', 0, 100);
    kafka.committed.set('t/0', { offset: '53', metadata: '' });
  };
  await settled(subscriber.run());
  await until(() => kafka.asked('OffsetCommit') > 0, 5_000);

  kafka.rebalance();
  await until(() => subscriber.generation === 2, 10_000);
  await vi.advanceTimersByTimeAsync(30_000);

  expect(subscriber.assigned.map(({ position }) => position)).toEqual(['3', '53']);
  expect(kafka.committed.get('t/0')).toMatchObject({ offset: '53' });
  await settled(subscriber.consumer.stop());
});

describe('a group that starts at the latest record', () => {
  const positions = ({ assigned }: Subscriber) =>
    Object.fromEntries(assigned.map(({ partition, position }) => [partition, position]));

  it('reads a partition from its start that was added while it was stopped', async () => {
    const kafka = new MadeUpKafka({ t: [1, 1, 1] });
    kafka.committed.set('t/0', { offset: '5', metadata: '' });
    kafka.write('t', 0, 8);
    kafka.write('t', 1, 3);
    kafka.write('t', 2, 2);
    const subscriber = new Subscriber(kafka, { from: 'latest' });

    await settled(subscriber.run());
    await until(() => subscriber.read.length === 8, 5_000);

    expect(positions(subscriber)).toEqual({ 0: '5', 1: '0', 2: '0' });
    await settled(subscriber.consumer.stop());
  });

  it('reads a partition from its start that is added while it runs', async () => {
    const kafka = new MadeUpKafka({ t: [1] });
    kafka.write('t', 0, 8);
    const subscriber = new Subscriber(kafka, { from: 'latest' });
    await settled(subscriber.run());
    await until(() => kafka.committed.has('t/0'), 5_000);

    kafka.addPartitions('t', [2]);
    kafka.write('t', 1, 3);
    await until(() => subscriber.read.length === 3, 90_000);

    expect(subscriber.readOf('t/1')).toEqual([0, 1, 2]);
    await settled(subscriber.consumer.stop());
  });

  it('reads no old record when other members of the new group are faster', async () => {
    const kafka = new MadeUpKafka({ t: [1, 1] });
    kafka.write('t', 0, 8);
    kafka.write('t', 1, 8);
    kafka.fault = (api) => {
      if (api === 'SyncGroup') kafka.committed.set('t/0', { offset: '8', metadata: '' });
    };
    const subscriber = new Subscriber(kafka, { from: 'latest' });

    await settled(subscriber.run());
    await until(() => kafka.committed.has('t/1'), 5_000);

    expect(positions(subscriber)).toEqual({ 0: '8', 1: '8' });
    await settled(subscriber.consumer.stop());
  });
});

it('names the records that retention took while it waited for new ones, and never lets kafkajs move the position', async () => {
  const kafka = new MadeUpKafka({ t: [1] });
  const subscriber = new Subscriber(kafka);
  kafka.write('t', 0, 3);
  await settled(subscriber.run());
  await until(() => subscriber.read.length === 3, 5_000);

  subscriber.take = () => new Promise((resolve) => setTimeout(resolve, 10_000));
  kafka.write('t', 0, 1);
  await until(() => subscriber.read.length === 4, 5_000);
  kafka.write('t', 0, 6);
  kafka.expire('t', 0);
  await until(() => subscriber.lost.length > 0, 30_000);

  expect(subscriber.lost).toMatchObject([{ topic: 't', partition: 0, from: '4', to: '10', count: 6 }]);
  await until(() => kafka.committed.has('t/0'), 5_000);
  expect(kafka.commits.filter(({ offset }) => Number(offset) < 0)).toEqual([]);
  await settled(subscriber.consumer.stop());
});

it('leaves nothing running when it is stopped while it connects', async () => {
  const kafka = new MadeUpKafka({ t: [1] });
  const subscriber = new Subscriber(kafka);
  let answer = () => {};
  kafka.fault = (api) => (api === 'Connect' ? new Promise((resolve) => (answer = resolve)) : undefined);
  const running = subscriber.run();
  await until(() => kafka.asked('Connect') === 1, 1_000);

  const stopped = subscriber.consumer.stop();
  await vi.advanceTimersByTimeAsync(1_000);
  kafka.fault = () => {};
  answer();
  await settled(Promise.all([running, stopped]));
  await vi.advanceTimersByTimeAsync(60_000);

  expect(kafka.asked('JoinGroup')).toBe(0);
  expect(vi.getTimerCount()).toBe(0);
});

it('holds its partitions as long as its session can be on', async () => {
  const { kafka, subscriber } = await reading();
  const { consumer } = subscriber;
  let answer = () => {};
  kafka.fault = (api) => (api === 'Heartbeat' ? new Promise((resolve) => (answer = resolve)) : undefined);
  const asked = kafka.asked('Heartbeat');
  await until(() => kafka.asked('Heartbeat') > asked, 2_000);

  await vi.advanceTimersByTimeAsync(SESSION_TIMEOUT_MS - 2_000);
  expect(consumer.holds()).toBe(true);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(consumer.holds()).toBe(false);

  kafka.fault = () => {};
  answer();
  await until(() => consumer.holds(), 2_000);
  await settled(consumer.stop());
  expect(consumer.holds()).toBe(false);
});
