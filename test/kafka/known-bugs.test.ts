/**
 * What kafkajs does wrong on Apache Kafka itself, seen on bare kafkajs first, and then the same on our client:
 * docs/decisions/0006-kafkajs-pinned-own-fast-path.md.
 */
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { kafka } from '@event-bus/kafka';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { addressesOf, startServers } from './broker.js';
import {
  Member,
  deleteBefore,
  eventually,
  freshTopic,
  keyOf,
  numbered,
  openPort,
  placedTopic,
  record,
  store,
  withAdmin,
  type Port,
} from './port.js';
import { wireProxy, type WireProxy } from './wire-proxy.js';
import type { Consumer, ConsumerConfig, KafkaConfig, ProducerConfig } from 'kafkajs';

// Three of our own: leaders move here.
const servers = await startServers({ own: true, brokers: 3 });
const addresses = addressesOf(servers);
const { bare, folder } = bareKafkajs();

describe.skipIf(!servers)('kafkajs, and the Kafka client on it', () => {
  let port: Port;
  let proxy: WireProxy;
  const open: (() => Promise<unknown>)[] = [];
  beforeAll(async () => {
    port = openPort(addresses);
    proxy = await wireProxy(servers!);
  });
  afterEach(async () => {
    for (const close of open.splice(0).reverse()) await close();
  });
  afterAll(async () => {
    await port.client.close();
    await proxy.close();
    await servers!.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  async function bareProducer(options: ProducerConfig, config: Partial<KafkaConfig> = {}) {
    const producer = bareOn(config).producer(options);
    open.push(() => producer.disconnect());
    await producer.connect();
    return producer;
  }

  async function bareConsumer(
    topics: string | string[],
    options: Partial<ConsumerConfig> = {},
    config: Partial<KafkaConfig> = {},
  ): Promise<Consumer> {
    const groupId = typeof topics === 'string' ? topics : topics[0]!;
    const consumer = bareOn(config).consumer({ groupId, heartbeatInterval: 200, maxWaitTimeInMs: 250, ...options });
    open.push(() => consumer.disconnect());
    await consumer.connect();
    await consumer.subscribe({ topics: [topics].flat(), fromBeginning: true });
    return consumer;
  }

  function member(...args: ConstructorParameters<typeof Member>): Member {
    const made = new Member(...args);
    open.push(() => made.stop());
    return made;
  }

  /** Everything in a partition, in order. */
  async function stored(topic: string, partition: number): Promise<string[]> {
    const end = (await port.client.admin.watermarks(topic))[partition]!.end!;
    const reader = port.client.reader();
    const values: string[] = [];
    for await (const { records } of reader.read({ topic, partition, from: '0', to: end }))
      values.push(...records.map(({ value }) => Buffer.from(value!).toString()));
    await reader.close();
    return values;
  }

  const committed = async (group: string, partition = 0) =>
    (await port.client.admin.committed(group, [group])).find((entry) => entry.partition === partition)?.position;

  describe('a leader that moves while two brokers are sent to', () => {
    /** Partition 0 is led by broker 1, and partition 1 by broker 2 until the sender knows so; then by broker 1 as well. */
    async function moved(learn: (topic: string) => Promise<unknown>): Promise<string> {
      const topic = await placedTopic(addresses, [[1], [2]]);
      await learn(topic);
      await place(topic, [[1], [1]]);
      return topic;
    }

    it('makes kafkajs resolve a send of which one partition was never written', async () => {
      const producer = await bareProducer({ idempotent: true });
      const both = ['p0', 'p1'].map((value, partition) => ({ value, partition }));
      const topic = await moved((topic) => producer.send({ topic, messages: both }));
      const answer = await producer.send({ topic, messages: both });
      expect(answer.map(({ partition }) => partition)).toEqual([0]);
      expect([await stored(topic, 0), await stored(topic, 1)]).toEqual([['p0', 'p0'], ['p1']]);
    });

    it('makes the client write it before it says so', async () => {
      const transport = kafka({ brokers: addresses, registry: { url: 'http://127.0.0.1:1' }, onNotice: () => {} });
      open.push(() => transport.close());
      await transport.open();
      const both = [0, 1].map((partition) => record('0', { key: keyOf(partition, 2) }));
      const topic = await moved((topic) => transport.publish(topic, both));
      expect(await transport.publish(topic, both)).toMatchObject([
        { status: 'stored', partition: 0 },
        { status: 'stored', partition: 1 },
      ]);
      expect([await stored(topic, 0), await stored(topic, 1)]).toEqual([
        ['0', '0'],
        ['0', '0'],
      ]);
    });
  });

  describe('an answer that is lost while another send waits', () => {
    it('makes kafkajs store the first record twice, and the second never, as if it had', async () => {
      const topic = await freshTopic(port.client);
      const producer = await bareProducer(
        { idempotent: true },
        { brokers: [...proxy.addresses], requestTimeout: 2_000 },
      );
      await producer.send({ topic, messages: [{ value: 'before' }] });
      const lost = proxy.loseProduceAnswer();
      const first = producer.send({ topic, messages: [{ value: 'first' }] });
      await lost;
      const second = producer.send({ topic, messages: [{ value: 'second' }] });
      expect([await first, await second].map(([answer]) => answer!.errorCode)).toEqual([0, 0]);
      expect(await stored(topic, 0)).toEqual(['before', 'first', 'first']);
    });

    it('makes the client store each record once, in order', async () => {
      const topic = await freshTopic(port.client);
      const transport = kafka({
        brokers: proxy.addresses,
        registry: { url: 'http://127.0.0.1:1' },
        onNotice: () => {},
      });
      open.push(() => transport.close());
      await transport.open();
      await transport.publish(topic, [record('before')]);
      const lost = proxy.loseProduceAnswer();
      const first = transport.publish(topic, [record('first')]);
      await lost;
      const second = transport.publish(topic, [record('second')]);
      expect([...(await first), ...(await second)]).toMatchObject([
        { status: 'stored', offset: '1' },
        { status: 'stored', offset: '2' },
      ]);
      expect(await stored(topic, 0)).toEqual(['before', 'first', 'second']);
    });
  });

  describe('a commit of a partition that has gone to another member', () => {
    it('is taken from kafkajs, and throws the other one back', async () => {
      const topic = await freshTopic(port.client, 2);
      const join = async () => {
        const consumer = await bareConsumer(topic);
        const held = partitionsOf(consumer, topic);
        await consumer.run({ autoCommit: false, eachMessage: async () => {} });
        return { consumer, held };
      };
      const members = [await join(), await join()] as const;
      await eventually(() => members.every(({ held }) => held().length === 1));
      const [{ consumer, held }, other] = members;
      const [gone] = other.held();
      expect(held()).not.toContain(gone);
      await other.consumer.commitOffsets([{ topic, partition: gone!, offset: '80' }]);
      await consumer.commitOffsets([{ topic, partition: gone!, offset: '7' }]);
      expect(await committed(topic, gone)).toBe('7');
    });

    it('is not made by the client', async () => {
      const topic = await freshTopic(port.client, 2);
      await store(port.client, [numbered(topic, 0, 0, 80), numbered(topic, 1, 0, 80)]);
      const [one, other] = [member(port.client, { topic }), member(port.client, { topic })];
      await one.run();
      await other.run();
      const held = ({ consumer }: Member) => consumer.status().partitions;
      await eventually(() => held(one).length === 1 && held(other).length === 1);
      const [gone] = held(other);
      await eventually(async () => (await committed(topic, gone!.partition)) === '80');
      await one.consumer.commit(one.generation, [{ ...gone!, position: '7', metadata: '' }]);
      expect(await committed(topic, gone!.partition)).toBe('80');
    });
  });

  describe('a batch of more records than the stack takes', () => {
    const COUNT = 200_000;
    let many = 0;
    async function filled(): Promise<string> {
      const topic = `many-${process.pid}-${++many}`;
      await port.client.admin.create({ topic, partitions: 1, config: { 'max.message.bytes': '4000000' } });
      const records = Array.from({ length: COUNT }, () => ({ key: null, value: null, headers: [] }));
      await store(port.client, [{ topic, partition: 0, records }]);
      return topic;
    }

    it('stops a consumer of kafkajs for good', async () => {
      const topic = await filled();
      const consumer = await bareConsumer(topic);
      const crashes: string[] = [];
      consumer.on(consumer.events.CRASH, ({ payload }) => crashes.push(`${payload.error.message}, ${payload.restart}`));
      await consumer.run({ eachBatch: async () => {} });
      // It ends, and is not to be started again; before, it may have met a coordinator that was not ready.
      await eventually(() => crashes.includes('Maximum call stack size exceeded, false'));
    });

    it('is read by the client', async () => {
      const topic = await filled();
      const consumer = member(port.client, { topic });
      await consumer.run();
      await eventually(async () => (await committed(topic)) === String(COUNT));
      expect(consumer.begun).toHaveLength(COUNT);
      expect(consumer.troubles).toEqual([]);
    });
  });

  describe('headers', () => {
    it('lets kafkajs read one that objects inherit as a list with a function in it', async () => {
      const topic = await freshTopic(port.client);
      await store(port.client, [{ topic, partition: 0, records: [inherited] }]);
      const consumer = await bareConsumer(topic);
      const headers: unknown[] = [];
      await consumer.run({ eachMessage: async ({ message }) => void headers.push(message.headers!['constructor']) });
      await eventually(() => headers.length === 1);
      expect(headers[0]).toEqual([Object, Buffer.from('x')]);
    });

    it('lets the client read it as what it is', async () => {
      const topic = await freshTopic(port.client);
      await store(port.client, [{ topic, partition: 0, records: [inherited] }]);
      const consumer = member(port.client, { topic });
      await consumer.run();
      await eventually(() => consumer.batches.length === 1);
      expect(consumer.batches[0]!.records[0]!.headers).toEqual([['constructor', Buffer.from('x')]]);
    });

    const inherited = record('v', { headers: [['constructor', Buffer.from('x')]] });
  });

  describe('a position that retention has overtaken', () => {
    /** Records 0 to 99; the group stands at 10, and the log begins at 50. */
    async function overtaken(): Promise<string> {
      const topic = await freshTopic(port.client);
      await store(port.client, [numbered(topic, 0, 0, 100)]);
      await port.client.admin.setCommitted(topic, [{ topic, partition: 0, position: '10', metadata: '' }]);
      await deleteBefore(addresses, topic, 0, 50);
      return topic;
    }
    const kept = Array.from({ length: 50 }, (_, i) => String(50 + i));

    it('makes kafkajs jump to the end, past records that are there', async () => {
      const topic = await overtaken();
      const consumer = bareOn({}).consumer({ groupId: topic, maxWaitTimeInMs: 250 });
      open.push(() => consumer.disconnect());
      await consumer.connect();
      await consumer.subscribe({ topics: [topic] });
      const read: string[] = [];
      await consumer.run({ eachMessage: async ({ message }) => void read.push(message.value!.toString()) });
      // It says nothing of its jump: only what is written later shows it.
      await eventually(async () => {
        await store(port.client, [{ topic, partition: 0, records: [record('later')] }]);
        return read.length > 0;
      });
      expect(new Set(read)).toEqual(new Set(['later']));
      await eventually(async () => Number(await committed(topic)) > 100);
    });

    it('makes the client read them, and name those that are gone', async () => {
      const topic = await overtaken();
      const consumer = member(port.client, { topic });
      await consumer.run();
      await eventually(async () => (await committed(topic)) === '100');
      expect(consumer.begun).toEqual(kept.map((value) => `0:${value}`));
      expect(consumer.lost).toMatchObject([{ partition: 0, from: '10', to: '50', count: 40 }]);
    });
  });

  describe('a leader that moves while a second member waits to join', () => {
    /** A record in each of two partitions, one of which will go to the second member; the leader of the third moves. */
    async function filled(): Promise<string> {
      const topic = await placedTopic(addresses, [[1], [1], [2]]);
      await store(port.client, [numbered(topic, 0, 0, 1), numbered(topic, 1, 0, 1)]);
      return topic;
    }
    async function moveOnceWaiting(topic: string): Promise<void> {
      await withAdmin(addresses, (admin) =>
        eventually(async () => (await admin.describeGroups([topic])).groups[0]!.state === 'PreparingRebalance'),
      );
      await place(topic, [[1], [1], [3]]);
    }
    // Members are given partitions in the order of their names: to the second one, two.
    const FIRST = 'z';
    const SECOND = 'a';

    it('makes kafkajs give away a record that is being handled', async () => {
      const topic = await filled();
      const begun: string[] = [];
      let finished = 0;
      const join = async (clientId: string) => {
        // So seldom that it hears of the leader first.
        const consumer = await bareConsumer(topic, { heartbeatInterval: 20_000 }, { clientId });
        return consumer.run({
          partitionsConsumedConcurrently: 3,
          eachMessage: async () => {
            begun.push(clientId);
            await eventually(() => begun.includes(SECOND), 20_000);
            finished++;
          },
        });
      };
      await join(FIRST);
      await eventually(() => begun.length === 2);
      const joined = join(SECOND);
      await moveOnceWaiting(topic);
      await joined;
      // Sooner than the first member's handlers end by themselves.
      await eventually(() => begun.includes(SECOND), 15_000);
      await eventually(() => finished >= 3);
    });

    it('makes the client finish and commit it first', async () => {
      const topic = await filled();
      const [first, second] = [FIRST, SECOND].map((clientId) => {
        const { client } = openPort(addresses, { clientId });
        open.push(() => client.close());
        return member(client, { topic, handleMs: 4_000 });
      }) as [Member, Member];
      await first.run();
      await eventually(() => first.begun.length === 2);
      await second.run();
      await moveOnceWaiting(topic);
      await eventually(() => second.consumer.status().partitions.length === 2);
      await store(port.client, [numbered(topic, 0, 1, 1), numbered(topic, 1, 1, 1)]);
      await eventually(() => first.begun.length + second.begun.length >= 4);
      expect([...first.begun, ...second.begun].sort()).toEqual(['0:0', '0:1', '1:0', '1:1']);
      expect(second.begun.length).toBeGreaterThan(0);
    });
  });

  describe('a deploy that adds a topic, while members without it are still there', () => {
    async function topics(): Promise<readonly [old: string, added: string]> {
      return [await freshTopic(port.client, 2), await freshTopic(port.client, 2)];
    }

    it('leaves the new topic to nobody when an old member leads the group of kafkajs', async () => {
      const [old, added] = await topics();
      const leader = await bareConsumer([old]);
      const follower = await bareConsumer([old, added]);
      const held = [partitionsOf(leader, old), partitionsOf(follower, old)];
      const heldAdded = [partitionsOf(leader, added), partitionsOf(follower, added)];
      const read: string[] = [];
      for (const consumer of [leader, follower]) {
        await consumer.run({ eachMessage: async ({ topic }) => void read.push(topic) });
        await eventually(() => held.some((partitions) => partitions().length > 0));
      }
      await eventually(() => held.every((partitions) => partitions().length === 1));
      expect(heldAdded.flatMap((partitions) => partitions())).toEqual([]);
      await store(port.client, [numbered(added, 0, 0, 10), numbered(added, 1, 0, 10)]);
      await store(port.client, [numbered(old, 0, 0, 10), numbered(old, 1, 0, 10)]);
      await eventually(() => read.length === 20);
      expect(new Set(read)).toEqual(new Set([old]));
    });

    it('leaves a part of it to nobody when a new member leads', async () => {
      const [old, added] = await topics();
      const leader = await bareConsumer([old, added]);
      const passedOver: string[] = [];
      const held = partitionsOf(leader, added);
      await leader.run({ eachMessage: async () => {} });
      await eventually(() => held().length === 2);
      const follower = await bareConsumer([old]);
      follower.on(follower.events.RECEIVED_UNSUBSCRIBED_TOPICS, ({ payload }) =>
        passedOver.push(...payload.topicsNotSubscribed),
      );
      await follower.run({ eachMessage: async () => {} });
      await eventually(() => held().length === 1);
      await eventually(() => passedOver.length === 1);
      expect(passedOver).toEqual([added]);
    });

    it('gives all of it to members of the client that asked for it', async () => {
      for (const order of ['old first', 'new first']) {
        const [old, added] = await topics();
        const before = member(port.client, { topic: old });
        const after = member(port.client, { topic: old, topics: [old, added] });
        const held = ({ consumer }: Member) => consumer.status().partitions.map(({ topic }) => topic);
        const [first, second] = order === 'old first' ? [before, after] : [after, before];
        await first.run();
        await eventually(() => held(first).length > 0);
        await second.run();
        await eventually(() => held(before).length + held(after).length === 4 && held(second).length > 0);
        await store(port.client, [numbered(added, 0, 0, 10), numbered(added, 1, 0, 10)]);
        await eventually(() => after.begun.length === 20);
        expect(held(before)).not.toContain(added);
      }
    });
  });
});

/** kafkajs as it comes: a copy of its own, because the library mends the one that it loads. */
function bareKafkajs(): { readonly bare: typeof import('kafkajs'); readonly folder: string } {
  const load = createRequire(new URL('../../libs/kafka/package.json', import.meta.url));
  const folder = mkdtempSync(join(tmpdir(), 'event-bus-kafkajs-'));
  cpSync(dirname(load.resolve('kafkajs/package.json')), folder, { recursive: true });
  return { bare: load(folder) as typeof import('kafkajs'), folder };
}

const bareOn = (config: Partial<KafkaConfig>) => new bare.Kafka({ brokers: addresses, logLevel: 0, ...config });

/** What it was given at its last join. */
function partitionsOf(consumer: Consumer, topic: string): () => number[] {
  let partitions: number[] = [];
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => (partitions = payload.memberAssignment[topic] ?? []));
  return () => partitions;
}

async function place(topic: string, brokers: readonly number[][]): Promise<void> {
  const partitionAssignment = brokers.map((replicas, partition) => ({ partition, replicas }));
  await withAdmin(addresses, async (admin) => {
    await admin.alterPartitionReassignments({ topics: [{ topic, partitionAssignment }] });
    await eventually(async () => {
      const [found] = (await admin.fetchTopicMetadata({ topics: [topic] })).topics;
      return found!.partitions.every(
        ({ partitionId, leader, replicas }) => replicas.length === 1 && leader === brokers[partitionId]![0],
      );
    });
  });
}
