/**
 * The door for schemas that somebody else wrote. Whoever may register a schema chooses this text, so it is measured before anything is
 * compiled, and only what decides the bytes is taken over: no defaults, aliases, logical types or other attributes.
 */
import { unreadable } from './reasons.js';

export interface WriterSchema {
  /** Full name of the outermost record, as it was registered; undefined when the schema is no record. */
  readonly name: string | undefined;
  /** What avsc compiles: every name in full and through `avscName`. */
  readonly schema: unknown;
}

/**
 * Reads a writer's schema. Throws `BUS_DECODE_FAILED` with the reason `unusable-schema` for one that is beyond the limits. With `defaults`
 * simple defaults of fields are kept: only who writes with this schema needs them.
 */
export function writerSchema(text: string, options: { readonly defaults?: boolean } = {}): WriterSchema {
  if (text.length > MAX_TEXT) throw refused(`it is longer than ${MAX_TEXT} characters`);
  const records: Records = new Map();
  const parsed = parse(text);
  const schema = copy(parsed, '', 1, { records, defaults: options.defaults === true, types: 0, fields: 0 });
  const sizes: Sizes = new Map();
  for (const name of records.keys()) checkSize(name, records, sizes);
  return { name: isRecord(parsed) ? fullName(parsed, '') : undefined, schema };
}

/** Only for avsc, which takes no hyphens: one official event type has one in its namespace. The wire and the registry see the original. */
export function avscName(name: string): string {
  return name.replaceAll('-', '_');
}

export const MAX_TEXT = 256 * 1024;
const MAX_LEVELS = 64;
// avsc makes functions from text for each, and nothing else happens meanwhile: a tenth of a second of it is where these end.
const MAX_TYPES = 100;
const MAX_FIELDS = 1_000;
// Parts of a value that one of its bytes may stand for. Without a bound a few records that hold each other twice take years to read.
const MAX_PARTS_PER_BYTE = 16;

type Records = Map<string, readonly Field[]>;
interface Field {
  readonly name: string;
  readonly type: unknown;
  readonly default?: unknown;
}
interface Copying {
  readonly records: Records;
  readonly defaults: boolean;
  /** Records, enums, fixed, lists and maps so far. */
  types: number;
  fields: number;
}
type Sizes = Map<string, Size | 'open'>;
interface Size {
  readonly parts: number;
  readonly bytes: number;
}
type Attributes = Readonly<Record<string, unknown>>;

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw refused('it is not JSON', cause);
  }
}

function copy(schema: unknown, namespace: string, level: number, copying: Copying): unknown {
  if (level > MAX_LEVELS) throw refused(`it has more than ${MAX_LEVELS} levels`);
  if (typeof schema === 'string') return PRIMITIVES.has(schema) ? schema : reference(schema, namespace);
  if (Array.isArray(schema)) return schema.map((branch) => copy(branch, namespace, level + 1, copying));
  if (typeof schema !== 'object' || schema === null) throw refused('a part of it is no schema');
  const attributes = schema as Attributes;
  if (BUILT.has(attributes['type']) && ++copying.types > MAX_TYPES)
    throw refused(`it has more than ${MAX_TYPES} types`);
  switch (attributes['type']) {
    case 'array':
      return { type: 'array', items: copy(attributes['items'], namespace, level + 1, copying) };
    case 'map':
      return { type: 'map', values: copy(attributes['values'], namespace, level + 1, copying) };
    case 'enum':
      return { type: 'enum', name: avscFullName(fullName(attributes, namespace)), symbols: attributes['symbols'] };
    case 'fixed':
      return { type: 'fixed', name: avscFullName(fullName(attributes, namespace)), size: attributes['size'] };
    case 'record':
      return copyRecord(attributes, namespace, level, copying);
    default:
      // A basic type or a name, with attributes that do not matter here: the schema of a key has this form.
      return copy(attributes['type'], namespace, level + 1, copying);
  }
}

function copyRecord(record: Attributes, namespace: string, level: number, copying: Copying): unknown {
  const name = fullName(record, namespace);
  const inner = name.slice(0, Math.max(0, name.lastIndexOf('.')));
  if (!Array.isArray(record['fields'])) throw refused('a record has no fields');
  const { records, defaults } = copying;
  const fields: Field[] = [];
  records.set(avscFullName(name), fields);
  for (const field of record['fields'] as readonly Attributes[]) {
    if (++copying.fields > MAX_FIELDS) throw refused(`it has more than ${MAX_FIELDS} fields`);
    const fieldName = field?.['name'];
    // Names that every object has: they change objects, or what avsc believes about a field.
    if (typeof fieldName !== 'string' || fieldName in Object.prototype) throw refused('a field has a bad name');
    const type = copy(field['type'], inner, level + 1, copying);
    fields.push(
      defaults && isSimple(field['default'])
        ? { name: fieldName, type, default: field['default'] }
        : { name: fieldName, type },
    );
  }
  return { type: 'record', name: avscFullName(name), fields };
}

const isSimple = (value: unknown) =>
  value === null || (typeof value === 'object' ? Object.keys(value).length === 0 : value !== undefined);

export function fullName(attributes: Attributes, enclosing: string): string {
  const { name, namespace = enclosing } = attributes;
  if (typeof name !== 'string' || typeof namespace !== 'string') throw refused('a type has a bad name');
  return name.includes('.') || namespace === '' ? name : `${namespace}.${name}`;
}

function reference(name: string, namespace: string): string {
  return avscFullName(name.includes('.') || namespace === '' ? name : `${namespace}.${name}`);
}

/** With a dot in any case, or avsc would put the name into the namespace around it. */
function avscFullName(name: string): string {
  return avscName(name.includes('.') ? name : `.${name}`);
}

const isRecord = (schema: unknown): schema is Attributes => (schema as Attributes | null)?.['type'] === 'record';

/** How many parts a record has at least, and in how many bytes. */
function checkSize(name: string, records: Records, sizes: Sizes): Size {
  const known = sizes.get(name);
  if (known === 'open') throw refused('a record holds itself and nothing between could end it');
  if (known !== undefined) return known;
  sizes.set(name, 'open');
  let parts = 1;
  let bytes = 0;
  for (const field of records.get(name)!) {
    const size = sizeOf(field.type, records, sizes);
    parts += size.parts;
    bytes += size.bytes;
  }
  if (parts > MAX_PARTS_PER_BYTE * (bytes + 1)) throw refused('a record has too many parts that take no bytes');
  sizes.set(name, { parts, bytes });
  return { parts, bytes };
}

function sizeOf(type: unknown, records: Records, sizes: Sizes): Size {
  const name = typeof type === 'string' ? type : (type as Attributes)['name'];
  if (typeof name === 'string' && records.has(name)) return checkSize(name, records, sizes);
  if (type === 'null') return { parts: 1, bytes: 0 };
  const { size } = type as { size?: unknown };
  return { parts: 1, bytes: typeof size === 'number' ? size : 1 };
}

export const PRIMITIVES = new Set(['null', 'boolean', 'int', 'long', 'float', 'double', 'bytes', 'string']);

const BUILT = new Set<unknown>(['array', 'map', 'enum', 'fixed', 'record']);

const refused = (why: string, cause?: unknown) => unreadable('unusable-schema', { why }, cause);
