import { createRequire } from 'node:module';
import { inspect } from 'node:util';
import fc from 'fast-check';
import {
  BusError,
  defineEvent,
  schema,
  type BusRecord,
  type Envelope,
  type EventDefinition,
  type Header,
} from '@event-bus/core';
import { expect, test } from 'vitest';
import { avroCodec, type AvroCodecOptions } from './codec.js';
import { memoryStore, type SchemaStore } from './registry.js';
import { schemaText } from './schema-text.js';

const avsc = createRequire(import.meta.url)('avsc') as typeof import('avsc');

const schedule = schema.record('CourseScheduleData', {
  start: schema.dateTime(),
  pacing: schema.string(),
  end: schema.optional(schema.dateTime()),
});
const CHANGED = defineEvent({
  type: 'org.openedx.content_authoring.course.catalog_info.changed.v1',
  data: {
    catalog_info: schema.record('CourseCatalogData', {
      course_key: schema.courseKey(),
      name: schema.string(),
      schedule_data: schedule,
      hidden: schema.boolean(),
    }),
  },
});
const changed = {
  catalog_info: {
    course_key: 'course-v1:edX+Demo+2026',
    name: 'Démo',
    schedule_data: { start: '2026-01-02T03:04:05+00:00', pacing: 'self', end: null },
    hidden: false,
  },
};
const EVERYTHING = defineEvent({
  type: 'org.test.everything.happened.v1',
  data: {
    text: schema.string(),
    yes: schema.boolean(),
    long: schema.long(),
    big: schema.bigLong(),
    double: schema.double(),
    bytes: schema.bytes(),
    list: schema.array(schema.optional(schema.bigLong())),
    map: schema.map(schema.record('Entry', { at: schema.long(), tags: schema.array(schema.string()) })),
    one: schema.optional(schema.record('Entry', { at: schema.long(), tags: schema.array(schema.string()) })),
  },
});
const ROUTE = { topic: 'prod-course', keyField: 'catalog_info.course_key' };
const NO_KEY = { topic: 'prod-everything' };

test('an event comes back as it was sent, with its metadata', async () => {
  const { codec, prepared } = setup();
  await prepared(CHANGED, ROUTE);

  const record = codec.encode(CHANGED, envelope(CHANGED, changed), ROUTE, []) as BusRecord;

  expect(codec.decode(CHANGED, record)).toStrictEqual(changed);
  expect(codec.metadata(record)).toStrictEqual({
    metadata: envelope(CHANGED, changed).metadata,
    headers: Object.create(null),
  });
  expect(codec.eventType(record)).toBe(CHANGED.type);
});

test('the wire is that of Open edX: headers in order, subjects, schema texts, frames', async () => {
  const { codec, registered, prepared } = setup();
  await prepared(CHANGED, ROUTE);

  const extra: Header = ['causationid', Buffer.from('c')];
  const record = codec.encode(CHANGED, envelope(CHANGED, changed), ROUTE, [extra]) as BusRecord;

  expect(record.headers.map(([name, value]) => [name, Buffer.from(value).toString()])).toEqual([
    ['ce_specversion', '1.0'],
    ['content-type', 'application/avro'],
    ['ce_datacontenttype', 'application/avro'],
    ['ce_type', CHANGED.type],
    ['ce_id', 'e2e8ba5c-0ae7-11f1-9bd3-0242ac120002'],
    ['ce_source', 'openedx/studio/web'],
    ['ce_time', '2026-01-02T03:04:05.678901+00:00'],
    ['ce_minorversion', '0'],
    ['sourcehost', 'studio-1'],
    ['sourcelib', '11.2.0'],
    ['causationid', 'c'],
  ]);
  expect(registered).toEqual([
    [`prod-course-${CHANGED.type}.CloudEvent`, schemaText(CHANGED.avro)],
    ['prod-course-string', '{"name": "course_key", "type": "string"}'],
  ]);
  expect(record.key).toEqual(Buffer.from([0, 0, 0, 0, 2, 46, ...Buffer.from('course-v1:edX+Demo+2026')]));
  const plain = avsc.Type.forSchema(CHANGED.avro as never);
  expect(record.value).toEqual(Buffer.concat([Buffer.from([0, 0, 0, 0, 1]), plain.toBuffer(changed)]));
});

test.each([
  ['record-name', [`${CHANGED.type}.CloudEvent`, 'string']],
  ['topic-name', ['prod-course-value', 'prod-course-key']],
] as const)('subjects by %s', async (subjects, expected) => {
  const { registered, prepared } = setup({ subjects });

  await prepared(CHANGED, ROUTE);

  expect(registered.map(([subject]) => subject)).toEqual(expected);
});

test('every value that a definition allows survives', async () => {
  const { codec, prepared } = setup();
  await prepared(EVERYTHING, NO_KEY);
  const plain = { noNullPrototype: true };
  const entry = fc.record(
    { at: fc.maxSafeInteger(), tags: fc.array(fc.string({ unit: 'grapheme' }), { maxLength: 4 }) },
    plain,
  );
  const key = fc.string({ unit: 'grapheme' }).filter((text) => text !== '__proto__');
  const big = fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n);
  const fields = {
    text: fc.string({ unit: 'grapheme', maxLength: 100 }),
    yes: fc.boolean(),
    long: fc.maxSafeInteger(),
    big,
    double: fc.double(),
    bytes: fc.uint8Array().map((bytes) => Buffer.from(bytes)),
    list: fc.array(fc.option(big), { maxLength: 8 }),
    map: fc.dictionary(key, entry, { maxKeys: 5, ...plain }),
    one: fc.option(entry),
  };
  const data = fc.record(fields, plain);
  fc.assert(
    fc.property(data, (sent) => {
      const record = codec.encode(EVERYTHING, envelope(EVERYTHING, sent), NO_KEY, []) as BusRecord;
      expect(codec.decode(EVERYTHING, record)).toStrictEqual(sent);
    }),
    { numRuns: 300 },
  );
});

test('what was left out is null, each decode gives a fresh value, and records are independent', async () => {
  const { codec, prepared } = setup();
  await prepared(CHANGED, ROUTE);
  const { end: _, ...rest } = changed.catalog_info.schedule_data;
  const data = { catalog_info: { ...changed.catalog_info, schedule_data: rest } };

  const records = Array.from(
    { length: 5_000 },
    () => codec.encode(CHANGED, envelope(CHANGED, data), ROUTE, []) as BusRecord,
  );

  for (const record of records) expect(codec.decode(CHANGED, record)).toEqual(changed);
  expect(codec.decode(CHANGED, records[0]!)).not.toBe(codec.decode(CHANGED, records[0]!));
});

test('a record is encoded without a promise once its route is prepared, and with one before', async () => {
  const { codec, registered } = setup();

  const first = codec.encode(CHANGED, envelope(CHANGED, changed), ROUTE, []);
  const second = codec.encode(CHANGED, envelope(CHANGED, changed), ROUTE, []);

  expect(first).toBeInstanceOf(Promise);
  expect(await first).toEqual(await second);
  expect(registered).toHaveLength(2);
  expect(codec.encode(CHANGED, envelope(CHANGED, changed), ROUTE, [])).not.toBeInstanceOf(Promise);
});

test('a preparation that failed is tried again', async () => {
  let isDown = true;
  const { codec, store } = setup();
  const id = store.id.bind(store);
  store.id = async (subject, text) => {
    if (isDown) throw new BusError('BUS_REGISTRY_UNAVAILABLE', 'down');
    return id(subject, text);
  };
  await expect(codec.prepare(CHANGED, ROUTE)).rejects.toMatchObject({ code: 'BUS_REGISTRY_UNAVAILABLE' });
  await expect(codec.encode(CHANGED, envelope(CHANGED, changed), ROUTE, [])).rejects.toMatchObject({
    code: 'BUS_REGISTRY_UNAVAILABLE',
  });

  isDown = false;

  await codec.prepare(CHANGED, ROUTE);
});

test('a schema is asked of the store once, and decoding waits only for that', async () => {
  const { codec, prepared, store } = setup();
  await prepared(CHANGED, ROUTE);
  const record = codec.encode(CHANGED, envelope(CHANGED, changed), ROUTE, []) as BusRecord;
  let asked = 0;
  const late = avroCodec({ registry: { ...store, byId: async (id) => (asked++, store.byId(id)) } });

  const first = late.decode(CHANGED, record);

  expect(first).toBeInstanceOf(Promise);
  expect(await first).toEqual(changed);
  expect(late.decode(CHANGED, record)).toEqual(changed);
  expect(asked).toBe(1);
});

test('an old reader reads what a newer writer added to, and a newer reader fills what is missing', async () => {
  const older = defineEvent({
    type: 'org.test.grown.v1',
    data: { a: schema.string(), inner: schema.record('Inner', { n: schema.long() }) },
  });
  const newer = defineEvent({
    type: 'org.test.grown.v1',
    data: {
      first: schema.array(schema.map(schema.long())),
      a: schema.string(),
      inner: schema.record('Inner', { x: schema.bytes(), n: schema.bigLong() }),
      last: schema.optional(schema.string()),
    },
  });
  const { codec, bytesOf } = setup();
  const inner = { x: Buffer.from('x'), n: 7n };

  expect(codec.decode(older, await bytesOf(newer, { first: [{ k: 1 }], a: 'A', inner, last: 'z' }))).toStrictEqual({
    a: 'A',
    inner: { n: 7 },
  });
  const later = defineEvent({
    type: 'org.test.grown.v1',
    data: { a: schema.string(), b: schema.optional(schema.string()) },
  });
  expect(codec.decode(later, await bytesOf(older, { a: 'A', inner: { n: 1 } }))).toStrictEqual({ a: 'A', b: null });
});

test.each<[string, (record: BusRecord) => BusRecord, string]>([
  ['no value', (record) => ({ ...record, value: null }), 'no-value'],
  ['an empty value', (record) => ({ ...record, value: Buffer.alloc(0) }), 'not-framed'],
  ['another first byte', (record) => changedValue(record, (bytes) => (bytes[0] = 1)), 'not-framed'],
  ['schema id 0', (record) => changedValue(record, (bytes) => bytes.writeInt32BE(0, 1)), 'not-framed'],
  ['a negative schema id', (record) => changedValue(record, (bytes) => bytes.writeInt32BE(-1, 1)), 'not-framed'],
  ['a missing end', (record) => ({ ...record, value: record.value!.subarray(0, -1) }), 'truncated'],
  [
    'a byte too many',
    (record) => ({ ...record, value: Buffer.concat([record.value!, Buffer.alloc(1)]) }),
    'trailing-bytes',
  ],
  ['a value over the limit', (record) => ({ ...record, value: Buffer.alloc(1024 * 1024 + 1) }), 'value-too-large'],
])('a record with %s is refused with the reason', async (_, change, reason) => {
  const { codec, prepared } = setup();
  await prepared(CHANGED, ROUTE);
  const record = codec.encode(CHANGED, envelope(CHANGED, changed), ROUTE, []) as BusRecord;

  expect(() => codec.decode(CHANGED, change(record))).toThrow(failure('BUS_DECODE_FAILED', reason));
});

test('an unknown schema, another type, an unusable and an incompatible schema each have their error, also the second time', async () => {
  const { codec, bytesOf, foreign } = setup();
  const other = defineEvent({ type: 'org.test.other.v1', data: { a: schema.string() } });
  const mismatched = await bytesOf(other, { a: 'x' });
  const grown = { ...CHANGED.avro, fields: [{ name: 'other', type: 'string' }] };

  for (let i = 0; i < 2; i++) {
    expect(() => codec.decode(CHANGED, { key: null, value: Buffer.from([0, 0, 0, 0, 99]), headers: [] })).toThrow(
      expect.objectContaining({ code: 'BUS_SCHEMA_UNKNOWN', details: { schemaId: 99, type: CHANGED.type } }),
    );
    expect(() => codec.decode(CHANGED, mismatched)).toThrow(failure('BUS_DECODE_FAILED', 'type-mismatch'));
    expect(() => codec.decode(CHANGED, foreign('{"type": "record"}'))).toThrow(
      failure('BUS_DECODE_FAILED', 'unusable-schema'),
    );
    expect(() =>
      codec.decode(CHANGED, foreign(schemaText({ ...CHANGED.avro, fields: [{ name: 'a b', type: 'long' }] }))),
    ).toThrow(failure('BUS_DECODE_FAILED', 'unusable-schema'));
    expect(() => codec.decode(CHANGED, foreign(schemaText(grown)))).toThrow(
      failure('BUS_DECODE_FAILED', 'incompatible-schema'),
    );
  }
});

test('a long beyond 2^53 is refused, unless the definition asks for a bigint', async () => {
  const asNumber = defineEvent({ type: 'org.test.long.v1', data: { n: schema.long() } });
  const asBigint = defineEvent({ type: 'org.test.long.v1', data: { n: schema.bigLong() } });
  const { codec, bytesOf } = setup();
  const record = await bytesOf(asBigint, { n: 2n ** 60n });

  expect(codec.decode(asBigint, record)).toEqual({ n: 2n ** 60n });
  expect(() => codec.decode(asNumber, record)).toThrow(failure('BUS_DECODE_FAILED', 'long-too-large'));
  const least = await bytesOf(asNumber, { n: Number.MIN_SAFE_INTEGER });
  expect(codec.decode(asNumber, least)).toEqual({ n: Number.MIN_SAFE_INTEGER });
});

test('an event type with a hyphen is written and read, and registered with it', async () => {
  const reversed = defineEvent({ type: 'org.openedx.subsidy.redemption-reversed.v1', data: { a: schema.string() } });
  const { codec, prepared, registered } = setup();
  await prepared(reversed, NO_KEY);

  const record = codec.encode(reversed, envelope(reversed, { a: 'x' }), NO_KEY, []) as BusRecord;

  expect(codec.decode(reversed, record)).toEqual({ a: 'x' });
  expect(registered[0]![1]).toContain('org.openedx.subsidy.redemption-reversed.v1');
});

test('any edit of an honest value gives a plain value or a refusal, and no later value suffers', async () => {
  const { codec, prepared } = setup();
  await prepared(EVERYTHING, NO_KEY);
  const entry = { at: 5, tags: ['a', 'bb'] };
  const sent = {
    text: 'hello',
    yes: true,
    long: -3,
    big: 4n,
    double: 0.5,
    bytes: Buffer.from('xyz'),
    list: [1n, null],
    map: { k: entry },
    one: entry,
  };
  const honest = codec.encode(EVERYTHING, envelope(EVERYTHING, sent), NO_KEY, []) as BusRecord;
  const edit = fc.tuple(
    fc.nat(),
    fc.integer({ min: 0, max: 255 }),
    fc.constantFrom('set', 'insert', 'remove', 'flood'),
  );
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
      const value = edits.reduce(edited, Buffer.from(honest.value!));

      try {
        const read = codec.decode(EVERYTHING, { ...honest, value });
        if (!(read instanceof Promise)) expect(Object.getPrototypeOf(read)).toBe(Object.prototype);
      } catch (error) {
        expect(['BUS_DECODE_FAILED', 'BUS_SCHEMA_UNKNOWN']).toContain((error as BusError).code);
      }
      expect(codec.decode(EVERYTHING, honest)).toStrictEqual(sent);
    }),
    { numRuns: 3_000 },
  );
});

test('data that does not match is named by path and never quoted', async () => {
  const { codec, prepared } = setup();
  await prepared(CHANGED, ROUTE);
  const data = { catalog_info: { ...changed.catalog_info, name: 4711, hidden: 'secret' } };

  const error = thrownBy(() => codec.encode(CHANGED, envelope(CHANGED, data), ROUTE, []));

  expect(error).toMatchObject({ code: 'BUS_ENCODE_FAILED', details: { reason: 'bad-data' } });
  expect(error.message).toContain('catalog_info.name');
  expect(inspect(error, { depth: 9 })).not.toMatch(/4711|secret/);
});

test.each<[string, EventDefinition, unknown, string]>([
  ['a map with the key __proto__', EVERYTHING, { map: JSON.parse('{"__proto__": {"at": 1, "tags": []}}') }, 'bad-key'],
  ['a map with half a surrogate pair as key', EVERYTHING, { map: { '\ud800': { at: 1, tags: [] } } }, 'bad-text'],
  ['a value over the limit', EVERYTHING, { bytes: Buffer.alloc(1024 * 1024) }, 'value-too-large'],
  ['a value far over the limit', EVERYTHING, { bytes: Buffer.alloc(4 * 1024 * 1024) }, 'value-too-large'],
])('%s cannot be sent', async (_, definition, part, reason) => {
  const { codec, prepared } = setup();
  await prepared(definition, NO_KEY);
  const valid = {
    text: '',
    yes: true,
    long: 0,
    big: 0n,
    double: 0,
    bytes: Buffer.alloc(0),
    list: [],
    map: {},
    one: null,
  };

  const send = (data: object) => codec.encode(definition, envelope(definition, data), NO_KEY, []);

  expect(() => send({ ...valid, ...(part as object) })).toThrow(failure('BUS_ENCODE_FAILED', reason));
  expect(codec.decode(definition, send(valid) as BusRecord)).toEqual(valid);
});

test('the largest value that may be written may be read', async () => {
  const definition = defineEvent({ type: 'org.test.large.v1', data: { bytes: schema.bytes() } });
  for (const maxValueBytes of [1_000, 300_000, 1024 * 1024, 3 * 1024 * 1024]) {
    const { codec, prepared } = setup({ maxValueBytes });
    await prepared(definition, NO_KEY);
    const send = (size: number) =>
      codec.encode(definition, envelope(definition, { bytes: Buffer.alloc(size, 7) }), NO_KEY, []) as BusRecord;
    const overhead = send(500).value!.length - 500 + (maxValueBytes > 2 ** 20 ? 2 : maxValueBytes > 8192 * 2 ? 1 : 0);

    const record = send(maxValueBytes - overhead);

    expect(record.value!.length).toBeLessThanOrEqual(maxValueBytes);
    expect((codec.decode(definition, record) as { bytes: Buffer }).bytes.length).toBe(maxValueBytes - overhead);
    expect(() => send(maxValueBytes)).toThrow(failure('BUS_ENCODE_FAILED', 'value-too-large'));
  }
});

test('headers that readers would refuse are refused when sent', async () => {
  const { codec, prepared } = setup();
  await prepared(CHANGED, ROUTE);
  const send = (headers: Header[]) => () => codec.encode(CHANGED, envelope(CHANGED, changed), ROUTE, headers);

  expect(send([['ce_id', Buffer.from('x')]])).toThrow(failure('BUS_ENCODE_FAILED', 'reserved-header'));
  expect(send(Array.from({ length: 247 }, (_, i): Header => [`h${i}`, Buffer.alloc(0)]))).toThrow(
    failure('BUS_ENCODE_FAILED', 'too-many-headers'),
  );
  expect(send([['h', Buffer.alloc(70_000)]])).toThrow(failure('BUS_ENCODE_FAILED', 'headers-too-large'));
});

test('metadata of another event type are refused', async () => {
  const { codec, prepared } = setup();
  await prepared(CHANGED, ROUTE);

  expect(() => codec.encode(CHANGED, envelope(EVERYTHING, changed), ROUTE, [])).toThrow(
    failure('BUS_ENCODE_FAILED', 'type-mismatch'),
  );
});

test('an event sent by a getter in the middle of another is written beside it', async () => {
  const { codec, prepared } = setup();
  await prepared(CHANGED, ROUTE);
  let inside: BusRecord | undefined;
  const info = {
    ...changed.catalog_info,
    get hidden() {
      inside = codec.encode(CHANGED, envelope(CHANGED, changed), ROUTE, []) as BusRecord;
      return false;
    },
  };

  const outside = codec.encode(CHANGED, envelope(CHANGED, { catalog_info: info }), ROUTE, []) as BusRecord;

  expect(codec.decode(CHANGED, outside)).toEqual(changed);
  expect(codec.decode(CHANGED, inside!)).toEqual(changed);
});

test("with a schema of the registry's own choice, events are written with that when it can carry them", async () => {
  const definition = defineEvent({
    type: 'org.test.carried.v1',
    data: { a: schema.string(), o: schema.optional(schema.long()) },
  });
  const carriers = [
    {
      ...definition.avro,
      fields: [
        { name: 'new', type: 'long', default: 9 },
        { name: 'o', type: ['null', 'long'], default: null },
        { name: 'a', type: 'string' },
      ],
    },
    { ...definition.avro, doc: 'another text' },
  ];
  for (const carrier of carriers) {
    const store = memoryStore();
    const codec = avroCodec({ registry: { ...store, id: (subject) => store.id(subject, schemaText(carrier)) } });
    await codec.prepare(definition, NO_KEY);

    const record = codec.encode(definition, envelope(definition, { a: 'A', o: 3 }), NO_KEY, []) as BusRecord;

    const read = avsc.Type.forSchema(carrier as never).fromBuffer(Buffer.from(record.value!).subarray(5));
    expect({ ...read }).toMatchObject({ a: 'A', o: 3 });
    expect(codec.decode(definition, record)).toEqual({ a: 'A', o: 3 });
  }
});

test.each<[string, object]>([
  ['lacks a field', { fields: [{ name: 'a', type: 'string' }] }],
  [
    'has another type',
    {
      fields: [
        { name: 'a', type: 'bytes' },
        { name: 'o', type: ['null', 'long'] },
      ],
    },
  ],
  [
    'does not take null',
    {
      fields: [
        { name: 'a', type: 'string' },
        { name: 'o', type: 'long' },
      ],
    },
  ],
  [
    'wants a field more',
    {
      fields: [
        { name: 'a', type: 'string' },
        { name: 'o', type: ['null', 'long'] },
        { name: 'x', type: 'long' },
      ],
    },
  ],
  ['is another record', { namespace: 'org.test.other.v1' }],
  ['is not usable', { fields: 3 }],
])('a schema of the registry that %s stops the start', async (_, part) => {
  const definition = defineEvent({
    type: 'org.test.carried.v1',
    data: { a: schema.string(), o: schema.optional(schema.long()) },
  });
  const store = memoryStore();
  const codec = avroCodec({
    registry: { ...store, id: (subject) => store.id(subject, schemaText({ ...definition.avro, ...part })) },
  });

  await expect(codec.prepare(definition, NO_KEY)).rejects.toThrow(
    failure('BUS_TRANSPORT_REFUSED', 'incompatible-schema'),
  );
});

test('wrong options are refused with what they must be', () => {
  expect(() => avroCodec({ registry: memoryStore(), maxValueBytes: 0 })).toThrow(
    'Option "maxValueBytes" must be a positive integer, got 0.',
  );
  expect(() => avroCodec({ registry: memoryStore(), subjects: 'topic' as never })).toThrow(
    /Option "subjects" must be one of/,
  );
});

test('a definition that Avro cannot tell apart stops the start', async () => {
  const { codec } = setup();
  const definition = defineEvent({
    type: 'org.test.union.v1',
    data: { a: schema.optional(schema.optional(schema.string())) },
  });

  await expect(codec.prepare(definition, NO_KEY)).rejects.toMatchObject({ code: 'BUS_CONFIG_INVALID' });
});

test('closing the codec closes the store', async () => {
  let isClosed = false;
  const codec = avroCodec({ registry: { ...memoryStore(), close: () => void (isClosed = true) } });

  await codec.close();

  expect(isClosed).toBe(true);
});

test('a process that forbids functions made from text is told so at once', () => {
  const { Function: original } = globalThis;
  globalThis.Function = class {
    constructor() {
      throw new EvalError('Code generation from strings disallowed for this context');
    }
  } as never;
  try {
    expect(() => avroCodec({ registry: memoryStore() })).toThrow(/without --disallow-code-generation-from-strings/);
  } finally {
    globalThis.Function = original;
  }
});

test('says what data weigh that are much larger in memory than their bytes, and nothing of others', async () => {
  const list = defineEvent({
    type: 'org.test.list.grown.v1',
    data: { items: schema.array(schema.record('Item', { note: schema.optional(schema.string()) })) },
  });
  const { codec, prepared } = setup();
  await prepared(list, NO_KEY);
  const encode = (data: unknown) => codec.encode(list, envelope(list, data), NO_KEY, []) as BusRecord;
  const weights: number[] = [];
  const weigh = (bytes: number) => weights.push(bytes);
  codec.decode(list, encode({ items: [{}, {}, {}] }), weigh);
  expect(weights).toEqual([]);
  const large = encode({ items: Array.from({ length: 10_000 }, () => ({})) });
  codec.decode(list, large, weigh);
  expect(weights).toHaveLength(1);
  expect(weights[0]).toBeGreaterThan(20 * large.value!.length);
});

function setup(options: Partial<AvroCodecOptions> = {}) {
  const registered: [subject: string, text: string][] = [];
  const memory = memoryStore();
  const store: SchemaStore = {
    ...memory,
    id(subject, text) {
      registered.push([subject, text]);
      return memory.id(subject, text);
    },
  };
  const codec = avroCodec({ registry: { ...memory, id: (...args) => store.id(...args) }, ...options });
  /** A record with a schema that somebody else registered, and no data. */
  const foreign = (text: string): BusRecord => {
    const frame = Buffer.alloc(5);
    frame.writeInt32BE(memory.id('foreign', text) as number, 1);
    return { key: null, value: frame, headers: [] };
  };
  /** What another service writes, with the same registry. */
  const bytesOf = async (definition: EventDefinition, data: unknown) => {
    const other = avroCodec({ registry: memory });
    return other.encode(definition, envelope(definition, data), NO_KEY, []);
  };
  const prepared = (definition: EventDefinition, route: { topic: string; keyField?: string }) =>
    codec.prepare(definition, route);
  return { codec, store, registered, foreign, bytesOf, prepared };
}

function envelope(definition: EventDefinition, data: unknown): Envelope {
  const metadata = {
    id: 'e2e8ba5c-0ae7-11f1-9bd3-0242ac120002',
    type: definition.type,
    minorversion: 0,
    source: 'openedx/studio/web',
    sourcehost: 'studio-1',
    time: '2026-01-02T03:04:05.678901+00:00',
    sourcelib: '11.2.0',
  };
  return { metadata, data };
}

function changedValue(record: BusRecord, change: (bytes: Buffer) => unknown): BusRecord {
  const value = Buffer.from(record.value!);
  change(value);
  return { ...record, value };
}

function edited(value: Buffer, [place, byte, how]: readonly [number, number, string]): Buffer {
  const at = place % (value.length + 1);
  const [before, after] = [value.subarray(0, at), value.subarray(at)];
  if (how === 'insert') return Buffer.concat([before, Buffer.from([byte]), after]);
  if (how === 'flood') return Buffer.concat([before, Buffer.alloc(byte, 0x80), after]);
  return Buffer.concat([before, how === 'set' ? Buffer.from([byte]) : Buffer.alloc(0), after.subarray(1)]);
}

function thrownBy(run: () => unknown): Error {
  try {
    run();
  } catch (error) {
    return error as Error;
  }
  throw new Error('nothing was thrown');
}

const failure = (code: string, reason: string) =>
  expect.objectContaining({ code, details: expect.objectContaining({ reason }) });
