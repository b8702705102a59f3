import { afterEach, expect, test, vi } from 'vitest';
import type { BusRecord } from '@event-bus/core';
import type { Part } from './client.js';
import type { Cluster } from './cluster.js';
import { kafkajsProducer } from './producer.js';

interface ProduceArgs {
  readonly producerId: string;
  readonly topicData: readonly {
    readonly topic: string;
    readonly partitions: readonly {
      readonly partition: number;
      readonly firstSequence: number;
      readonly messages: readonly { readonly value: Buffer }[];
    }[];
  }[];
}

/** Made-up brokers, which tell a repeat by its number as Kafka's do: of one partition each, by `topic/partition`. */
function setup(leaders: Record<string, number>) {
  const logs = new Map<string, string[]>();
  const last = new Map<string, { readonly first: number; readonly count: number; readonly offset: number }>();
  const errors = new Map<string, number>();
  const missing = new Set<string>();
  const requests: string[][] = [];
  const lost = { answers: 0 };
  let ids = 0;

  function store(place: string, { producerId }: ProduceArgs, first: number, values: readonly string[]) {
    const log = logs.get(place) ?? [];
    logs.set(place, log);
    const before = last.get(`${place} ${producerId}`);
    const isRepeat = before?.first === first && before.count === values.length;
    if (isRepeat) return { errorCode: 0, baseOffset: String(before.offset) };
    if (first !== (before === undefined ? 0 : before.first + before.count)) return { errorCode: 45, baseOffset: '-1' };
    last.set(`${place} ${producerId}`, { first, count: values.length, offset: log.length });
    log.push(...values);
    return { errorCode: 0, baseOffset: String(log.length - values.length) };
  }

  function produce(args: ProduceArgs) {
    requests.push(args.topicData.flatMap(({ topic, partitions }) => partitions.map((p) => `${topic}/${p.partition}`)));
    const topics = args.topicData.map(({ topic, partitions }) => ({
      topicName: topic,
      partitions: partitions.map(({ partition, firstSequence, messages }) => {
        const place = `${topic}/${partition}`;
        const errorCode = errors.get(place);
        const values = messages.map(({ value }) => value.toString());
        const answer =
          errorCode === undefined ? store(place, args, firstSequence, values) : { errorCode, baseOffset: '-1' };
        return { partition, ...answer };
      }),
    }));
    if (lost.answers === 0) return { topics };
    lost.answers--;
    throw Object.assign(new Error('timed out'), { name: 'KafkaJSRequestTimeoutError' });
  }

  const broker = (nodeId: number) => ({
    nodeId,
    lookupRequest: (key: number) => (args: object) => ({
      request: { key, args },
      response: { decode: async () => {} },
    }),
    connectionPool: {
      host: 'b',
      port: nodeId,
      send: async ({ request: { key, args } }: { request: { key: number; args: ProduceArgs } }) =>
        key === 0 ? produce(args) : { errorCode: 0, producerId: String(++ids), producerEpoch: 0 },
    },
    disconnect: async () => {},
  });
  const brokerPool = {
    metadata: null as object | null,
    brokers: {},
    findConnectedBroker: async () => broker(1),
  };
  const cluster = {
    brokerPool,
    targetTopics: new Set<string>(),
    connect: async () => {},
    disconnect: async () => {},
    removeBroker: () => {},
    findBroker: async ({ nodeId }: { nodeId: number }) => broker(nodeId),
    addMultipleTargetTopics: async (topics: readonly string[]) => topics.forEach((t) => cluster.targetTopics.add(t)),
    async refreshMetadata() {
      const topicMetadata = [...cluster.targetTopics].map((topic) => {
        const partitionMetadata = Object.entries(leaders)
          .filter(([place]) => place.startsWith(`${topic}/`) && !missing.has(topic))
          .map(([place, leader]) => ({ partitionId: Number(place.split('/')[1]), leader }));
        return { topic, topicErrorCode: partitionMetadata.length > 0 ? 0 : 3, partitionMetadata };
      });
      brokerPool.metadata = { topicMetadata };
    },
  };
  const producer = kafkajsProducer({ cluster: cluster as unknown as Cluster, takesPairs: async () => true });
  return { producer, leaders, logs, errors, missing, requests, lost, ids: () => ids, cluster };
}

const records = (...values: string[]): BusRecord[] =>
  values.map((value) => ({ key: null, value: Buffer.from(value), headers: [] }));
const part = (topic: string, partition: number, ...values: string[]): Part => ({
  topic,
  partition,
  records: records(...values),
});

afterEach(() => void vi.useRealTimers());

test('a partition that fails does so alone, and its numbers go on where they were', async () => {
  const { producer, logs, errors } = setup({ 'bad/0': 1, 'good/0': 1, 'good/1': 2 });
  await Promise.all([producer.partitions('bad'), producer.partitions('good')]);
  const all = () => [part('bad', 0, 'x'), part('good', 0, 'a', 'b'), part('good', 1, 'c')];
  await producer.append(all());
  errors.set('bad/0', 19);

  expect(await producer.append(all())).toMatchObject([
    { status: 'failed', error: { code: 'BUS_TRANSPORT_UNAVAILABLE', details: { kafka: 'NOT_ENOUGH_REPLICAS' } } },
    { status: 'stored', baseOffset: '2' },
    { status: 'stored', baseOffset: '1' },
  ]);

  errors.clear();
  expect(await producer.append(all())).toMatchObject([{ baseOffset: '1' }, { baseOffset: '4' }, { baseOffset: '2' }]);
  expect(logs.get('good/0')).toEqual(['a', 'b', 'a', 'b', 'a', 'b']);
});

test('records whose answer was lost are stored once when they are sent again', async () => {
  const { producer, logs, lost } = setup({ 'a/0': 1 });
  await producer.partitions('a');
  const first = part('a', 0, 'x', 'y');
  lost.answers = 2;

  expect(await producer.append([first])).toMatchObject([{ status: 'unknown' }]);
  expect(await producer.append([{ ...first, records: [...first.records] }])).toMatchObject([{ status: 'unknown' }]);
  expect(await producer.append([{ ...first, records: [...first.records] }])).toEqual([
    { status: 'stored', baseOffset: '0' },
  ]);
  await producer.append([part('a', 0, 'z')]);

  expect(logs.get('a/0')).toEqual(['x', 'y', 'z']);
});

test('a leader that steps down may have handed on what it was sent', async () => {
  const { producer, leaders, logs, errors } = setup({ 'a/0': 1 });
  await producer.partitions('a');
  await producer.append([part('a', 0, 'x')]);
  const again = part('a', 0, 'y');
  errors.set('a/0', 6);

  expect(await producer.append([again])).toMatchObject([
    { status: 'unknown', error: { details: { kafka: 'NOT_LEADER_FOR_PARTITION' } } },
  ]);

  errors.clear();
  leaders['a/0'] = 2;
  expect(await producer.append([again])).toMatchObject([{ status: 'stored', baseOffset: '1' }]);
  expect(logs.get('a/0')).toEqual(['x', 'y']);
});

test('other records after a doubt are no repeat of it, though they are as many', async () => {
  const { producer, logs, lost, ids } = setup({ 'a/0': 1 });
  await producer.partitions('a');
  lost.answers = 1;
  await producer.append([part('a', 0, 'x')]);

  expect(await producer.append([part('a', 0, 'y')])).toMatchObject([{ status: 'stored', baseOffset: '1' }]);

  expect(logs.get('a/0')).toEqual(['x', 'y']);
  expect(ids()).toBe(2);
});

test('the partitions that had no doubt come over to the new producer id, so that one request serves all again', async () => {
  const { producer, lost, requests, ids } = setup({ 'a/0': 1, 'a/1': 1 });
  await producer.partitions('a');
  const both = () => [part('a', 0, 'x'), part('a', 1, 'y')];
  await producer.append(both());
  lost.answers = 1;
  await producer.append([part('a', 0, 'doubt')]);
  requests.length = 0;

  expect(await producer.append(both())).toMatchObject([{ status: 'stored' }, { status: 'stored' }]);
  await producer.append(both());

  expect(requests.at(-1)).toEqual(['a/0', 'a/1']);
  expect(ids()).toBe(2);
});

test('a broker that lost count gets a new producer id', async () => {
  const { producer, errors, ids } = setup({ 'a/0': 1 });
  await producer.partitions('a');
  await producer.append([part('a', 0, 'x')]);
  errors.set('a/0', 45);
  const again = part('a', 0, 'y');
  expect(await producer.append([again])).toMatchObject([{ status: 'failed' }]);
  errors.clear();

  expect(await producer.append([again])).toMatchObject([{ status: 'stored', baseOffset: '1' }]);
  expect(ids()).toBe(2);
});

test('a partition without a leader is not waited for, and taken up when it has one', async () => {
  const { producer, leaders, requests, logs } = setup({ 'a/0': -1, 'a/1': 1 });
  await producer.partitions('a');

  expect(await producer.append([part('a', 0, 'x'), part('a', 1, 'y')])).toMatchObject([
    { status: 'failed', error: { message: 'Partition 0 of topic "a" has no leader now.' } },
    { status: 'stored' },
  ]);
  expect(requests).toEqual([['a/1']]);

  leaders['a/0'] = 2;
  await expect.poll(async () => (await producer.append([part('a', 0, 'x')]))[0]!.status).toBe('stored');
  expect(logs.get('a/0')).toEqual(['x']);
});

test('a topic that is gone is waited for some seconds, then refused, and taken up again when it is made anew', async () => {
  const { producer, missing, errors } = setup({ 'a/0': 1 });
  vi.useFakeTimers({ toFake: ['performance'] });
  await producer.partitions('a');
  await producer.append([part('a', 0, 'x')]);
  missing.add('a');
  errors.set('a/0', 3);
  const append = async () => (await producer.append([part('a', 0, 'y')]))[0];

  for (let i = 0; i < 3; i++) {
    expect(await append()).toMatchObject({ status: 'failed', error: { code: 'BUS_TRANSPORT_UNAVAILABLE' } });
    vi.advanceTimersByTime(1_000);
  }
  expect(producer.knownPartitions('a')).toBe(1);
  vi.advanceTimersByTime(4_000);
  expect(await append()).toMatchObject({ status: 'failed', error: { code: 'BUS_TOPIC_MISSING' } });
  expect(producer.knownPartitions('a')).toBeUndefined();
  await expect(producer.partitions('a')).rejects.toMatchObject({ code: 'BUS_TOPIC_MISSING' });

  missing.clear();
  errors.clear();
  expect(await producer.partitions('a')).toBe(1);
  expect(await append()).toMatchObject({ status: 'stored' });
});
