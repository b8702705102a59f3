/**
 * The codec of the Open edX wire on Kafka, used by every transport of ours that moves bytes: metadata in headers, value and key in Avro
 * behind the id of their registered schema. Synchronous as soon as a schema is known; a missing one is asked of the store, and awaited.
 */
import {
  BusError,
  type BusRecord,
  type Codec,
  type CodecRoute,
  type Envelope,
  type EventDefinition,
  type EventKey,
  type Header,
} from '@event-bus/core';
import { invalidEvent } from '@event-bus/core/internal';
import { BoundedMap } from './bounded-map.js';
import { obstacle } from './carrier.js';
import { Cursor } from './cursor.js';
import { FRAME_BYTES, frameOf, schemaIdOf } from './framing.js';
import { checkCodeGeneration, compileOwn, compileWriter, readerOf, type Resolver, type Type } from './guard.js';
import { asBuffer, headerReader, headerWriter } from './headers.js';
import { asUnreadable, unreadable, unwritable } from './reasons.js';
import type { SchemaStore } from './registry.js';
import { schemaText } from './schema-text.js';
import { slab } from './slab.js';
import { avscName, writerSchema } from './writer-schema.js';

export interface AvroCodecOptions {
  /** Where schemas live. The codec closes it. */
  readonly registry: SchemaStore;
  /**
   * The subject a schema is registered under. `topic-record-name`: `<full topic>-<full name of the record>`, what Open edX does, and the
   * default; `record-name`: the name alone; `topic-name`: `<full topic>-value` and `-key`, one event type per topic.
   */
  readonly subjects?: 'topic-record-name' | 'record-name' | 'topic-name';
  /** Largest value to write or read, in bytes. Open edX asks for 64 KB an event. Default 1 MiB. */
  readonly maxValueBytes?: number;
}

/** Throws `BUS_CONFIG_INVALID` for a wrong option, and in a process that forbids functions made from text. */
export function avroCodec(options: AvroCodecOptions): Codec {
  const { registry, subjects = 'topic-record-name', maxValueBytes = 1024 * 1024 } = options;
  checkOptions(subjects, maxValueBytes);
  checkCodeGeneration();

  const writeHeaders = headerWriter().write;
  const { eventType, metadata } = headerReader();
  const records = slab(maxValueBytes + SLACK_BYTES);
  const cursor = new Cursor();
  const own = new WeakMap<EventDefinition, Own>();

  function ownOf(definition: EventDefinition): Own {
    let known = own.get(definition);
    if (known === undefined) own.set(definition, (known = compileDefinition(definition)));
    return known;
  }

  async function prepare(definition: EventDefinition, route: CodecRoute): Promise<void> {
    await preparedPlan(definition, route);
  }

  function preparedPlan(definition: EventDefinition, route: CodecRoute): Plan | Promise<Plan> {
    const known = ownOf(definition);
    const { last, plans } = known;
    if (last !== undefined && last.route.topic === route.topic && last.route.keyField === route.keyField) return last;
    const name = planName(route);
    const plan = plans.get(name);
    if (plan instanceof Promise) return plan;
    if (plan !== undefined) return (known.last = plan);
    const pending = makePlan(definition, route).then(
      (made) => {
        plans.set(name, made);
        return made;
      },
      (error: unknown) => {
        plans.delete(name);
        throw error;
      },
    );
    plans.set(name, pending);
    return pending;
  }

  async function makePlan(definition: EventDefinition, route: CodecRoute): Promise<Plan> {
    const { type } = ownOf(definition);
    const key = route.keyField === undefined ? undefined : definition.key(route.keyField);
    const [value, keyed] = await Promise.all([
      written(subjectOf(route.topic, `${definition.type}.CloudEvent`, 'value'), definition.avro, type),
      key && writtenKey(key, route.topic),
    ]);
    return { route, value, key: keyed };
  }

  async function writtenKey(key: EventKey, topic: string): Promise<KeyPlan> {
    const { schema, read } = key;
    return { ...(await written(subjectOf(topic, schema.type as string, 'key'), schema, compileOwn(schema))), read };
  }

  function subjectOf(topic: string, record: string, part: 'value' | 'key'): string {
    if (subjects === 'topic-name') return `${topic}-${part}`;
    return subjects === 'record-name' ? record : `${topic}-${record}`;
  }

  async function written(subject: string, schema: object, ours: Type): Promise<Written> {
    const text = schemaText(schema);
    const id = await registry.id(subject, text);
    const stored = await registry.byId(id);
    const type = stored === undefined || stored === text ? ours : carrierOf(ours, stored, subject);
    return { frame: frameOf(id), type };
  }

  function encode(
    definition: EventDefinition,
    envelope: Envelope,
    route: CodecRoute,
    headers: readonly Header[],
  ): BusRecord | Promise<BusRecord> {
    const plan = preparedPlan(definition, route);
    if (plan instanceof Promise) return plan.then((ready) => write(definition, ready, envelope, headers));
    return write(definition, plan, envelope, headers);
  }

  function write(definition: EventDefinition, plan: Plan, envelope: Envelope, headers: readonly Header[]): BusRecord {
    if (envelope.metadata.type !== definition.type) throw unwritable('type-mismatch', { type: definition.type });
    let parts: Parts;
    try {
      parts = records.write(fill, plan, envelope);
    } catch (thrown) {
      throw asUnwritable(thrown, definition, envelope.data);
    }
    const { key, value, id } = parts;
    if (value.length > maxValueBytes)
      throw unwritable('value-too-large', { type: definition.type, bytes: value.length, maxBytes: maxValueBytes });
    return { key, value, headers: writeHeaders(envelope.metadata, id, headers) };
  }

  function decode(definition: EventDefinition, record: BusRecord, weigh?: (bytes: number) => void): unknown {
    if (record.value === null) throw unreadable('no-value');
    const value = asBuffer(record.value);
    if (value.length > maxValueBytes)
      throw unreadable('value-too-large', { bytes: value.length, maxBytes: maxValueBytes });
    const id = schemaIdOf(value);
    const { readers } = ownOf(definition);
    const reader = readers.get(id);
    if (reader !== undefined) return read(reader, value, definition, id, weigh);
    const text = registry.byId(id);
    if (text instanceof Promise)
      return text.then((found) => read(learn(definition, id, found), value, definition, id, weigh));
    return read(learn(definition, id, text), value, definition, id, weigh);
  }

  function learn(definition: EventDefinition, id: number, text: string | undefined): Resolver {
    if (text === undefined) {
      const message = `The record was written with schema ${id}, which the registry does not have.`;
      throw new BusError('BUS_SCHEMA_UNKNOWN', message, { details: { schemaId: id, type: definition.type } });
    }
    const { type, readers } = ownOf(definition);
    const reader = compileReader(definition, type, text);
    readers.set(id, reader);
    return reader;
  }

  function read(
    reader: Resolver,
    value: Buffer,
    definition: EventDefinition,
    id: number,
    weigh?: (bytes: number) => void,
  ): unknown {
    try {
      const data = reader._read(cursor.reading(value, FRAME_BYTES));
      if (cursor.pos !== value.length) throw unreadable('trailing-bytes');
      if (cursor.items > FEW_ITEMS) weigh?.(cursor.items * ITEM_BYTES);
      return data;
    } catch (thrown) {
      throw asUnreadable(thrown, { type: definition.type, schemaId: id });
    } finally {
      cursor.reading(NOTHING, 0);
    }
  }

  return { name: 'avro', prepare, encode, eventType, metadata, decode, close: async () => registry.close() };
}

// Room for the key and the id besides the largest value.
const SLACK_BYTES = 64 * 1024;
const NOTHING = Buffer.alloc(0);
// An item of one byte becomes an object: what a list of 900 000 of them was seen to take, each.
const ITEM_BYTES = 48;
const FEW_ITEMS = 64;
const MAX_READERS = 200;

/** What is known about a definition: its compiled type, how to read what others wrote, how to write for each route. */
interface Own {
  readonly type: Type;
  readonly readers: BoundedMap<number, Resolver>;
  /** One per route; routes come from the configuration. */
  readonly plans: Map<string, Plan | Promise<Plan>>;
  /** The plan used last: most event types have one route. */
  last: Plan | undefined;
}

interface Written {
  readonly frame: Buffer;
  readonly type: Type;
}

interface KeyPlan extends Written {
  readonly read: EventKey['read'];
}

interface Plan {
  readonly route: CodecRoute;
  readonly value: Written;
  readonly key: KeyPlan | undefined;
}

interface Parts {
  readonly key: Buffer | null;
  readonly value: Buffer;
  readonly id: Buffer;
}

function checkOptions(subjects: string, maxValueBytes: number): void {
  const wrong = (text: string) => new BusError('BUS_CONFIG_INVALID', text);
  if (!SUBJECTS.includes(subjects))
    throw wrong(`Option "subjects" must be one of ${SUBJECTS.join(', ')}, got ${subjects}.`);
  if (!Number.isSafeInteger(maxValueBytes) || maxValueBytes < 1) {
    throw wrong(`Option "maxValueBytes" must be a positive integer, got ${maxValueBytes}.`);
  }
}

const SUBJECTS = ['topic-record-name', 'record-name', 'topic-name'];

const planName = ({ topic, keyField }: CodecRoute) => (keyField === undefined ? topic : `${topic} ${keyField}`);

function compileDefinition(definition: EventDefinition): Own {
  const { reader } = definition;
  try {
    const type = compileOwn({ ...reader, namespace: avscName(reader.namespace) });
    return { type, readers: new BoundedMap(MAX_READERS), plans: new Map(), last: undefined };
  } catch (cause) {
    const message = `Event type "${definition.type}" has a schema that Avro cannot write without doubt: ${(cause as Error).message}.`;
    throw new BusError('BUS_CONFIG_INVALID', message, { details: { type: definition.type }, cause });
  }
}

/** One pass writes all bytes that are new in a record. */
function fill(cursor: Cursor, plan: Plan, { data, metadata }: Envelope): Parts {
  const { buf, pos } = cursor;
  if (plan.key !== undefined) writeFramed(cursor, plan.key, plan.key.read(data));
  const keyEnd = cursor.pos;
  writeFramed(cursor, plan.value, data);
  const valueEnd = cursor.pos;
  cursor.writeText(metadata.id);
  return {
    key: plan.key === undefined ? null : buf.subarray(pos, keyEnd),
    value: buf.subarray(keyEnd, valueEnd),
    id: buf.subarray(valueEnd, cursor.pos),
  };
}

function writeFramed(cursor: Cursor, { frame, type }: Written, value: unknown): void {
  cursor.writeFixed(frame);
  type._write(cursor, value);
}

function asUnwritable(thrown: unknown, definition: EventDefinition, data: unknown): BusError {
  const { type } = definition;
  if (thrown instanceof BusError)
    return new BusError(thrown.code, thrown.message, { details: { ...thrown.details, type } });
  const issues = definition.validate(data);
  // What avsc throws repeats the data, so neither its text nor itself is passed on.
  if (issues.length === 0) return unwritable('bad-data', { type });
  return new BusError('BUS_ENCODE_FAILED', invalidEvent(definition, issues).message, {
    details: { type, reason: 'bad-data', issues },
  });
}

/** How to read what the holder of this schema wrote. A schema that cannot be used is remembered as a reader that says so. */
function compileReader(definition: EventDefinition, type: Type, text: string): Resolver {
  try {
    const { name, schema } = writerSchema(text);
    if (name !== `${definition.type}.CloudEvent`) throw unreadable('type-mismatch', { writtenAs: name });
    return resolve(type, compileForeign(schema));
  } catch (error) {
    return {
      _read() {
        throw error;
      },
    };
  }
}

function compileForeign(schema: unknown): Type {
  try {
    return compileWriter(schema);
  } catch (cause) {
    throw unreadable('unusable-schema', {}, cause);
  }
}

function resolve(type: Type, writer: Type): Resolver {
  try {
    return readerOf(type, writer);
  } catch (cause) {
    throw unreadable('incompatible-schema', {}, cause);
  }
}

/** The type to write with when the registry told us to use a schema of its own. */
function carrierOf(ours: Type, text: string, subject: string): Type {
  const refused = (why: string, cause?: unknown) => {
    const message = `The registry's schema for the subject "${subject}" cannot carry this event: ${why}.`;
    return new BusError('BUS_TRANSPORT_REFUSED', message, {
      details: { subject, reason: 'incompatible-schema' },
      cause,
    });
  };
  let theirs: Type;
  try {
    theirs = compileWriter(writerSchema(text, { defaults: true }).schema);
  } catch (cause) {
    throw refused('it cannot be used', cause);
  }
  const found = obstacle(ours, theirs);
  if (found !== undefined) throw refused(`see ${found}`);
  return readerOf(ours, theirs) === ours ? ours : theirs;
}
