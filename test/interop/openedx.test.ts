/** Nobody on a topic can tell a Nest service from a Django one: each handles what the other sent, and the records of both are the same bytes. */
import { randomUUID } from 'node:crypto';
import { schemaText } from '@event-bus/avro/internal';
import {
  createBus,
  defineEvent,
  schema,
  type AvroSchema,
  type Bus,
  type EventDefinition,
  type EventMetadata,
  type Routes,
  type Schema,
  type StoredRecord,
} from '@event-bus/core';
import { kafka } from '@event-bus/kafka';
import { COURSE_CATALOG_INFO_CHANGED } from '@event-bus/openedx';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addressesOf, preparePython, startRegistry, startServers } from '../kafka/broker.js';
import { eventually } from '../kafka/port.js';
import { django, type Django, type DjangoConsumer, type Order } from './django.js';
import { EVERY_KIND, LEAST, MOST, REDEMPTION_REVERSED, XBLOCK_PUBLISHED, received, toPlain } from './events.js';

const [servers, registry, packages] = [await startServers(), await startRegistry(), await preparePython()];

describe.skipIf(!servers || !registry || !packages)("Open edX's own packages", () => {
  // A run of its own on servers that may be older than it.
  const run = randomUUID().slice(0, 8);
  const buses: Bus[] = [];
  let edx: Django;
  beforeAll(() => {
    edx = django(packages!.python, {
      KAFKA_BROKERS: servers!.env.KAFKA_BROKERS,
      SCHEMA_REGISTRY_URL: registry!.env.SCHEMA_REGISTRY_URL,
      EVENT_BUS_TOPIC_PREFIX: PREFIX,
      EVENTS_SERVICE_NAME: 'studio',
      EVENT_BUS_PRODUCER_CONFIG: JSON.stringify({
        [COURSE_CATALOG_INFO_CHANGED.type]: {
          [topicOf('signals')]: { event_key_field: 'catalog_info.course_key', enabled: true },
        },
      }),
    });
  });
  afterAll(async () => {
    await Promise.all(buses.map((bus) => bus.close()));
    await edx.close();
    await Promise.all([servers!.stop(), registry!.stop()]);
  });

  const topicOf = (name: string) => `${name}-${run}`;

  function open(
    service: string,
    topic: string,
    environment: { readonly id?: () => string } = {},
    cases: readonly Case[] = CASES,
  ): Bus {
    const transport = kafka({
      brokers: addressesOf(servers),
      registry: { url: registry!.env.SCHEMA_REGISTRY_URL },
      createTopics: { partitions: 5 },
    });
    const bus = createBus(
      {
        service,
        transport,
        topicPrefix: PREFIX,
        routes: routesTo(topic, cases),
        events: cases.map(({ definition }) => definition),
        ...FIXED,
      },
      environment,
    );
    buses.push(bus);
    return bus;
  }

  const orderOf = ({ definition, keyField, data }: Case, topic: string, id: string): Order => ({
    type: definition.type,
    topic,
    key_field: keyField,
    data: toPlain(data) as object,
    metadata: { ...FIXED_METADATA, id },
  });

  describe('sends what our handlers handle', () => {
    it('all event types of a topic, each with its own handler, with their metadata', async () => {
      const topic = topicOf('from-django');
      const bus = open('catalog', topic);
      const handled: { readonly data: unknown; readonly event: EventMetadata }[] = [];
      for (const definition of new Set(CASES.map((one) => one.definition)))
        bus.handle(definition, { id: definition.type, topic }, (data, { event }) => void handled.push({ data, event }));
      await bus.start();

      const ids = CASES.map(() => uuid1());
      const told = await edx.produce(CASES.map((one, i) => orderOf(one, topic, ids[i]!)));
      await eventually(() => handled.length >= CASES.length);

      expect(told.map(({ id }) => id)).toEqual(ids);
      const byId = new Map(handled.map((one) => [one.event.id, one]));
      for (const [i, { definition, expected }] of CASES.entries()) {
        const { data, event } = byId.get(ids[i]!)!;
        expect(plain(data)).toEqual(plain(expected));
        expect(event).toEqual({
          ...METADATA,
          id: ids[i],
          type: definition.type,
          minorversion: definition.minorversion,
        });
      }
      expect(handled.length).toBe(CASES.length);
    });

    it('a signal that its own settings put on the bus', async () => {
      const topic = topicOf('signals');
      const bus = open('catalog', topic);
      const handled: unknown[] = [];
      bus.handle(COURSE_CATALOG_INFO_CHANGED, { id: 'catalog', topic }, (data, { event }) =>
        handled.push([data, event.source]),
      );
      await bus.start();

      const { definition, data } = CASES[0]!;
      await edx.produce([{ type: definition.type, data }]);

      await eventually(() => handled.length > 0);
      expect(handled).toEqual([[CASES[0]!.expected, 'openedx/studio/web']]);
    });
  });

  describe('handles what we send', () => {
    it('all event types of a topic, as signals from the event bus, without an error', async () => {
      const topic = topicOf('to-django');
      const ids = CASES.map(() => uuid1());
      const bus = open('studio', topic, { id: sequence(ids) });
      await bus.open();
      for (const { definition, data } of CASES) await bus.send(definition, data, { time: FIXED_METADATA.time });

      const consumer = edx.consume({ topic, group: `${run}-django` });
      await arrived(consumer, CASES.length);
      await consumer.stop();

      const byId = new Map(consumer.received.map((one) => [one.metadata['id'], one]));
      for (const [i, { definition, expected }] of CASES.entries()) {
        const one = byId.get(ids[i])!;
        expect(one).toMatchObject({ type: definition.type, from_event_bus: true });
        expect(one.metadata).toMatchObject({
          ...METADATA,
          sourcelib: [11, 2, 0],
          event_type: definition.type,
          minorversion: definition.minorversion,
        });
        expect(one.data).toEqual(toPlain(plain(expected)));
      }
      expect(consumer.received.length).toBe(CASES.length);
    });

    it('in the order of a key, from where its group stopped', async () => {
      const topic = topicOf('order');
      const bus = open('studio', topic);
      await bus.open();
      const send = (n: number) => bus.send(XBLOCK_PUBLISHED, xblock(n), { time: FIXED_METADATA.time });
      for (let n = 0; n < 20; n++) void send(n);
      const first = edx.consume({ topic, group: `${run}-order` });
      await arrived(first, 20);
      await first.stop();
      for (let n = 20; n < 40; n++) await send(n);

      const second = edx.consume({ topic, group: `${run}-order` });
      await arrived(second, 20);
      await second.stop();

      const versions = [...first.received, ...second.received].map(
        ({ data }) => (data['xblock_info'] as { readonly block_type: string }).block_type,
      );
      expect(versions).toEqual(Array.from({ length: 40 }, (_, n) => String(n)));
    });
  });

  describe('write the same records as we do', () => {
    it('for the same event with the same id: key, value, headers and partition, whoever is first', async () => {
      const [oursFirst, theirsFirst] = [topicOf('ours-first'), topicOf('theirs-first')];
      const ids = CASES.map(() => uuid1());
      const sendOurs = async (topic: string) => {
        const bus = open('studio', topic, { id: sequence(ids) });
        await bus.open();
        for (const { definition, data } of CASES) await bus.send(definition, data, { time: FIXED_METADATA.time });
        return bus;
      };
      const sendTheirs = (topic: string) => edx.produce(CASES.map((one, i) => orderOf(one, topic, ids[i]!)));

      const bus = await sendOurs(oursFirst);
      await sendTheirs(oursFirst);
      await bus.transport.ensureTopic(`${PREFIX}-${theirsFirst}`, { partitions: 5 });
      await sendTheirs(theirsFirst);
      await sendOurs(theirsFirst);

      for (const topic of [oursFirst, theirsFirst]) {
        const records = await all(bus.transport.read({ topic: `${PREFIX}-${topic}` }));
        expect(records.length).toBe(2 * CASES.length);
        for (const id of ids) {
          const [one, other] = records.filter((record) => headerOf(record, 'ce_id') === id);
          expect(bytesOf(other!)).toEqual(bytesOf(one!));
          expect(other!.partition).toBe(one!.partition);
        }
      }
      expect(
        new Set((await all(bus.transport.read({ topic: `${PREFIX}-${oursFirst}` }))).map((r) => r.partition)).size,
      ).toBeGreaterThan(1);
      const subjects = await subjectsOf(oursFirst);
      expect(Object.keys(subjects)).toContain(`${PREFIX}-${oursFirst}-string`);
      expect(Object.keys(subjects)).toContain(`${PREFIX}-${oursFirst}-${EVERY_KIND.type}.CloudEvent`);
      expect(rename(subjects, oursFirst)).toEqual(rename(await subjectsOf(theirsFirst), theirsFirst));
    });

    it('with the headers in the order that was seen', async () => {
      const topic = topicOf('headers');
      const bus = open('studio', topic, { id: () => FIXED_ID });
      await bus.open();
      await bus.send(CASES[0]!.definition, CASES[0]!.data, { time: FIXED_METADATA.time });
      const [record] = await all(bus.transport.read({ topic: `${PREFIX}-${topic}` }));
      expect(record!.headers.map(([name, value]) => [name, Buffer.from(value).toString()])).toEqual([
        ['ce_specversion', '1.0'],
        ['content-type', 'application/avro'],
        ['ce_datacontenttype', 'application/avro'],
        ['ce_type', COURSE_CATALOG_INFO_CHANGED.type],
        ['ce_id', FIXED_ID],
        ['ce_source', 'openedx/studio/web'],
        ['ce_time', FIXED_METADATA.time],
        ['ce_minorversion', '0'],
        ['sourcehost', 'host-1'],
        ['sourcelib', '11.2.0'],
      ]);
    });

    // Its name is the namespace of its schema, where Avro's own parser allows no hyphen; registries differ.
    it('or none of us does, because the registry refuses the schema of both', async () => {
      const topic = topicOf('hyphen');
      const redemption = { subsidy_identifier: 'ß-1', content_key: 'course-v1:edX+DemoX+2026', lms_user_id: 2 ** 40 };
      const data = { redemption };
      const hyphen: Case = {
        definition: REDEMPTION_REVERSED,
        keyField: 'redemption.content_key',
        data,
        expected: data,
      };
      const id = uuid1();
      const bus = open('studio', topic, { id: () => id }, [hyphen]);
      await bus.transport.open();
      await bus.transport.ensureTopic(`${PREFIX}-${topic}`);

      const sendOurs = async () => {
        await bus.open();
        await bus.send(REDEMPTION_REVERSED, data, { time: FIXED_METADATA.time });
      };
      const [ours, theirs] = await Promise.allSettled([sendOurs(), edx.produce([orderOf(hyphen, topic, id)])]);

      const records = await all(bus.transport.read({ topic: `${PREFIX}-${topic}` }));
      if (ours.status === 'rejected') {
        expect(ours.reason).toMatchObject({
          code: 'BUS_TRANSPORT_REFUSED',
          details: { subject: `${PREFIX}-${topic}-${REDEMPTION_REVERSED.type}.CloudEvent`, status: 422 },
        });
        expect(theirs).toMatchObject({
          reason: { message: expect.stringMatching(/SchemaRegistryError: .*HTTP status code 422/) as string },
        });
        expect(records).toEqual([]);
      } else {
        const [one, other] = records;
        expect(bytesOf(other!)).toEqual(bytesOf(one!));
      }
    });

    /** Every version of every subject of a topic. */
    async function subjectsOf(topic: string): Promise<Record<string, readonly string[]>> {
      const url = registry!.env.SCHEMA_REGISTRY_URL;
      const get = async <T>(path: string) => (await (await fetch(url + path)).json()) as T;
      const subjects = (await get<string[]>('/subjects')).filter((subject) =>
        subject.startsWith(`${PREFIX}-${topic}-`),
      );
      const versions = subjects.sort().map(async (subject) => {
        const numbers = await get<number[]>(`/subjects/${encodeURIComponent(subject)}/versions`);
        const texts = numbers.map(
          async (n) => (await get<{ schema: string }>(`/subjects/${encodeURIComponent(subject)}/versions/${n}`)).schema,
        );
        return [subject, await Promise.all(texts)] as const;
      });
      return Object.fromEntries(await Promise.all(versions));
    }
  });

  describe('register the same schemas', () => {
    let theirs: Awaited<ReturnType<Django['schemas']>>;
    beforeAll(async () => void (theirs = await edx.schemas()));

    it.each([COURSE_CATALOG_INFO_CHANGED, XBLOCK_PUBLISHED, REDEMPTION_REVERSED, EVERY_KIND])(
      'of $type',
      ({ type, avro }) => {
        expect(schemaText(avro)).toBe(theirs[type]!.schema);
      },
    );

    it('of a key', async () => {
      const ours = COURSE_CATALOG_INFO_CHANGED.key('catalog_info.course_key');
      const text = await edx.keySchema(COURSE_CATALOG_INFO_CHANGED.type, 'catalog_info.course_key');
      expect(schemaText(ours.schema)).toBe(text);
    });

    it('of every event type that openedx-events can put on a bus, written in our own words', () => {
      const known = Object.entries(theirs).flatMap(([type, { schema: text }]) =>
        text === undefined ? [] : [{ type, text }],
      );
      expect(known.length).toBeGreaterThan(70);
      for (const { type, text } of known) {
        const { fields } = JSON.parse(text) as { fields: readonly AvroField[] };
        const records = new Map<string, Schema<any, any>>();
        const definition = defineEvent({ type, data: fieldsOf(fields, records) });
        expect(schemaText(definition.avro)).toBe(text);
      }
    });
  });
});

const PREFIX = 'stage';
const FIXED = { sourceHost: 'host-1', sourceLib: '11.2.0' };
const FIXED_METADATA = {
  time: '2026-01-02T03:04:05.678901+00:00',
  source: 'openedx/studio/web',
  sourcehost: 'host-1',
  sourcelib: [11, 2, 0],
};
const METADATA = { ...FIXED_METADATA, sourcelib: '11.2.0' };
const FIXED_ID = 'e2e8ba5c-0ae7-11f1-9bd3-0242ac120002';

interface Case {
  readonly definition: EventDefinition;
  readonly keyField: string;
  readonly data: any;
  /** What a handler gets. */
  readonly expected: unknown;
}

const xblock = (n: number) => ({
  xblock_info: {
    usage_key: 'block-v1:edX+DemoX+2026+type@problem+block@one',
    block_type: String(n),
  },
});

const schedule = { start: '2026-01-02T03:04:05+00:00', pacing: 'instructor' };
const course = {
  course_key: 'course-v1:edX+DemoX+2026',
  name: 'Физика für Ängstliche 🧲',
  hidden: false,
  invitation_only: true,
};
const CASES: readonly Case[] = [
  {
    definition: COURSE_CATALOG_INFO_CHANGED,
    keyField: 'catalog_info.course_key',
    data: { catalog_info: { ...course, schedule_data: schedule } },
    expected: {
      catalog_info: {
        ...course,
        schedule_data: { ...schedule, end: null, enrollment_start: null, enrollment_end: null },
      },
    },
  },
  ...['set', 'also set'].map((name, i): Case => {
    const schedule_data = {
      ...schedule,
      end: `203${i}-12-31T23:59:59+00:00`,
      enrollment_start: null,
      enrollment_end: schedule.start,
    };
    const catalog_info = { ...course, course_key: `course-v1:edX+${i}+2026`, name, schedule_data };
    return {
      definition: COURSE_CATALOG_INFO_CHANGED,
      keyField: 'catalog_info.course_key',
      data: { catalog_info },
      expected: { catalog_info },
    };
  }),
  {
    definition: XBLOCK_PUBLISHED,
    keyField: 'xblock_info.usage_key',
    data: xblock(1),
    expected: { xblock_info: { ...xblock(1).xblock_info, version: null } },
  },
  ...[LEAST, MOST].map((data): Case => ({
    definition: EVERY_KIND,
    keyField: 'kinds.course_key',
    data,
    expected: received(EVERY_KIND, data),
  })),
];

function routesTo(topic: string, cases: readonly Case[]): Routes {
  return Object.fromEntries(cases.map(({ definition, keyField }) => [definition.type, { [topic]: { keyField } }]));
}

async function arrived(consumer: DjangoConsumer, count: number): Promise<void> {
  await eventually(() => consumer.received.length >= count || consumer.errors.length > 0);
  expect(consumer.errors).toEqual([]);
}

function sequence(ids: readonly string[]): () => string {
  let next = 0;
  return () => ids[next++]!;
}

function uuid1(): string {
  return `${randomUUID().slice(0, 14)}1${randomUUID().slice(15)}`;
}

async function all(records: AsyncIterable<StoredRecord>): Promise<StoredRecord[]> {
  const found: StoredRecord[] = [];
  for await (const record of records) found.push(record);
  return found;
}

const headerOf = ({ headers }: StoredRecord, wanted: string) =>
  headers.filter(([name]) => name === wanted).map(([, value]) => Buffer.from(value).toString())[0];

const hex = (bytes: Uint8Array | null) => (bytes === null ? null : Buffer.from(bytes).toString('hex'));

const bytesOf = ({ key, value, headers }: StoredRecord) => ({
  key: hex(key),
  value: hex(value),
  headers: headers.map(([name, bytes]) => [name, hex(bytes)]),
});

/** Without the prototypes that readers give their objects. */
const plain = (value: unknown): unknown =>
  Array.isArray(value)
    ? value.map(plain)
    : typeof value === 'object' && value !== null && !Buffer.isBuffer(value)
      ? Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]))
      : value;

const rename = (subjects: Record<string, readonly string[]>, topic: string) =>
  Object.fromEntries(Object.entries(subjects).map(([subject, texts]) => [subject.replace(topic, 'topic'), texts]));

type AvroField = { readonly name: string; readonly type: AvroSchema };

/** An Avro schema of Open edX in the words of ours. */
function fieldsOf(
  fields: readonly AvroField[],
  records: Map<string, Schema<any, any>>,
): Record<string, Schema<any, any>> {
  return Object.fromEntries(fields.map(({ name, type }) => [name, schemaOf(type, records)]));
}

function schemaOf(avro: AvroSchema, records: Map<string, Schema<any, any>>): Schema<any, any> {
  if (Array.isArray(avro)) return schema.optional(schemaOf(avro[1] as AvroSchema, records));
  if (typeof avro === 'string') return records.get(avro) ?? SCALARS[avro]!();
  const { type, items, values, name, fields } = avro as unknown as Record<
    'type' | 'items' | 'values' | 'name',
    string
  > & {
    readonly fields: readonly AvroField[];
  };
  if (type === 'array') return schema.array(schemaOf(items, records));
  if (type === 'map') return schema.map(schemaOf(values, records));
  const record = schema.record(name, fieldsOf(fields, records));
  records.set(name, record);
  return record;
}

const SCALARS: Readonly<Record<string, () => Schema<any, any>>> = {
  string: schema.string,
  boolean: schema.boolean,
  long: schema.long,
  double: schema.double,
  bytes: schema.bytes,
};
