/**
 * What others may do to a group on a real Kafka: records that were made up, a registry that is away, a log that was made anew or cut off
 * under its readers. The hostile records are written by a client that knows nothing of the bus.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { httpRegistry, type SchemaStore } from '@event-bus/avro';
import { createBus, signals, type Bus, type BusOptions, type BusRecord, type Transport } from '@event-bus/core';
import { kafka, type KafkaOptions } from '@event-bus/kafka';
import { tcpProxy } from '@event-bus/testing';
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import {
  addExtraField,
  checkDeadLetters,
  flood,
  freely,
  goodRecord,
  hostileRecords,
  manyHostile,
  mixed,
  Observed,
  type Bench,
} from '../hostile-records.js';
import { addressesOf, startRegistry, startServers } from './broker.js';
import { deleteBefore, eventually, kafkajs, openPort, store, type Port } from './port.js';

const HEAP_BYTES = 256 * 2 ** 20;
// A record of this size is below the limit of Kafka itself.
const LARGE_HEADER_BYTES = 1_000_000;

const [servers, registry] = await Promise.all([startServers(), startRegistry()]);

describe.skipIf(!servers || !registry)('a group on Kafka', () => {
  const brokers = addressesOf(servers);
  const client = new kafkajs.Kafka({ brokers, logLevel: 0 });
  const foreign = client.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner });
  const admin = client.admin();
  let port: Port;
  let transport: Transport;
  let schemas: SchemaStore;
  const closing: (() => Promise<void> | void)[] = [];

  beforeAll(async () => {
    port = openPort(brokers);
    transport = connection();
    schemas = httpRegistry({ url: registry!.env.SCHEMA_REGISTRY_URL });
    await Promise.all([foreign.connect(), admin.connect(), transport.open()]);
  });
  afterEach(async () => {
    for (const close of closing.splice(0).reverse()) await close();
  });
  afterAll(async () => {
    await Promise.all([
      foreign.disconnect(),
      admin.disconnect(),
      transport.close(),
      schemas.close(),
      port.client.close(),
    ]);
    await Promise.all([servers!.stop(), registry!.stop()]);
  });

  const connection = (options: Partial<KafkaOptions> = {}) =>
    kafka({ brokers, registry: { url: registry!.env.SCHEMA_REGISTRY_URL }, onNotice: () => {}, ...options });

  async function bench(): Promise<Bench> {
    const topic = `hostile-${randomUUID().slice(0, 8)}`;
    await transport.ensureTopic(topic, { partitions: 1 });
    const register = async (subject: string, text: string) => schemas.id(subject, text);
    return { topic, transport, register, largeHeaderBytes: LARGE_HEADER_BYTES };
  }

  /** In order, at most so many bytes at a time as a broker takes. */
  async function write(topic: string, records: readonly BusRecord[]): Promise<void> {
    for (const part of parts(records)) {
      const headers = part.map(headersOf);
      if (headers.includes(undefined)) await store(port.client, [{ topic, partition: 0, records: part }]);
      else
        await foreign.send({
          topic,
          messages: part.map(({ key, value }, i) => ({
            partition: 0,
            key: key && Buffer.from(key),
            value: value && Buffer.from(value),
            headers: headers[i]!,
          })),
        });
    }
  }

  async function start(
    topic: string,
    group: string,
    options: Partial<BusOptions> = {},
  ): Promise<{ readonly bus: Bus; readonly seen: Observed; readonly stop: () => Promise<void> }> {
    const name = `${topic}-${group}-${randomUUID().slice(0, 4)}`;
    const bus = createBus({ service: 'catalog', name, transport: connection(), commitIntervalMs: 200, ...options });
    const seen = new Observed(bus, topic, group);
    const stop = () => bus.close().finally(() => seen.end());
    closing.push(stop);
    await bus.start();
    return { bus, seen, stop };
  }

  /** A group of its own reads the topic to its end. */
  async function read(topic: string, group: string, count: number): Promise<Observed> {
    const { seen, stop } = await start(topic, group);
    await eventually(() => seen.count + seen.dead.length >= count);
    await settled(topic, group);
    await stop();
    return seen;
  }

  const settled = (topic: string, group: string) =>
    eventually(async () => (await transport.positions({ topic, group })).every(({ lag }) => lag === 0));

  const goodOnes = (on: Bench, from: number, to: number) =>
    Promise.all(Array.from({ length: to - from }, (_, i) => goodRecord(on, `${from + i}`)));

  it('keeps what cannot be read byte for byte with its reason, and handles what is around it in order', async () => {
    const on = await bench();
    const hostile = await hostileRecords(on);
    const { records, handled } = await mixed(on, hostile);
    await write(on.topic, records);
    await read(on.topic, 'warm-up', records.length);

    const seen = await freely((attempt) => read(on.topic, `catalog-${attempt}`, records.length));

    expect(seen.handled).toEqual(handled);
    expect(seen.skipped).toEqual([]);
    await checkDeadLetters(on, seen.group, hostile, seen.dead, false);
    expect(({} as Record<string, unknown>)['isAdmin']).toBeUndefined();
  });

  it('is neither held up nor filled by two thousand of them in a row', async () => {
    const on = await bench();
    const good = await goodRecord(on, 'flooded');
    const records = [...Array.from({ length: 200 }, () => flood(good, 5_000)), ...(await manyHostile(on, 1_800))];
    await write(on.topic, records);
    await read(on.topic, 'warm-up', records.length);
    const before = process.memoryUsage().heapUsed;

    const seen = await freely((attempt) => read(on.topic, `catalog-${attempt}`, records.length));

    expect(seen.dead).toHaveLength(2_000);
    expect(Object.values(seen.handled)).toEqual([['the last']]);
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(HEAP_BYTES);
  });

  it('keeps a batch that unpacks to more than the limit as one dead letter, and goes on behind it', async () => {
    const on = await bench();
    const [first, last] = await goodOnes(on, 0, 2);
    await write(on.topic, [first!]);
    const zeros = Array.from({ length: 70 }, () => ({ partition: 0, value: Buffer.alloc(2 ** 20) }));
    await foreign.send({ topic: on.topic, compression: kafkajs.CompressionTypes.GZIP, messages: zeros });
    await write(on.topic, [last!]);

    const seen = await read(on.topic, 'catalog', 3);

    expect(Object.values(seen.handled)).toEqual([['0', '1']]);
    expect(seen.dead).toMatchObject([{ offset: '70', reason: 'BUS_DECODE_FAILED' }]);
    expect(String(seen.dead[0]!.error)).toContain('a batch of 70 records that cannot be read');
    const letters: BusRecord[] = [];
    for await (const letter of transport.read({ topic: `${on.topic}-dead-catalog` })) letters.push(letter);
    const [firstOffset, count] = [0, 57] as const;
    const kept = Buffer.from(letters[0]!.value!);
    expect([kept.readBigInt64BE(firstOffset), kept.readInt32BE(count)]).toEqual([1n, 70]);
  });

  it('waits with a record that is too large for a dead letter, says so, and keeps it once it may be larger', async () => {
    const on = await bench();
    const [first, last] = await goodOnes(on, 0, 2);
    const paused = heard(signals.paused);
    await write(on.topic, [first!, { ...first!, value: Buffer.alloc(1_020_000, 1) }, last!]);

    const { seen, stop } = await start(on.topic, 'catalog', { stopTimeoutMs: 500 });
    await eventually(() => seen.count === 2 && paused.some(({ reason }) => reason === 'dead-letter'));
    await eventually(async () => (await committed(on.topic, 'catalog')) === '1');
    expect(paused[0]).toMatchObject({ error: { code: 'BUS_RECORD_TOO_LARGE' } });
    await stop();

    const again = await start(on.topic, 'catalog', { transport: connection({ maxRecordBytes: 1_040_000 }) });
    await eventually(() => again.seen.dead.length === 1);
    await settled(on.topic, 'catalog');
    expect(Object.values(again.seen.handled).flat()).toEqual([]);
  });

  it('waits while the registry is away and a schema is new, makes no dead letter of it, and goes on by itself', async () => {
    const on = await bench();
    const url = new URL(registry!.env.SCHEMA_REGISTRY_URL);
    const proxy = await tcpProxy({ host: url.hostname, port: Number(url.port) });
    closing.push(() => proxy.close());
    url.port = String(proxy.port);
    const paused = heard(signals.paused);
    const resumed = heard(signals.resumed);
    const [first, ...others] = await goodOnes(on, 0, 4);
    await write(on.topic, [first!]);
    const { bus, seen } = await start(on.topic, 'catalog', { transport: connection({ registry: { url: url.href } }) });
    await eventually(() => seen.count === 1);

    const end = proxy.refuse();
    await write(on.topic, [others[0]!, await addExtraField(on, others[1]!), others[2]!]);
    await eventually(() => paused.length > 0);
    await eventually(() => bus.status().consumers[0]!.waiting.length > 0);
    expect(paused).toMatchObject([{ reason: 'registry', error: { code: 'BUS_REGISTRY_UNAVAILABLE' } }]);
    expect(bus.status().consumers[0]!.waiting).toMatchObject([{ reason: 'registry', records: 1 }]);
    await eventually(async () => (await committed(on.topic, 'catalog')) === '2');
    expect(Object.values(seen.handled)).toEqual([['0', '1']]);
    end();

    await eventually(() => seen.count === 4);
    await settled(on.topic, 'catalog');
    expect(Object.values(seen.handled)).toEqual([['0', '1', '2', '3']]);
    expect(seen.dead).toEqual([]);
    expect(resumed).toMatchObject([{ reason: 'registry' }]);
    expect(bus.status().consumers[0]!.waiting).toEqual([]);
  });

  it.each([
    { how: 'at once, with fewer records', goneMs: 0, count: 3, commitIntervalMs: 200 },
    { how: 'at once, with more records', goneMs: 0, count: 9, commitIntervalMs: 200 },
    { how: 'after a while, with more records, before it committed', goneMs: 1_000, count: 9, commitIntervalMs: 5_000 },
  ])('begins anew, and says so, when its topic is deleted and made anew under it $how', async (remade) => {
    const { goneMs, count, commitIntervalMs } = remade;
    const on = await bench();
    const troubles = heard(signals.trouble);
    const lost = heard(signals.dataLoss);
    await write(on.topic, await goodOnes(on, 0, 5));
    const { seen } = await start(on.topic, 'catalog', { commitIntervalMs });
    await eventually(() => seen.count === 5);
    if (commitIntervalMs < 1_000) await settled(on.topic, 'catalog');

    await remake(on.topic, goneMs);
    await write(on.topic, await goodOnes(on, 100, 100 + count));
    await eventually(() => seen.count >= 5 + count);
    await settled(on.topic, 'catalog');

    const names = Array.from({ length: count }, (_, i) => `${100 + i}`);
    expect(Object.values(seen.handled)).toEqual([['0', '1', '2', '3', '4', ...names]]);
    const errors = troubles.flatMap(({ error }) => (error === undefined ? [] : [error]));
    expect([...errors, ...lost]).not.toEqual([]);
  });

  it('begins anew when its topic was deleted and made anew while it was stopped: Kafka forgets its position', async () => {
    const on = await bench();
    await write(on.topic, await goodOnes(on, 0, 5));
    await read(on.topic, 'catalog', 5);

    await remake(on.topic);
    await write(on.topic, await goodOnes(on, 100, 109));
    const seen = await read(on.topic, 'catalog', 9);

    expect(Object.values(seen.handled)).toEqual([Array.from({ length: 9 }, (_, i) => `${100 + i}`)]);
  });

  it('begins anew, and says so, when its position is beyond the end of the log', async () => {
    const on = await bench();
    const lost = heard(signals.dataLoss);
    await write(on.topic, await goodOnes(on, 0, 5));
    await admin.setOffsets({
      groupId: 'catalog-beyond',
      topic: on.topic,
      partitions: [{ partition: 0, offset: '90' }],
    });

    const seen = await read(on.topic, 'catalog-beyond', 5);

    expect(Object.values(seen.handled)).toEqual([['0', '1', '2', '3', '4']]);
    expect(lost).toMatchObject([{ topic: on.topic, partition: 0, from: '5', to: '90' }]);
  });

  it('says which records were deleted while it was stopped, and goes on behind them', async () => {
    const on = await bench();
    const lost = heard(signals.dataLoss);
    await write(on.topic, await goodOnes(on, 0, 5));
    await read(on.topic, 'catalog', 5);
    await write(on.topic, await goodOnes(on, 5, 20));
    await deleteBefore(brokers, on.topic, 0, 12);

    const seen = await read(on.topic, 'catalog', 8);

    expect(Object.values(seen.handled)).toEqual([Array.from({ length: 8 }, (_, i) => `${12 + i}`)]);
    expect(lost).toMatchObject([{ topic: on.topic, partition: 0, from: '5', to: '12', count: 7 }]);
  });

  it('says which records were deleted before it read them, and goes on behind them', async () => {
    const on = await bench();
    const lost = heard(signals.dataLoss);
    const filling = [['filling', Buffer.alloc(60_000)]] as const;
    const records = (await goodOnes(on, 0, 200)).map((one) => ({ ...one, headers: [...one.headers, ...filling] }));
    await write(on.topic, records);
    const { bus, seen } = await start(on.topic, 'catalog', { maxInFlight: { records: 2 } });
    bus.pause('view');
    await eventually(() => bus.status().consumers[0]!.inFlight >= 2);
    await deleteBefore(brokers, on.topic, 0, 180);
    bus.resume('view');
    await eventually(() => lost.length > 0);
    await settled(on.topic, 'catalog');

    const from = Number(lost[0]!.from);
    expect(lost).toMatchObject([{ topic: on.topic, partition: 0, to: '180', count: 180 - from }]);
    const expected = Array.from({ length: 200 }, (_, i) => i).filter((n) => n < from || n >= 180);
    expect(Object.values(seen.handled)).toEqual([expected.map(String)]);
  });

  async function committed(topic: string, group: string): Promise<string | undefined> {
    return (await transport.positions({ topic, group }))[0]!.committed;
  }

  async function remake(topic: string, goneMs = 0): Promise<void> {
    await admin.deleteTopics({ topics: [topic] });
    await eventually(async () => !(await admin.listTopics()).includes(topic));
    await sleep(goneMs);
    await transport.ensureTopic(topic, { partitions: 1 });
  }
});

function heard<Fact>(signal: { subscribe(hear: (fact: Fact) => void): () => void }): Fact[] {
  const facts: Fact[] = [];
  onTestFinished(signal.subscribe((fact) => facts.push(fact)));
  return facts;
}

type ForeignHeaders = Record<string, Buffer | Buffer[]>;

/** As an object, which is all that kafkajs takes; `undefined` when repeats stand apart. */
function headersOf({ headers }: BusRecord): ForeignHeaders | undefined {
  const object = Object.create(null) as ForeignHeaders;
  let last: string | undefined;
  for (const [name, bytes] of headers) {
    const known = object[name];
    if (known === undefined) object[name] = Buffer.from(bytes);
    else if (name !== last) return undefined;
    else if (Array.isArray(known)) known.push(Buffer.from(bytes));
    else object[name] = [known, Buffer.from(bytes)];
    last = name;
  }
  return object;
}

function* parts(records: readonly BusRecord[]): Generator<BusRecord[]> {
  let part: BusRecord[] = [];
  let bytes = 0;
  for (const record of records) {
    const size = 200 + sizeOf(record);
    const isApart = headersOf(record) === undefined;
    if (part.length > 0 && (isApart || bytes + size > 500_000)) {
      yield part;
      part = [];
      bytes = 0;
    }
    part.push(record);
    bytes += isApart ? Infinity : size;
  }
  if (part.length > 0) yield part;
}

const sizeOf = ({ key, value, headers }: BusRecord) =>
  (key?.length ?? 0) +
  (value?.length ?? 0) +
  headers.reduce((sum, [name, bytes]) => sum + name.length + bytes.length + 10, 0);
