/**
 * An event definition: the stable name of an event type, its schema, and the TypeScript type of its data, in one value.
 * It is a Standard Schema v1 (https://standardschema.dev), so that Nest and other tools can validate with it.
 */
import { BusError } from './errors.js';
import {
  avroFields,
  checkFields,
  copyFields,
  type AvroField,
  type AvroSchema,
  type Fields,
  type InOf,
  type Issue,
  type MutablePath,
  type OutOf,
} from './schema.js';

export interface EventDefinition<Out = any, In = any> {
  /** `org.openedx.content_authoring.course.catalog_info.changed.v1`: never derived from a class name, the same in every process. */
  readonly type: string;
  /** Raised by one with each compatible change. */
  readonly minorversion: number;
  /** The record `CloudEvent` as it is registered. */
  readonly avro: AvroRecord;
  /** The same for our own reader: `{ type: 'long', bigint: true }` where the definition asks for a bigint. */
  readonly reader: AvroRecord;
  /** Everything that is wrong with data to be sent; empty when it is right. */
  readonly validate: (data: unknown) => readonly Issue[];
  /** A copy of right data: plain, and nothing of it is shared. */
  readonly copy: (data: any) => unknown;
  /** The key found along a dotted path. Throws `BUS_CONFIG_INVALID` when the schema has no such scalar. */
  readonly key: (path: string) => EventKey;
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: 'event-bus';
    readonly validate: (value: unknown) => { readonly value: Out } | { readonly issues: readonly Issue[] };
    readonly types?: { readonly input: In; readonly output: Out };
  };
}

export interface AvroRecord {
  readonly type: 'record';
  readonly name: 'CloudEvent';
  readonly namespace: string;
  readonly doc: string;
  readonly fields: readonly AvroField[];
}

/** The schema of a key is the whole field object at the end of its path: its registered text decides the id, and so the partition. */
export interface EventKey {
  readonly schema: AvroField;
  readonly read: (data: unknown) => unknown;
}

/** The data a handler of this definition gets. */
export type EventData<D extends EventDefinition> = D extends EventDefinition<infer Out, any> ? Out : never;
/** The data `send` takes for this definition. */
export type EventInput<D extends EventDefinition> = D extends EventDefinition<any, infer In> ? In : never;

export interface EventDeclaration<F extends Fields> {
  readonly type: string;
  /** Default 0. */
  readonly minorversion?: number;
  readonly data: F;
}

/** Defines an event type. Throws `BUS_CONFIG_INVALID` for what cannot travel: bad names, two records of one name. */
export function defineEvent<const F extends Fields>(
  declaration: EventDeclaration<F>,
): EventDefinition<OutOf<F>, InOf<F>> {
  const { type, minorversion = 0, data } = declaration;
  if (!EVENT_TYPE.test(type))
    throw invalid(
      type,
      `has a bad name; write dotted parts of letters, digits, "_" and "-", such as org.openedx.content_authoring.course.catalog_info.changed.v1`,
    );
  if (!Number.isSafeInteger(minorversion) || minorversion < 0)
    throw invalid(type, `needs an integer of at least 0 as minorversion, got ${minorversion}`);
  const check = checkFields(data);
  const shared: MutablePath = [];
  const validate = (value: unknown): readonly Issue[] => {
    const issues: Issue[] = [];
    // A getter in the data that throws leaves its path behind, and one that sends validates within this call.
    check(value, shared.length === 0 ? shared : [], issues);
    return issues.length === 0 ? NO_ISSUES : issues;
  };
  const avro = cloudEvent(type, avroFields(data, 'avro'));
  return Object.freeze({
    type,
    minorversion,
    avro,
    reader: cloudEvent(type, avroFields(data, 'reader')),
    validate,
    copy: copyFields(data),
    key: (path: string) => keyAt(type, avroFields(data, 'avro'), path),
    '~standard': {
      version: 1 as const,
      vendor: 'event-bus' as const,
      validate(value: unknown) {
        const issues = validate(value);
        return issues.length === 0 ? { value: value as OutOf<F> } : { issues };
      },
    },
  });
}

/** The error for data that does not match, naming every wrong field. */
export function invalidEvent(definition: EventDefinition, issues: readonly Issue[]): BusError {
  const list = issues.slice(0, 20).map((issue) => `${issue.path.join('.') || 'data'} ${issue.message}`);
  if (issues.length > list.length) list.push(`and ${issues.length - list.length} more`);
  return new BusError('BUS_EVENT_INVALID', `Event ${definition.type} was not sent: ${list.join('; ')}.`, {
    details: { type: definition.type, issues },
  });
}

// The text is part of the registered schema of every Open edX event: another one would give another schema id.
const DOC = 'Avro Event Format for CloudEvents created with openedx_events/schema';
const EVENT_TYPE = /^[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)+$/;
const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
// A reference to a record of such a name would be read as the type itself.
const AVRO_NAMES = new Set(
  'null boolean int long float double bytes string record enum array map fixed union __proto__'.split(' '),
);
const NO_ISSUES: readonly Issue[] = Object.freeze([]);

function cloudEvent(type: string, fields: readonly AvroField[]): AvroRecord {
  const seen = new Map<string, string>();
  return {
    type: 'record',
    name: 'CloudEvent',
    namespace: type,
    doc: DOC,
    fields: fields.map((field) => once(type, field, seen)),
  };
}

/** Writes a record out at its first place, depth first, and by its name after that. */
function once(type: string, field: AvroField, seen: Map<string, string>): AvroField {
  if (!NAME.test(field.name) || field.name === '__proto__')
    throw invalid(type, `has a field with the bad name "${field.name}"; use letters, digits and "_"`);
  return { ...field, type: onceType(type, field.type, seen) };
}

function onceType(type: string, avro: AvroSchema, seen: Map<string, string>): AvroSchema {
  if (typeof avro === 'string') return avro;
  if (Array.isArray(avro)) return avro.map((branch) => onceType(type, branch, seen));
  const one = avro as Record<string, AvroSchema> & { fields?: readonly AvroField[]; name?: string };
  if (one.type === 'array') return { type: 'array', items: onceType(type, one.items!, seen) };
  if (one.type === 'map') return { type: 'map', values: onceType(type, one.values!, seen) };
  if (one.type !== 'record') return avro as AvroSchema;
  const name = one.name!;
  if (!NAME.test(name) || AVRO_NAMES.has(name))
    throw invalid(type, `has a record with the bad name "${name}"; use letters, digits and "_", and no type of Avro`);
  const text = JSON.stringify(one);
  const known = seen.get(name);
  if (known === text) return name;
  if (known !== undefined || name === 'CloudEvent')
    throw invalid(type, `has two different records named "${name}"; rename one`);
  seen.set(name, text);
  return { type: 'record', name, fields: one.fields!.map((field) => once(type, field, seen)) };
}

function keyAt(type: string, fields: readonly AvroField[], path: string): EventKey {
  const names = path.split('.');
  let level: readonly AvroField[] | undefined = fields;
  let found: AvroField | undefined;
  for (const name of names) {
    found = level?.find((field) => field.name === name);
    if (found === undefined) throw invalid(type, `has no key field "${path}"; "${name}" is not a field there`);
    const inner = found.type as AvroSchema & { type?: string; fields?: readonly AvroField[] };
    level = typeof inner === 'object' && inner.type === 'record' ? inner.fields : undefined;
  }
  if (typeof found!.type !== 'string')
    throw invalid(type, `cannot use "${path}" as key field: a key is a single value that is always there`);
  return { schema: { name: found!.name, type: found!.type }, read: reader(names) };
}

function reader(names: readonly string[]): (data: unknown) => unknown {
  return (data) => {
    let value = data as Record<string, unknown> | undefined;
    for (const name of names) value = value?.[name] as Record<string, unknown> | undefined;
    return value;
  };
}

function invalid(type: string, what: string): BusError {
  return new BusError('BUS_CONFIG_INVALID', `Event type "${type}" ${what}.`, { details: { type } });
}
