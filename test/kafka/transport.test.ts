/** What the suite of promises does not say of the transport, on a broker: its ends, and its switches. */
import { kafka, type KafkaCodec, type KafkaOptions } from '@event-bus/kafka';
import type { PublishOutcome, Receiver, StoredRecord, Transport } from '@event-bus/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { addressesOf, startServers } from './broker.js';
import { deleteBefore, eventually, freshTopic, kafkajs, openPort, record, type Port } from './port.js';

const servers = await startServers();
const brokers = addressesOf(servers);

describe.skipIf(!servers)('the transport on Kafka', () => {
  let port: Port;
  const opened: Transport[] = [];
  beforeAll(() => void (port = openPort(brokers, { fastPath: false })));
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((transport) => transport.close()));
  });
  afterAll(async () => {
    await port.client.close();
    await servers!.stop();
  });

  async function open(options: Partial<KafkaOptions> = {}): Promise<Transport> {
    const transport = kafka({ brokers, registry: { url: 'http://127.0.0.1:1' }, onNotice: () => {}, ...options });
    opened.push(transport);
    await transport.open();
    return transport;
  }

  async function all(transport: Transport, topic: string): Promise<StoredRecord[]> {
    const records: StoredRecord[] = [];
    for await (const one of transport.read({ topic })) records.push(one);
    return records;
  }

  const text = ({ value }: StoredRecord) => Buffer.from(value!).toString();

  // The first ones of this process: what is switched on stays on.
  describe.each([
    ['without the fast path', false],
    ['without the encoder', { encode: false }],
    ['with the fast path', {}],
  ] as const)('%s', (_, fastPath) => {
    it('writes and reads keys, values and headers', async () => {
      const topic = await freshTopic(port.client);
      const transport = await open({ fastPath });
      const headers = [
        ['ce_type', Buffer.from('a')],
        ['ce_id', Buffer.from([0, 255])],
      ] as const;
      const sent = [record('one', { key: 'k', headers }), { key: null, value: null, headers: [] }];

      await transport.publish(topic, sent);

      const read = await all(transport, topic);
      expect(read.map(({ key, value, headers }) => ({ key, value, headers }))).toEqual(sent);
    });
  });

  it('says what switching the encoder off costs', async () => {
    const notices: string[] = [];
    await open({ fastPath: { encode: false }, onNotice: ({ text }) => notices.push(text) });
    expect(notices.join()).toMatch(/Without our encoder headers lose/);
  });

  it('chooses partitions as Java producers do when it is told to', async () => {
    const topic = await freshTopic(port.client, 7);
    const transport = await open({ partitioner: (asked) => (asked === topic ? 'murmur2' : 'crc32') });
    const producer = new kafkajs.Kafka({ brokers, logLevel: 0 }).producer({
      createPartitioner: kafkajs.Partitioners.DefaultPartitioner,
    });
    await producer.connect();
    const keys = Array.from({ length: 50 }, (_, n) => `course-${n}`);
    await producer.send({ topic, messages: keys.map((key) => ({ key, value: 'theirs' })) });
    await producer.disconnect();

    await transport.publish(
      topic,
      keys.map((key) => record('ours', { key })),
    );

    const partitions = new Map<string, Set<number>>(keys.map((key) => [key, new Set()]));
    for (const { key, partition } of await all(transport, topic))
      partitions.get(Buffer.from(key!).toString())!.add(partition);
    expect([...partitions.values()].every(({ size }) => size === 1)).toBe(true);
    expect(new Set([...partitions.values()].flatMap((found) => [...found])).size).toBe(7);
  });

  it('refuses a function that names another partitioner, instead of taking one of them', async () => {
    const topic = await freshTopic(port.client);
    const transport = await open({ partitioner: () => 'murmur3' as 'murmur2' });
    await expect(transport.publish(topic, [record('a', { key: 'k' })])).rejects.toMatchObject({
      code: 'BUS_CONFIG_INVALID',
      message: expect.stringMatching(/for topic "t-.*" it answered "murmur3"/),
    });
    const outcomes: PublishOutcome[] = [];
    transport.publishOne!(topic, record('a', { key: 'k' }), 1_000, (outcome) => outcomes.push(outcome));
    await eventually(() => outcomes.length === 1);
    expect(outcomes[0]).toMatchObject({ status: 'not-stored', error: { code: 'BUS_CONFIG_INVALID' } });
  });

  it('reads what others compressed, with a codec that is handed in', async () => {
    const topic = await freshTopic(port.client);
    const transport = await open({ codecs: { snappy: literalSnappy } });
    await all(transport, topic); // registers the codec
    const producer = new kafkajs.Kafka({ brokers, logLevel: 0 }).producer();
    await producer.connect();
    await producer.send({ topic, compression: kafkajs.CompressionTypes.Snappy, messages: [{ value: 'x'.repeat(70) }] });
    await producer.disconnect();

    expect((await all(transport, topic)).map(text)).toEqual(['x'.repeat(70)]);
  });

  it('names the records that went while it read', async () => {
    const topic = await freshTopic(port.client);
    const transport = await open();
    const publish = (values: string[]) =>
      transport.publish(
        topic,
        values.map((value) => record(value)),
      );
    await publish(['0', '1', '2', '3']);
    const reading = transport.read({ topic, to: 'follow' })[Symbol.asyncIterator]();
    const read = [text((await reading.next()).value as StoredRecord)];
    await publish(['4', '5', '6', '7']);
    await deleteBefore(brokers, topic, 0, 6);

    const rest = (async () => {
      for (;;) read.push(text((await reading.next()).value as StoredRecord));
    })();

    await expect(rest).rejects.toMatchObject({ code: 'BUS_DATA_LOSS', details: { topic, partition: 0, to: '6' } });
    expect(read).toEqual(['0', '1', '2', '3']);
  });

  describe('when it is closed', () => {
    const silent: Receiver = {
      assigned: () => {},
      receive: () => {},
      revoking: async () => {},
      lost: () => {},
      trouble: () => {},
    };
    const sockets = () => process.getActiveResourcesInfo().filter((kind) => kind === 'TCPSocketWrap').length;

    it('ends what is being read, by name', async () => {
      const topic = await freshTopic(port.client);
      const transport = await open();
      await transport.publish(topic, [record('0')]);
      const before = sockets();
      const reading = transport.read({ topic, to: 'follow' })[Symbol.asyncIterator]();
      await reading.next();
      const next = reading.next();

      await transport.close();

      await expect(next).rejects.toMatchObject({ code: 'BUS_CLOSED' });
      await expect(all(transport, topic)).rejects.toMatchObject({ code: 'BUS_CLOSED' });
      await eventually(() => sockets() < before);
    });

    it('stops what is being subscribed to', async () => {
      const topic = await freshTopic(port.client);
      const transport = await open();
      const received: string[] = [];
      const receive: Receiver['receive'] = ({ records }) => void received.push(...records.map(text));
      const subscribing = transport.subscribe({ topics: [topic], group: topic }, { ...silent, receive });
      const refused = expect(subscribing).rejects.toMatchObject({ code: 'BUS_CLOSED' });

      await transport.close();
      await refused;

      const other = await open();
      await other.publish(topic, [record('after the close')]);
      const seen: string[] = [];
      const heir = await other.subscribe(
        { topics: [topic], group: topic },
        { ...silent, receive: ({ records }) => void seen.push(...records.map(text)) },
      );
      await eventually(() => seen.length === 1);
      await heir.stop();
      expect(received).toEqual([]);
    });
  });
});

/** Snappy, as far as it goes with one literal of 61 to 127 bytes: their number, the tag of a literal, its length minus one. */
const literalSnappy: KafkaCodec = {
  compress: (bytes) => Buffer.concat([Buffer.from([bytes.length, 60 << 2, bytes.length - 1]), bytes]),
  decompress: (bytes) => bytes.subarray(3),
};
