import type { Header } from '@event-bus/core';
import type { KafkaRecord } from './client.js';
import type { UnreadBatch } from './record-batches.js';
import { MAX_HEADERS, MAX_HEADER_BYTES, NULL_HEADER_VALUE, type DecodedRecord } from './record-decoder.js';

/** A record as kafkajs hands it over: by our decoder, or by its own when that is switched off. */
export type Message = Pick<DecodedRecord, 'offset' | 'timestamp' | 'key' | 'value'> &
  Partial<Pick<UnreadBatch, 'batch' | 'missing'>> & {
    readonly headers: Readonly<Record<string, unknown>>;
    readonly pairs?: readonly Header[];
    readonly unreadable?: string | undefined;
  };

/** Throws when a setting is missing without which the record cannot be read. */
export function recordOf(topic: string, partition: number, message: Message): KafkaRecord {
  const { offset, timestamp, key, missing } = message;
  if (missing) throw missing;
  const record = {
    topic,
    partition,
    offset,
    timestamp: Number(timestamp),
    key,
    value: message.batch ?? message.value,
    headers: message.pairs ?? pairsOf(message.headers),
  };
  const unreadable = message.pairs ? message.unreadable : tooManyHeaders(record.headers);
  return unreadable === undefined ? record : { ...record, unreadable };
}

function pairsOf(headers: Readonly<Record<string, unknown>>): Header[] {
  return Object.entries(headers).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).map((one): Header => [
      name,
      Buffer.isBuffer(one) ? one : NULL_HEADER_VALUE,
    ]),
  );
}

function tooManyHeaders(pairs: readonly Header[]): string | undefined {
  if (pairs.length > MAX_HEADERS) return `it has ${pairs.length} headers, at most ${MAX_HEADERS} are read`;
  const bytes = pairs.reduce((sum, [name, value]) => sum + Buffer.byteLength(name) + value.length, 0);
  return bytes > MAX_HEADER_BYTES ? `its headers have ${bytes} bytes, at most ${MAX_HEADER_BYTES} are read` : undefined;
}
