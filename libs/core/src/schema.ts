/**
 * The schema language: one declaration gives the Avro schema and the TypeScript type. The mapping to Avro is the one of Open edX's
 * openedx-events (`openedx_events/event_bus/avro/schema.py`): long for integers, strings for times and keys, `["null", T]` for what is optional.
 */
import { isDateTime } from './date-time.js';

export const schema = {
  string: (): Schema<string> =>
    scalar('string', 'a string', (value) => typeof value === 'string' && value.isWellFormed()),
  boolean: (): Schema<boolean> => scalar('boolean', 'true or false', (value) => typeof value === 'boolean'),
  /** A 64-bit integer as a number; beyond 2^53 - 1 it is refused in both directions. */
  long: (): Schema<number> =>
    scalar('long', 'an integer between -(2^53 - 1) and 2^53 - 1', (value) => Number.isSafeInteger(value)),
  /** A 64-bit integer as a bigint: exact over the whole range. On the wire the same as `long`. */
  bigLong: (): Schema<bigint> => ({
    ...scalar<bigint>('long', 'a bigint of 64 bits', isLong),
    reader: { type: 'long', bigint: true },
  }),
  double: (): Schema<number> => scalar('double', 'a number', (value) => typeof value === 'number'),
  bytes: (): Schema<Buffer> => ({
    ...scalar<Buffer>('bytes', 'a Buffer', (value) => Buffer.isBuffer(value)),
    copy: (value: Buffer) => Buffer.from(value),
  }),
  /** ISO 8601 with an offset or `Z`, kept as written: no precision is lost on the way. */
  dateTime: (): Schema<string> =>
    scalar(
      'string',
      'an ISO 8601 date-time with an offset, such as 2026-01-02T03:04:05.678901+00:00',
      (value) => typeof value === 'string' && isDateTime(value),
    ),
  uuid: (): Schema<string> => scalar('string', 'a UUID', (value) => typeof value === 'string' && UUID.test(value)),
  /** `course-v1:edX+Demo+2026`, also of a CCX or a library, and the old form with slashes. */
  courseKey: (): Schema<string> =>
    scalar(
      'string',
      'a course key, such as course-v1:edX+Demo+2026',
      (value) => typeof value === 'string' && COURSE_KEY.test(value),
    ),
  /** `block-v1:edX+Demo+2026+type@problem+block@p1` and its older and library forms. */
  usageKey: (): Schema<string> =>
    scalar(
      'string',
      'a usage key, such as block-v1:edX+Demo+2026+type@problem+block@p1',
      (value) => typeof value === 'string' && USAGE_KEY.test(value),
    ),

  array: <Out, In>(items: Schema<Out, In>): Schema<readonly Out[], readonly In[]> => ({
    avro: { type: 'array', items: items.avro },
    reader: { type: 'array', items: items.reader },
    check(value, path, issues) {
      if (!Array.isArray(value)) return refuse(issues, path, 'a list', value);
      for (let i = 0; i < value.length; i++) below(path, i, items, value[i], issues);
    },
    copy: (list: readonly unknown[]) => list.map(items.copy),
  }),

  map: <Out, In>(values: Schema<Out, In>): Schema<Readonly<Record<string, Out>>, Readonly<Record<string, In>>> => ({
    avro: { type: 'map', values: values.avro },
    reader: { type: 'map', values: values.reader },
    check(value, path, issues) {
      if (!isPlain(value)) return refuse(issues, path, 'a plain object', value);
      for (const key of Object.keys(value)) {
        if (!key.isWellFormed()) refuse(issues, path, 'a map whose keys are well-formed text', value);
        below(path, key, values, value[key], issues);
      }
    },
    copy: (map: object) => Object.fromEntries(Object.entries(map).map(([key, value]) => [key, values.copy(value)])),
  }),

  /** A record is written out at its first place in an event and by its name after that. Two different records of one name are refused by `defineEvent`. */
  record: <const F extends Fields>(name: string, fields: F): Schema<OutOf<F>, InOf<F>> => ({
    avro: { type: 'record', name, fields: avroFields(fields, 'avro') },
    reader: { type: 'record', name, fields: avroFields(fields, 'reader') },
    check: checkFields(fields),
    copy: copyFields(fields),
  }),

  /** May be left out or null when sent; is null when it was. */
  optional: <Out, In>(inner: Schema<Out, In>): OptionalSchema<Out, In> => ({
    avro: ['null', inner.avro],
    reader: ['null', inner.reader],
    isOptional: true,
    check(value, path, issues) {
      if (value !== null && value !== undefined) inner.check(value, path, issues);
    },
    copy: (value: unknown) => (value === null || value === undefined ? value : inner.copy(value)),
  }),
} as const;

/** What a handler gets (`Out`) and what a sender gives (`In`), with the Avro schema of both. */
export interface Schema<Out = unknown, In = Out> {
  /** As registered and on the wire. */
  readonly avro: AvroSchema;
  /** The same, with `bigint: true` where this reader wants a bigint. */
  readonly reader: AvroSchema;
  /** Adds an issue for each thing that is wrong with a value that is to be sent. */
  readonly check: (value: unknown, path: MutablePath, issues: Issue[]) => void;
  /** A copy of a right value: plain, and nothing of it is shared. */
  readonly copy: (value: any) => unknown;
  /** Types only; never there at run time. */
  readonly '~types'?: { readonly out: Out; readonly in: In };
}

export interface OptionalSchema<Out = unknown, In = Out> extends Schema<Out | null, In | null | undefined> {
  readonly isOptional: true;
}

export type AvroSchema =
  string | readonly AvroSchema[] | { readonly type: AvroSchema; readonly [attribute: string]: unknown };

export type IssuePath = readonly (string | number)[];

/** One array for a whole check, longer by a step on the way down: right values cost no allocation. */
export type MutablePath = (string | number)[];

/** One thing that is wrong with a value, as in Standard Schema. The text never holds the value of an event. */
export interface Issue {
  readonly message: string;
  readonly path: IssuePath;
}

export type Fields = Readonly<Record<string, Schema<any, any>>>;
export type OutOf<F extends Fields> = { readonly [K in keyof F]: F[K] extends Schema<infer Out, any> ? Out : never };
export type InOf<F extends Fields> = {
  readonly [K in keyof F as F[K] extends OptionalSchema<any, any> ? never : K]: In<F[K]>;
} & {
  readonly [K in keyof F as F[K] extends OptionalSchema<any, any> ? K : never]?: In<F[K]>;
};
type In<S> = S extends { readonly '~types'?: { readonly in: infer I } } ? I : never;

export function avroFields(fields: Fields, side: 'avro' | 'reader'): readonly AvroField[] {
  return Object.entries(fields).map(([name, field]) =>
    'isOptional' in field ? { name, type: field[side], default: null } : { name, type: field[side] },
  );
}

export interface AvroField {
  readonly name: string;
  readonly type: AvroSchema;
  readonly default?: null;
}

export function checkFields(fields: Fields): Schema['check'] {
  const names = Object.keys(fields);
  const own = new Set(names);
  return (value, path, issues) => {
    if (!isObject(value)) return refuse(issues, path, 'a plain object', value);
    for (const name of names) below(path, name, fields[name]!, value[name], issues);
    for (const name in value) {
      if (!own.has(name) && Object.hasOwn(value, name))
        issues.push({ message: `is not a field of this event`, path: [...path, name] });
    }
  };
}

export function copyFields(fields: Fields): Schema['copy'] {
  const entries = Object.entries(fields);
  return (value: Record<string, unknown>) =>
    Object.fromEntries(entries.map(([name, field]) => [name, field.copy(value[name])]));
}

function scalar<T>(avro: string, expected: string, isValid: (value: unknown) => boolean): Schema<T> {
  return {
    avro,
    reader: avro,
    check(value, path, issues) {
      if (!isValid(value)) refuse(issues, path, expected, value);
    },
    copy: (value: T) => value,
  };
}

function below(
  path: MutablePath,
  step: string | number,
  field: Schema<any, any>,
  value: unknown,
  issues: Issue[],
): void {
  path.push(step);
  field.check(value, path, issues);
  path.pop();
}

function refuse(issues: Issue[], path: IssuePath, expected: string, value: unknown): void {
  const got =
    value === undefined
      ? 'is missing'
      : `got ${value === null ? 'null' : Array.isArray(value) ? 'a list' : `a ${typeof value}`}`;
  issues.push({ message: `must be ${expected}, ${got}`, path: [...path] });
}

// Instances of classes are welcome as records (rows, DTOs); lists, dates and the like are not.
function isObject(value: unknown): value is Record<string, unknown> {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    !ArrayBuffer.isView(value) &&
    !(value instanceof Date) &&
    !(value instanceof Map)
  );
}

// The keys of a map are its own properties: of a Set, a Headers or a Promise nothing would be left. Objects of other realms are plain too.
function isPlain(value: unknown): value is Record<string, unknown> {
  if (!isObject(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

function isLong(value: unknown): boolean {
  return typeof value === 'bigint' && value >= -(2n ** 63n) && value < 2n ** 63n;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
// Keys end up in databases, logs and addresses: no spaces and no control characters.
const COURSE_KEY =
  /^(?:(?:course|library|ccx)-v1:[^\s\p{Cc}+/]+(?:\+[^\s\p{Cc}+/]+){1,4}|[^\s\p{Cc}/+:]+\/[^\s\p{Cc}/+]+\/[^\s\p{Cc}/+]+)$/u;
const USAGE_KEY = /^(?:[a-z][a-z0-9-]*:|i4x:\/\/)[^\s\p{Cc}]+$/u;
