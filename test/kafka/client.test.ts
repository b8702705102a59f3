import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addressesOf, startServers } from './broker.js';
import type { ReadBatch } from '../../libs/kafka/src/kafkajs/client.js';
import {
  Member,
  deleteBefore,
  eventually,
  freshTopic,
  kafkajs,
  numbered,
  openPort,
  record,
  store,
  type Port,
} from './port.js';

const servers = await startServers();
const addresses = addressesOf(servers);

describe.skipIf(!servers)('the Kafka client', () => {
  let port: Port;
  beforeAll(() => void (port = openPort(addresses)));
  afterAll(async () => {
    await port.client.close();
    await servers?.stop();
  });

  describe('its producer', () => {
    it('stores keys, values and headers byte for byte, with the order and the repeats of headers', async () => {
      const { client } = port;
      const topic = await freshTopic(client);
      const sent = [
        record('a', {
          key: 'k',
          headers: [
            ['b', Buffer.from('1')],
            ['1', Buffer.from([0, 255])],
            ['b', Buffer.alloc(0)],
          ],
        }),
        { key: null, value: null, headers: [] },
        { key: new Uint8Array([1, 2]), value: new Uint8Array([3]), headers: [['h', new Uint8Array([4])]] as const },
      ];
      await store(client, [{ topic, partition: 0, records: sent }]);
      const reader = client.reader();
      const read = [];
      for await (const batch of reader.read({ topic, partition: 0, from: '0', to: '3' })) read.push(...batch.records);
      await reader.close();
      const plain = (bytes: Uint8Array | null) => (bytes === null ? null : [...bytes]);
      const shape = ({ key, value, headers }: (typeof sent)[0]) => [
        plain(key),
        plain(value),
        headers.map(([name, bytes]) => [name, plain(bytes)]),
      ];
      expect(read.map((stored) => shape(stored))).toEqual(sent.map((one) => shape(one as never)));
    });

    it('names the topic that is missing, and the record that is too large, and stores the rest', async () => {
      const { client } = port;
      const topic = await freshTopic(client, 2);
      const producer = client.producer();
      await producer.partitions(topic);
      const outcomes = await producer.append([
        { topic, partition: 0, records: [record('x'.repeat(2_000_000))] },
        { topic, partition: 1, records: [record('small')] },
      ]);
      expect(outcomes[0]).toMatchObject({ status: 'failed', error: { code: 'BUS_RECORD_TOO_LARGE' } });
      expect(outcomes[1]).toMatchObject({ status: 'stored' });
      await expect(producer.partitions(`${topic}-missing`)).rejects.toMatchObject({ code: 'BUS_TOPIC_MISSING' });
      expect(await producer.append([{ topic, partition: 0, records: [record('after')] }])).toEqual([
        { status: 'stored', baseOffset: '0' },
      ]);
      await producer.close();
      expect(await producer.append([{ topic, partition: 0, records: [record('late')] }])).toMatchObject([
        { status: 'failed', error: { code: 'BUS_CLOSED' } },
      ]);
    });
  });

  describe('its consumer', () => {
    it('reads every record once, also when it is stopped and started again', async () => {
      const { client } = port;
      const topic = await freshTopic(client, 3);
      for (const partition of [0, 1, 2]) await store(client, [numbered(topic, partition, 0, 40)]);
      const begun = [];
      for (let life = 0; begun.length < 120; life++) {
        const member = new Member(client, { topic, handleMs: 5 });
        await member.run();
        await eventually(() => member.begun.length >= Math.min(30, 120 - begun.length));
        await member.stop();
        expect(member.commits).not.toContain('fenced');
        begun.push(...member.begun);
      }
      expect(new Set(begun).size).toBe(120);
      expect(begun.length).toBe(120);
    });

    it('hands partitions over without running a record twice when a second member joins and leaves', async () => {
      const { client } = port;
      const topic = await freshTopic(client, 6);
      const total = 6 * 400;
      for (let partition = 0; partition < 6; partition++) await store(client, [numbered(topic, partition, 0, 400)]);
      const first = new Member(client, { topic, handleMs: 25 });
      await first.run();
      await eventually(() => first.begun.length > 60);
      const second = new Member(client, { topic, handleMs: 25 });
      await second.run();
      await eventually(() => second.begun.length > 40);
      await second.stop();
      await eventually(() => first.begun.length + second.begun.length >= total);
      await first.stop();
      const begun = [...first.begun, ...second.begun];
      expect(begun.length).toBe(total);
      expect(new Set(begun).size).toBe(total);
      expect(first.generation).toBeGreaterThanOrEqual(3);
    });

    it('keeps its membership while nothing is taken', async () => {
      const { client } = port;
      const topic = await freshTopic(client);
      await store(client, [numbered(topic, 0, 0, 10)]);
      const member = new Member(client, { topic });
      let release = () => {};
      member.held = new Promise((resolve) => (release = resolve));
      await member.run();
      await eventually(() => member.batches.length === 1);
      await store(client, [numbered(topic, 0, 10, 10)]);
      await new Promise((resolve) => setTimeout(resolve, 35_000)); // longer than a session: this is what is tested
      expect(member.batches.length).toBe(1);
      expect(member.generation).toBe(1);
      release();
      member.held = undefined;
      await eventually(() => member.begun.length === 20);
      expect(member.generation).toBe(1);
      await member.stop();
    });

    it('names the records that retention took, before it began and while it read', async () => {
      const { client } = port;
      const topic = await freshTopic(client);
      const cut = (offset: number) => deleteBefore(addresses, topic, 0, offset);

      await store(client, [numbered(topic, 0, 0, 50)]);
      await client.admin.setCommitted(topic, [{ topic, partition: 0, position: '10', metadata: '' }]);
      await cut(20);
      const member = new Member(client, { topic });
      let release = () => {};
      await member.run();
      await eventually(() => member.begun.length === 30);
      expect(member.lost).toMatchObject([{ partition: 0, from: '10', to: '20', count: 10 }]);

      member.held = new Promise((resolve) => (release = resolve));
      await store(client, [numbered(topic, 0, 50, 1)]);
      await eventually(() => member.batches.at(-1)?.next === '51');
      await store(client, [numbered(topic, 0, 51, 49)]);
      await new Promise((resolve) => setTimeout(resolve, 3_000)); // the next batch was fetched, and has waited for room in vain
      await cut(90);
      member.held = undefined;
      release();
      await eventually(() => member.begun.at(-1) === '0:99');
      await member.stop();
      expect(member.lost).toHaveLength(2);
      expect(member.lost[1]).toMatchObject({ from: '51', to: '90', count: 39 });
      expect(member.begun).toEqual([...range(20, 51), ...range(90, 100)].map((n) => `0:${n}`));
    });

    it('starts over, loudly, when the topic was made anew', async () => {
      const { client } = port;
      const topic = await freshTopic(client);
      await store(client, [numbered(topic, 0, 0, 5)]);
      await client.admin.setCommitted(topic, [{ topic, partition: 0, position: '40', metadata: 'eb1:x' }]);
      const member = new Member(client, { topic });
      await member.run();
      await eventually(() => member.begun.length === 5);
      await member.stop();
      expect(member.lost).toMatchObject([{ from: '5', to: '40' }]);
      expect(member.assigned).toMatchObject([{ position: '0', metadata: '' }]);
    });

    it('starts a new group where it is told to, and stays there', async () => {
      const { client } = port;
      const topic = await freshTopic(client);
      await store(client, [numbered(topic, 0, 0, 5)]);
      const member = new Member(client, { topic, from: 'latest' });
      await member.run();
      await eventually(async () => (await client.admin.committed(topic, [topic])).length === 1);
      await member.stop();
      await store(client, [numbered(topic, 0, 5, 5)]);
      const later = new Member(client, { topic, from: 'latest' });
      await later.run();
      await eventually(() => later.begun.length === 5);
      await later.stop();
      expect(later.begun).toEqual(range(5, 10).map((n) => `0:${n}`));
    });

    it('brings back what was committed beside a position', async () => {
      const { client } = port;
      const topic = await freshTopic(client);
      await store(client, [numbered(topic, 0, 0, 5)]);
      const member = new Member(client, { topic, commitMs: 1 << 30 });
      await member.run();
      await eventually(() => member.begun.length === 5);
      expect(
        await member.consumer.commit(member.generation, [{ topic, partition: 0, position: '3', metadata: 'eb1:AQID' }]),
      ).toBe('ok');
      expect(
        await member.consumer.commit(member.generation - 1, [{ topic, partition: 0, position: '1', metadata: '' }]),
      ).toBe('fenced');
      expect(await client.admin.committed(topic, [topic])).toEqual([
        { topic, partition: 0, position: '3', metadata: 'eb1:AQID' },
      ]);
      await expect(
        client.admin.setCommitted(topic, [{ topic, partition: 0, position: '1', metadata: '' }]),
      ).rejects.toMatchObject({ code: 'BUS_BUSY' });
      await member.stop();
    });

    it('takes a record with a flood of headers, marks it, and goes on', async () => {
      const { client } = port;
      const topic = await freshTopic(client);
      const flood = record('flood', {
        headers: Array.from({ length: 60_000 }, (_, i) => [`h${i}`, Buffer.alloc(0)] as const),
      });
      await store(client, [{ topic, partition: 0, records: [record('before'), flood, record('after')] }]);
      const member = new Member(client, { topic });
      await member.run();
      await eventually(() => member.begun.length === 3);
      await member.stop();
      const records = member.batches.flatMap((batch) => batch.records);
      expect(records.map(({ unreadable }) => unreadable)).toEqual([
        undefined,
        'it has 60000 headers, at most 256 are read',
        undefined,
      ]);
      expect(records[1]!.headers).toHaveLength(256);
    });

    it('passes transaction marks and aborted records, and moves its position behind them', async () => {
      const { client } = port;
      const topic = await freshTopic(client);
      const producer = new kafkajs.Kafka({ brokers: addresses, logLevel: 0 }).producer({
        transactionalId: topic,
        idempotent: true,
        maxInFlightRequests: 1,
      });
      await producer.connect();
      for (const isAborted of [false, true, true]) {
        const transaction = await producer.transaction();
        await transaction.send({ topic, messages: [{ value: isAborted ? 'aborted' : 'kept' }] });
        await (isAborted ? transaction.abort() : transaction.commit());
      }
      await producer.disconnect();
      const member = new Member(client, { topic });
      await member.run();
      await eventually(async () => (await client.admin.committed(topic, [topic]))[0]?.position === '6');
      await member.stop();
      expect(member.begun).toEqual(['0:kept']);
      expect(member.lost).toEqual([]);
    });

    it('hands over nothing before it said what is assigned, however many topics it has', async () => {
      const { client } = port;
      const topics = await Promise.all(Array.from({ length: 12 }, () => freshTopic(client)));
      await store(
        client,
        topics.map((topic) => numbered(topic, 0, 0, 3)),
      );
      const member = new Member(client, { topic: topics[0]!, topics });
      await member.run();
      await eventually(() => new Set(member.batches.map(({ topic }) => topic)).size === topics.length);
      await member.stop();
      expect(member.early).toEqual([]);
      expect(member.batches.flatMap(({ records }) => records).length).toBe(36);
    });

    it('gives each member of a group only topics that it asked for, whoever leads the group', async () => {
      const { client } = port;
      const [one, other] = [await freshTopic(client, 2), await freshTopic(client, 2)];
      const old = new Member(client, { topic: one, group: one });
      const fresh = new Member(client, { topic: other, topics: [one, other], group: one });
      await old.run();
      await eventually(() => old.consumer.status().partitions.length === 2);
      await fresh.run();
      const held = (member: Member) =>
        member.consumer.status().partitions.map(({ topic, partition }) => `${topic}/${partition}`);
      await eventually(() => held(old).length + held(fresh).length === 4 && held(fresh).includes(`${other}/1`));
      expect(held(old).every((place) => place.startsWith(one))).toBe(true);
      await store(client, [numbered(other, 0, 0, 1), numbered(other, 1, 0, 1)]);
      await eventually(() => fresh.batches.filter(({ topic }) => topic === other).length === 2);
      await old.stop();
      await eventually(() => held(fresh).length === 4);
      await fresh.stop();
    });

    it('refuses at once to consume a topic that does not exist', async () => {
      const member = new Member(port.client, { topic: 'no-such-topic' });
      await expect(member.run()).rejects.toMatchObject({ code: 'BUS_TOPIC_MISSING' });
      await member.stop();
    });
  });

  describe('its reader', () => {
    it('reads a range of offsets, and goes on at the end until it is aborted', async () => {
      const { client } = port;
      const topic = await freshTopic(client);
      await store(client, [numbered(topic, 0, 0, 30)]);
      const reader = client.reader();
      const values: string[] = [];
      for await (const { records } of reader.read({ topic, partition: 0, from: '5', to: '12' }))
        values.push(...records.map(({ offset }) => offset));
      expect(values).toEqual(range(5, 12).map(String));

      const stop = new AbortController();
      const followed: string[] = [];
      const following = (async () => {
        for await (const { records } of reader.read({ topic, partition: 0, from: '28', signal: stop.signal }))
          followed.push(...records.map(({ offset }) => offset));
      })();
      await eventually(() => followed.length === 2);
      await store(client, [numbered(topic, 0, 30, 1)]);
      await eventually(() => followed.length === 3);
      stop.abort();
      await following;
      await reader.close();
      expect(await client.admin.committed(topic, [topic])).toEqual([]);
    });

    it('says what is gone, and refuses a place behind the end', async () => {
      const { client } = port;
      const topic = await freshTopic(client);
      await store(client, [numbered(topic, 0, 0, 10)]);
      await deleteBefore(addresses, topic, 0, 4);
      const reader = client.reader();
      const batches = [];
      for await (const batch of reader.read({ topic, partition: 0, from: '0', to: '10' })) batches.push(batch);
      expect(batches[0]).toMatchObject({ skipped: ['0', '4'] });
      expect(batches.flatMap(({ records }) => records.map(({ offset }) => offset))).toEqual(range(4, 10).map(String));
      await expect(
        reader.read({ topic, partition: 0, from: '11' })[Symbol.asyncIterator]().next(),
      ).rejects.toMatchObject({ code: 'BUS_DATA_LOSS' });
      await reader.close();
    });
  });

  describe('its admin', () => {
    it('lists topics, and makes them with what they are to have', async () => {
      const { client } = port;
      const topic = await freshTopic(client, 4);
      expect(await client.admin.topics()).toContainEqual({ topic, partitions: 4 });
      expect(await client.admin.create({ topic, partitions: 2 })).toBe(false);
      expect(await client.admin.partitions(topic)).toBe(4);
      await expect(
        client.admin.create({ topic: `${topic}-x`, partitions: 1, replicationFactor: 9 }),
      ).rejects.toMatchObject({ code: 'BUS_TRANSPORT_REFUSED' });
    });

    it('finds positions by time', async () => {
      const { client } = port;
      const topic = await freshTopic(client);
      await store(client, [numbered(topic, 0, 0, 3)]);
      const reader = client.reader();
      const { value } = await reader.read({ topic, partition: 0, from: '0', to: '3' })[Symbol.asyncIterator]().next();
      await reader.close();
      expect(await client.admin.atTime(topic, (value as ReadBatch).records[0]!.timestamp)).toEqual([
        { partition: 0, offset: '0' },
      ]);
      expect(await client.admin.atTime(topic, Date.now() + 60_000)).toEqual([{ partition: 0, offset: '3' }]);
      expect(await client.admin.watermarks(topic)).toEqual([{ partition: 0, start: '0', end: '3' }]);
    });
  });
});

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);
