/**
 * Records that whoever may write to a topic can make up, in order to stop, mislead or fill up those who read it; each with what must become
 * of it. The same on every transport: the log carries bytes, and does not look at them.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import {
  defineEvent,
  isoTime,
  schema,
  signals,
  type Bus,
  type BusErrorCode,
  type BusRecord,
  type DeadFact,
  type DeliveryContext,
  type EventDefinition,
  type Header,
  type Transport,
} from '@event-bus/core';
import { recordBytes } from '@event-bus/core/internal';
import { COURSE_CATALOG_INFO_CHANGED } from '@event-bus/openedx';
import { expect } from 'vitest';

export const COURSE = COURSE_CATALOG_INFO_CHANGED;

/** Lists and maps to be read, where the catalogue's event has none. */
export const ROSTER = defineEvent({
  type: 'org.openedx.test.roster.changed.v1',
  data: { learners: schema.array(schema.string()), rights: schema.map(schema.map(schema.boolean())) },
});

export interface Hostile {
  readonly name: string;
  readonly record: BusRecord;
  /** `handled`, or the reason of its dead letter and what `details.reason` of the error says. */
  readonly fate: 'handled' | { readonly code: BusErrorCode; readonly reason?: string };
}

export interface Bench {
  readonly topic: string;
  readonly transport: Transport;
  /** Registers a schema under the subject of an event type of the topic; answers its id. */
  register(subject: string, text: string): Promise<number>;
  /** A header of so many bytes still fits into a record of the transport, and into its dead letter as it is kept. */
  readonly largeHeaderBytes: number;
}

/** An event that everybody can read. All are of one course, and so of one partition and one line. */
export function goodRecord(bench: Pick<Bench, 'topic' | 'transport'>, name: string): Promise<BusRecord> {
  const data = {
    catalog_info: {
      course_key: 'course-v1:edX+Hostile+2026',
      name,
      schedule_data: { start: '2026-01-02T03:04:05+00:00', pacing: 'self', end: null },
      hidden: false,
      invitation_only: false,
    },
  };
  return encoded(bench, COURSE, data, 'catalog_info.course_key', name);
}

/** What the handler sees in an event: its name, or which list it is. */
export const nameOf = (data: any): string => data.catalog_info?.name ?? `roster of ${data.learners.length}`;

/** The name in those hostile records that are handled all the same. */
export const DECOY = 'the bytes of a good one';

export async function hostileRecords(bench: Bench): Promise<Hostile[]> {
  const good = await goodRecord(bench, DECOY);
  return [...ofHeaders(bench, good), ...ofFrames(good), ...(await ofAvro(bench, good))];
}

function ofHeaders({ largeHeaderBytes }: Bench, good: BusRecord): Hostile[] {
  const plain = (count: number, size: number) => Array.from({ length: count }, () => header('x', '.'.repeat(size)));
  const odd = ['constructor', '__proto__', 'toString', 'hasOwnProperty', 'prototype', ''].map((name) =>
    header(name, `of ${name}`),
  );
  const repeated = ['one', 'two', 'three'].map((value) => header('trace', value));
  const more = (...headers: Header[]) => ({ ...good, headers: [...good.headers, ...headers] });
  const without = (name: string) => ({ ...good, headers: good.headers.filter(([given]) => given !== name) });
  const having = (name: string, value: string | Buffer) => ({
    ...good,
    headers: good.headers.map((one) => (one[0] === name ? header(name, value) : one)),
  });
  const unread = (reason: string) => ({ code: 'BUS_DECODE_FAILED' as const, reason });
  return [
    { name: '5 000 headers', record: more(...plain(5_000, 1)), fate: unread('headers') },
    { name: '5 000 empty headers in front', record: flood(good, 5_000), fate: unread('headers') },
    { name: '257 headers', record: more(...plain(247, 1)), fate: unread('headers') },
    { name: 'a large header', record: more(...plain(1, largeHeaderBytes)), fate: unread('headers') },
    { name: 'a header with a large name', record: more(header('n'.repeat(100_000), '')), fate: unread('headers') },
    { name: 'headers with names that objects have', record: more(...odd), fate: 'handled' },
    {
      name: 'headers with names that objects have, on garbage',
      record: { ...more(...odd), value: garbage(50) },
      fate: unread('not-framed'),
    },
    { name: 'repeated headers', record: more(...repeated), fate: 'handled' },
    {
      name: 'repeated headers, on garbage',
      record: { ...more(...repeated, header('between', '-'), ...repeated), value: garbage(50) },
      fate: unread('not-framed'),
    },
    { name: 'two ids', record: more(header('ce_id', 'another')), fate: unread('repeated-header') },
    { name: 'two types', record: more(header('ce_type', ROSTER.type)), fate: unread('repeated-header') },
    { name: 'no type', record: without('ce_type'), fate: unread('no-type') },
    { name: 'no id', record: without('ce_id'), fate: unread('no-id') },
    { name: 'an empty id', record: having('ce_id', ''), fate: unread('no-id') },
    { name: 'no headers at all', record: { ...good, headers: [] }, fate: unread('no-id') },
    { name: 'a type that is no text', record: having('ce_type', garbage(30)), fate: unread('header-not-utf8') },
    { name: 'an id that is no text', record: having('ce_id', garbage(30)), fate: unread('header-not-utf8') },
    {
      name: 'a minor version without number',
      record: having('ce_minorversion', '1e9'),
      fate: unread('bad-minorversion'),
    },
    { name: 'a time that is none', record: having('ce_time', 'yesterday at noon \0'), fate: 'handled' },
    { name: 'an empty time', record: having('ce_time', ''), fate: 'handled' },
  ];
}

function ofFrames(good: BusRecord): Hostile[] {
  const value = Buffer.from(good.value!);
  const schemaId = (id: number) => {
    const copy = Buffer.from(value);
    copy.writeInt32BE(id, 1);
    return copy;
  };
  const unread = (reason: string) => ({ code: 'BUS_DECODE_FAILED' as const, reason });
  const valued = (name: string, bytes: Buffer | null, reason: string): Hostile => ({
    name,
    record: { ...good, value: bytes },
    fate: unread(reason),
  });
  return [
    valued('garbage', garbage(500), 'not-framed'),
    { name: 'a key of garbage', record: { ...good, key: garbage(40) }, fate: 'handled' },
    { name: 'an empty key', record: { ...good, key: Buffer.alloc(0) }, fate: 'handled' },
    {
      name: 'garbage all over',
      record: { ...good, key: garbage(40), value: garbage(900) },
      fate: unread('not-framed'),
    },
    valued('an empty value', Buffer.alloc(0), 'not-framed'),
    valued('no value', null, 'no-value'),
    { name: 'no key and no value', record: { ...good, key: null, value: null }, fate: unread('no-value') },
    valued('half of a frame', value.subarray(0, 3), 'not-framed'),
    valued('a frame alone', value.subarray(0, 5), 'truncated'),
    valued('one byte too few', value.subarray(0, -1), 'truncated'),
    valued('one byte too many', Buffer.concat([value, Buffer.alloc(1)]), 'trailing-bytes'),
    valued('the value twice', Buffer.concat([value, value]), 'trailing-bytes'),
    valued('another first byte', Buffer.concat([Buffer.from([1]), value.subarray(1)]), 'not-framed'),
    valued('schema id 0', schemaId(0), 'not-framed'),
    valued('schema id -1', schemaId(-1), 'not-framed'),
    {
      name: 'a schema id that nobody has',
      record: { ...good, value: schemaId(0x7fff_fff0) },
      fate: { code: 'BUS_SCHEMA_UNKNOWN' },
    },
    {
      name: 'the type of another schema',
      record: {
        ...good,
        headers: good.headers.map((one) => (one[0] === 'ce_type' ? header('ce_type', ROSTER.type) : one)),
      },
      fate: unread('type-mismatch'),
    },
    valued('text that is not UTF-8', replaced(value, 'a good one', garbage(10)), 'bad-text'),
  ];
}

/** The bombs of avro.md, in fields that the reader wants, and in fields of the writer's own that it passes over. */
async function ofAvro(bench: Bench, good: BusRecord): Promise<Hostile[]> {
  const hostile: Hostile[] = [];
  const roster = await encoded(bench, ROSTER, { learners: ['a'], rights: {} }, undefined, 'roster');
  const frame = Buffer.from(roster.value!).subarray(0, 5);
  for (const [name, bytes, reason] of READ_BOMBS) {
    const record = { ...roster, key: good.key, value: Buffer.concat([frame, Buffer.from(bytes)]) };
    hostile.push({ name: `${name}, read`, record, fate: { code: 'BUS_DECODE_FAILED', reason } });
  }
  const subject = `${bench.topic}-${COURSE.type}.CloudEvent`;
  const body = Buffer.from(good.value!).subarray(5);
  for (const [name, type, bytes, reason] of SKIPPED_BOMBS) {
    const id = await bench.register(subject, JSON.stringify(extended(type)));
    const value = Buffer.concat([frameOf(id), Buffer.from(bytes), body]);
    const fate = reason === undefined ? ('handled' as const) : { code: 'BUS_DECODE_FAILED' as const, reason };
    hostile.push({ name: `${name}, passed over`, record: { ...good, value }, fate });
  }
  return hostile;
}

/** The schema of the course with a field in front that our reader does not have. */
const extended = (type: unknown) => ({
  ...COURSE.avro,
  fields: [{ name: 'extra', type }, ...(COURSE.avro as unknown as { fields: readonly object[] }).fields],
});

/** An Avro long, however large. */
export function long(value: bigint): number[] {
  let zigzag = BigInt.asUintN(64, (value << 1n) ^ (value >> 63n));
  const bytes: number[] = [];
  for (; zigzag >= 0x80n; zigzag >>= 7n) bytes.push(Number(zigzag & 0x7fn) | 0x80);
  return [...bytes, Number(zigzag)];
}

const text = (value: string) => [...long(BigInt(Buffer.byteLength(value))), ...Buffer.from(value)];
const HUGE = [2n ** 53n, 2n ** 53n + 1n, 2n ** 63n - 1n, 20_000_000n, 2_000_000_000n];

/** Of a roster: what is in it besides is missing, since nobody comes so far. */
const READ_BOMBS: readonly (readonly [name: string, bytes: readonly number[], reason: string])[] = [
  ...HUGE.map((count) => [`a list of ${count}`, long(count), 'too-many-items'] as const),
  ...HUGE.map((count) => [`a map of ${count}`, [0, ...long(count)], 'too-many-items'] as const),
  ['a list that moves the cursor back', [0x01, 0x03, 0x02], 'bad-block'],
  ['a list of -2^63 items', [...long(-(2n ** 63n)), 2, 0], 'too-many-items'],
  ['a list whose block is larger than the value', [...long(-1n), ...long(2n ** 53n)], 'bad-block'],
  ['a map that moves the cursor back', [0, 0x01, 0x03, 0x02], 'bad-block'],
  ['a text of 2^53 bytes', [2, ...long(2n ** 53n), 0x61], 'truncated'],
  ['a text of 2 000 million bytes', [2, ...long(2_000_000_000n), 0x61], 'truncated'],
  ['a text of -1 bytes', [2, ...long(-1n), 0x61, 0, 0], 'bad-number'],
  ['a text of -2^63 bytes', [2, ...long(-(2n ** 63n)), 0x61, 0, 0], 'bad-number'],
  ['a number without end', [2, ...Array<number>(150).fill(0x80), 0], 'bad-number'],
  ['the key __proto__', [0, 2, ...text('__proto__'), 2, ...text('isAdmin'), 1, 0, 0], 'bad-key'],
];

const NODE = { type: 'record', name: 'Node', fields: [{ name: 'next', type: ['null', 'Node'] }] };

/** Without a reason: the field is as it should be, and the event is good. */
const SKIPPED_BOMBS: readonly (readonly [name: string, type: unknown, bytes: readonly number[], reason?: string])[] = [
  ['a list of 2^53', { type: 'array', items: 'long' }, long(2n ** 53n), 'too-many-items'],
  ['a list of 20 million nulls', { type: 'array', items: 'null' }, [...long(20_000_000n), 0], 'too-many-items'],
  [
    'a list of 20 million empty records',
    { type: 'array', items: { type: 'record', name: 'Empty', fields: [] } },
    [...long(20_000_000n), 0],
    'too-many-items',
  ],
  ['a list that moves the cursor back', { type: 'array', items: 'int' }, [0x01, 0x03, 0x02], 'bad-block'],
  ['a map of 2^53', { type: 'map', values: 'long' }, long(2n ** 53n), 'too-many-items'],
  ['a map that moves the cursor back', { type: 'map', values: 'int' }, [0x01, 0x03, 0x02], 'bad-block'],
  ['bytes of 2^53', 'bytes', long(2n ** 53n), 'truncated'],
  ['bytes of -5', 'bytes', long(-5n), 'bad-number'],
  ['100 000 levels', NODE, [...Array<number>(100_000).fill(2), 0], 'too-deep'],
  [
    '100 levels',
    { ...NODE, name: 'Shallow', fields: [{ name: 'next', type: ['null', 'Shallow'] }] },
    [...Array<number>(100).fill(2), 0],
  ],
  [
    'a schema that holds itself',
    { type: 'record', name: 'Self', fields: [{ name: 'self', type: 'Self' }] },
    [],
    'unusable-schema',
  ],
  [
    'a schema with the field __proto__',
    { type: 'record', name: 'Proto', fields: [{ name: '__proto__', type: 'long' }] },
    [2],
    'unusable-schema',
  ],
  ['a schema of 100 levels', levels(100), [0], 'unusable-schema'],
  ['a schema of 3 000 fields', wide(1, 3_000), Array<number>(3_000).fill(0), 'unusable-schema'],
  ['a schema as large as is taken', wide(90, 9), Array<number>(810).fill(0)],
];

/** Lists of lists. */
function levels(count: number): unknown {
  return count === 0 ? 'long' : { type: 'array', items: levels(count - 1) };
}

/** Records one behind the other, so many fields each. */
function wide(records: number, fields: number, name = `Wide${fields}x`): unknown {
  const record = (at: number) => ({
    type: 'record',
    name: `${name}${at}`,
    fields: Array.from({ length: fields }, (_, i) => ({ name: `f${i}`, type: 'long' })),
  });
  if (records === 1) return record(0);
  return {
    type: 'record',
    name: `${name}Outer`,
    fields: Array.from({ length: records }, (_, i) => ({ name: `r${i}`, type: record(i) })),
  };
}

/** A good record in front of each hostile one, and one at the end; and what must be handled of it. */
export async function mixed(
  bench: Bench,
  hostile: readonly Hostile[],
): Promise<{ readonly records: readonly BusRecord[]; readonly handled: Lines }> {
  const records: BusRecord[] = [];
  const handled: Lines = {};
  const add = (record: BusRecord, name: string | undefined) => {
    records.push(record);
    if (name !== undefined) addLine(handled, record.key, name);
  };
  for (const [i, { record, fate }] of hostile.entries()) {
    add(await goodRecord(bench, `good ${i}`), `good ${i}`);
    add(record, fate === 'handled' ? DECOY : undefined);
  }
  add(await goodRecord(bench, 'the last'), 'the last');
  return { records, handled };
}

/** The same event, written with a schema that nobody has read yet. */
export async function addExtraField(bench: Bench, record: BusRecord): Promise<BusRecord> {
  const id = await bench.register(`${bench.topic}-${COURSE.type}.CloudEvent`, JSON.stringify(extended('long')));
  const body = Buffer.from(record.value!).subarray(5);
  return { ...record, value: Buffer.concat([frameOf(id), Buffer.alloc(1), body]) };
}

/** So many hostile records in a row, as small ones as make a log of them possible, and a good one behind them. */
export async function manyHostile(bench: Bench, count: number): Promise<BusRecord[]> {
  // An id that nobody has is looked up twice each time, with seconds between.
  const kinds = (await hostileRecords(bench)).filter(
    ({ record, fate }) => fate !== 'handled' && fate.code !== 'BUS_SCHEMA_UNKNOWN' && recordBytes(record) < 120_000,
  );
  const records = Array.from({ length: count }, (_, i) => kinds[i % kinds.length]!.record);
  return [...records, await goodRecord(bench, 'the last')];
}

/** Good records, each written with a schema of its own that takes long to make a reader of. */
export async function manySchemas(bench: Bench, count: number): Promise<BusRecord[]> {
  const good = await goodRecord(bench, DECOY);
  const body = Buffer.from(good.value!).subarray(5);
  const records: BusRecord[] = [];
  for (let n = 0; n < count; n++) {
    const text = JSON.stringify(extended(wide(80, 10, `Many${n}_`)));
    const id = await bench.register(`${bench.topic}-${COURSE.type}.CloudEvent`, text);
    records.push({ ...good, value: Buffer.concat([frameOf(id), Buffer.alloc(800), body]) });
  }
  return records;
}

/** Nothing but headers, `count` of them. */
export function flood(good: BusRecord, count: number): BusRecord {
  return { ...good, headers: [...Array.from({ length: count }, () => header('', '')), ...good.headers] };
}

function header(name: string, value: string | Buffer): Header {
  return [name, Buffer.from(value)];
}

/** Neither text nor a frame; the same at every run. */
function garbage(size: number): Buffer {
  return Buffer.from(Array.from({ length: size }, (_, i) => (i === 0 ? 0xff : (i * 151 + 0x80) % 256)));
}

function frameOf(id: number): Buffer {
  const frame = Buffer.alloc(5);
  frame.writeInt32BE(id, 1);
  return frame;
}

function replaced(value: Buffer, part: string, by: Buffer): Buffer {
  const copy = Buffer.from(value);
  const at = copy.indexOf(part);
  expect(at).toBeGreaterThan(0);
  by.copy(copy, at);
  return copy;
}

async function encoded(
  { topic, transport }: Pick<Bench, 'topic' | 'transport'>,
  definition: EventDefinition,
  data: unknown,
  keyField: string | undefined,
  id: string,
): Promise<BusRecord> {
  const metadata = {
    id,
    type: definition.type,
    minorversion: 0,
    source: 'openedx/studio/web',
    sourcehost: 'studio.example.org',
    time: isoTime(new Date(Date.UTC(2026, 0, 2))),
    sourcelib: '1',
  };
  const route = keyField === undefined ? { topic } : { topic, keyField };
  const record = await transport.codec.encode(definition, { metadata, data }, route, []);
  // The codec hands out parts of a slab.
  return { ...record, key: record.key && Buffer.from(record.key), value: record.value && Buffer.from(record.value) };
}

/** By key, in hexadecimal digits. */
type Lines = Record<string, string[]>;

function addLine(lines: Lines, key: Uint8Array | null, name: string): void {
  (lines[key === null ? 'no key' : Buffer.from(key).toString('hex')] ??= []).push(name);
}

/** What one bus made of what it read. */
export class Observed {
  /** Names of each key, in the order in which they were handled. */
  readonly handled: Lines = {};
  count = 0;
  readonly contexts: DeliveryContext[] = [];
  readonly dead: DeadFact[] = [];
  readonly skipped: unknown[] = [];
  readonly #stops: (() => void)[];

  constructor(
    bus: Bus,
    topic: string,
    readonly group: string,
  ) {
    const ours = (fact: { readonly bus: string }) => fact.bus === bus.name;
    for (const definition of [COURSE, ROSTER])
      bus.handle(definition, { id: 'view', topic, group }, (data, context) => {
        addLine(this.handled, context.key, nameOf(data));
        this.count++;
        this.contexts.push(context);
      });
    this.#stops = [
      signals.dead.subscribe((fact) => void (ours(fact) && this.dead.push(fact))),
      signals.skipped.subscribe((fact) => void (ours(fact) && this.skipped.push(fact))),
    ];
  }

  end(): void {
    for (const stop of this.#stops) stop();
  }
}

const HELD_MS = 250;
const TRIES = 3;

/**
 * Expects that the event loop is never held for a quarter of a second while `work` goes on; answers what `work` answered last. A machine
 * with other things to do may stand still for as long: what was too long is tried again, and code that takes so long does so again.
 */
export async function freely<T>(work: (attempt: number) => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    const delays = monitorEventLoopDelay({ resolution: 10 });
    delays.enable();
    const result = await work(attempt);
    delays.disable();
    const heldMs = delays.max / 1e6;
    if (heldMs < HELD_MS) return result;
    if (attempt === TRIES) expect(heldMs).toBeLessThan(HELD_MS);
  }
}

/** A header over the limits is not kept, and none behind it. */
const MAX_HEADERS = 256;
const MAX_HEADER_BYTES = 64 * 1024;

function keptHeaders(record: BusRecord, keepsAll: boolean): readonly Header[] {
  const bytes = record.headers.reduce((sum, [name, value]) => sum + name.length + value.length, 0);
  if (keepsAll || (record.headers.length <= MAX_HEADERS && bytes <= MAX_HEADER_BYTES)) return record.headers;
  let size = 0;
  return record.headers
    .slice(0, MAX_HEADERS)
    .filter(([name, value]) => (size += name.length + value.length) <= MAX_HEADER_BYTES);
}

/** Every hostile record that is to be dead is one dead letter, byte for byte and with its reason; nothing else is. */
export async function checkDeadLetters(
  { topic, transport }: Pick<Bench, 'topic' | 'transport'>,
  group: string,
  hostile: readonly Hostile[],
  dead: readonly DeadFact[],
  keepsAllHeaders: boolean,
): Promise<void> {
  const expected = hostile.filter(({ fate }) => fate !== 'handled');
  const letters: BusRecord[] = [];
  for await (const letter of transport.read({ topic: `${topic}-dead-${group}` })) letters.push(letter);
  const byOffset = new Map(letters.map((letter) => [added(letter)['dead-offset'], letter]));
  expect(letters).toHaveLength(expected.length);
  expect(byOffset.size).toBe(expected.length);
  // In the order of the log, as the records were.
  const facts = dead.toSorted((a, b) => numberOf(a.offset) - numberOf(b.offset));
  expect(facts.map(({ error }, i) => `${expected[i]?.name}: ${reasonOf(error)}`)).toEqual(
    expected.map(({ name, fate }, i) => `${name}: ${reasonText(fate, reasonOf(facts[i]?.error))}`),
  );
  for (const [i, { name, record, fate }] of expected.entries()) {
    const letter = byOffset.get(facts[i]!.offset)!;
    const { code } = fate as { code: string };
    expect(hexOf(letter, -ADDED), name).toEqual(hexOf({ ...record, headers: keptHeaders(record, keepsAllHeaders) }));
    expect(added(letter), name).toMatchObject({
      'dead-reason': code,
      'dead-handler': '',
      'dead-group': group,
      'dead-topic': topic,
      'dead-attempts': '0',
    });
    expect(facts[i], name).toMatchObject({ reason: code, handler: undefined });
  }
}

// How many headers a dead letter has more than its record.
const ADDED = 12;

const numberOf = (offset: string) => Number(offset.slice(offset.indexOf('.') + 1));

function reasonOf(error: unknown): string {
  const { code, details } = error as { code?: string; details?: { reason?: string } };
  return `${code} ${details?.reason ?? ''}`.trim();
}

/** The transports name the flood of headers differently. */
function reasonText(fate: Hostile['fate'], found: string): string {
  if (fate === 'handled') return fate;
  if (fate.reason === 'headers' && /headers/.test(found)) return found;
  return `${fate.code} ${fate.reason ?? ''}`.trim();
}

const added = ({ headers }: BusRecord): Record<string, string> =>
  Object.fromEntries(headers.slice(-ADDED).map(([name, value]) => [name, Buffer.from(value).toString()]));

const hexOf = ({ key, value, headers }: BusRecord, end?: number) => ({
  key: key && Buffer.from(key).toString('hex'),
  value: value && Buffer.from(value).toString('hex'),
  headers: headers.slice(0, end).map(([name, bytes]) => `${name}: ${Buffer.from(bytes).toString('hex')}`),
});
