import {
  BusError,
  type AvroRecord,
  type AvroSchema,
  type BusRecord,
  type Codec,
  type EventDefinition,
  type EventMetadata,
  type Header,
  type RecordMetadata,
} from '@event-bus/core';

/**
 * A codec for tests: the value is JSON, the metadata are headers with the names of the Open edX wire. It needs no registry and is
 * always ready. Bytes are written as base64 and 64-bit integers as text, both by the schema of the event.
 */
export function jsonCodec(): Codec {
  return {
    name: 'json',
    async prepare() {},
    encode(definition, envelope, route, headers) {
      return {
        key: route.keyField === undefined ? null : text(String(definition.key(route.keyField).read(envelope.data))),
        value: text(JSON.stringify(walk(definition.avro, envelope.data, toJson))),
        headers: [...metadataHeaders(envelope.metadata), ...headers],
      };
    },
    eventType(record) {
      const header = record.headers.find(([name]) => name === 'ce_type');
      return header === undefined ? undefined : Buffer.from(header[1]).toString();
    },
    metadata,
    decode,
    async close() {},
  };
}

const text = (value: string): Buffer => Buffer.from(value, 'utf8');

function metadataHeaders(metadata: EventMetadata): Header[] {
  const pairs: readonly (readonly [string, string])[] = [
    ['ce_specversion', '1.0'],
    ['content-type', CONTENT_TYPE],
    ['ce_datacontenttype', CONTENT_TYPE],
    ['ce_type', metadata.type],
    ['ce_id', metadata.id],
    ['ce_source', metadata.source],
    ['ce_time', metadata.time],
    ['ce_minorversion', String(metadata.minorversion)],
    ['sourcehost', metadata.sourcehost],
    ['sourcelib', metadata.sourcelib],
  ];
  return pairs.map(([name, value]) => [name, text(value)]);
}

const CONTENT_TYPE = 'application/json';
const METADATA = new Set([
  'ce_specversion',
  'content-type',
  'ce_datacontenttype',
  'ce_type',
  'ce_id',
  'ce_source',
  'ce_time',
  'ce_minorversion',
  'sourcehost',
  'sourcelib',
]);

function metadata(record: BusRecord): RecordMetadata {
  const known = new Map<string, string>();
  const headers: Record<string, string> = Object.create(null);
  for (const [name, bytes] of record.headers) {
    if (!METADATA.has(name)) {
      headers[name] = Buffer.from(bytes).toString();
      continue;
    }
    if (known.has(name)) throw undecodable(`has the header "${name}" twice`);
    known.set(name, utf8(name, bytes));
  }
  const id = known.get('ce_id');
  if (id === undefined || id === '') throw undecodable('has no header "ce_id"');
  return {
    metadata: {
      id,
      type: known.get('ce_type') ?? '',
      minorversion: Number(known.get('ce_minorversion') ?? 0) || 0,
      source: known.get('ce_source') ?? '',
      sourcehost: known.get('sourcehost') ?? '',
      time: known.get('ce_time') ?? '',
      sourcelib: known.get('sourcelib') ?? '',
    },
    headers,
  };
}

function utf8(name: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw undecodable(`has a header "${name}" that is not UTF-8`, cause);
  }
}

function decode(definition: EventDefinition, record: BusRecord): unknown {
  let data: unknown;
  try {
    data = walk(definition.reader, JSON.parse(Buffer.from(record.value ?? []).toString()), fromJson);
  } catch (cause) {
    throw undecodable(`does not hold JSON of ${definition.type}`, cause);
  }
  const issues = definition.validate(data);
  if (issues.length > 0) throw undecodable(`does not match ${definition.type} at "${issues[0]!.path.join('.')}"`);
  return data;
}

function undecodable(what: string, cause?: unknown): BusError {
  return new BusError('BUS_DECODE_FAILED', `The record ${what}; it cannot be handled as an event.`, { cause });
}

type Avro = AvroSchema | AvroRecord;
type Scalar = (type: string, isBigint: boolean, value: unknown) => unknown;

const toJson: Scalar = (type, _, value) => {
  if (type === 'bytes') return Buffer.from(value as Uint8Array).toString('base64');
  return typeof value === 'bigint' ? String(value) : value;
};

const fromJson: Scalar = (type, isBigint, value) => {
  if (type === 'bytes') return Buffer.from(value as string, 'base64');
  return isBigint ? BigInt(value as string) : value;
};

/** Copies a value along its schema. What the schema does not know is kept, for the check that follows or went before. */
function walk(avro: Avro, value: unknown, scalar: Scalar, records = new Map<string, Avro>()): unknown {
  if (typeof avro === 'string')
    return records.has(avro) ? walk(records.get(avro)!, value, scalar, records) : scalar(avro, false, value);
  if (Array.isArray(avro)) return value === null || value === undefined ? null : walk(avro[1]!, value, scalar, records);
  const { type, ...rest } = avro as { readonly type: string } & Record<string, unknown>;
  if (type === 'array')
    return (value as unknown[]).map((item) => walk(rest['items'] as AvroSchema, item, scalar, records));
  if (type === 'map') return entries(value, (inner) => walk(rest['values'] as AvroSchema, inner, scalar, records));
  if (type !== 'record') return scalar(type, rest['bigint'] === true, value);
  records.set(String(rest['name']), avro);
  const fields = new Map(
    (rest['fields'] as readonly { name: string; type: AvroSchema }[]).map((field) => [field.name, field.type]),
  );
  const copy = entries(value, (inner, name) =>
    fields.has(name) ? walk(fields.get(name)!, inner, scalar, records) : inner,
  );
  for (const [name, field] of fields) if (!(name in copy) && Array.isArray(field)) copy[name] = null;
  return copy;
}

function entries(value: unknown, map: (inner: unknown, name: string) => unknown): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value as object).map(([name, inner]) => [name, map(inner, name)]));
}
