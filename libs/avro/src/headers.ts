/**
 * The metadata of an event as headers: CloudEvents 1.0 on Kafka, with the names and the order that Open edX's bus writes. Most values are
 * the same from record to record, so both directions remember what they made: bytes when writing, text when reading.
 */
import { isUtf8 } from 'node:buffer';
import { isoTime, type BusRecord, type EventMetadata, type Header, type RecordMetadata } from '@event-bus/core';
import { unreadable, unwritable } from './reasons.js';

export interface HeaderWriter {
  /** The ten metadata headers, then `extra`. The id arrives as bytes: it differs in every record. */
  readonly write: (metadata: EventMetadata, id: Uint8Array, extra: readonly Header[]) => readonly Header[];
}

export interface HeaderReader {
  /** The event type alone. Never throws. */
  readonly eventType: (record: BusRecord) => string | undefined;
  /** Throws `BUS_DECODE_FAILED`: no id, no type, a metadata header twice or not UTF-8, more headers than the limits. */
  readonly metadata: (record: BusRecord) => RecordMetadata;
}

/** The bytes of headers in their pairs are shared between records: nobody may change them. */
export function headerWriter(): HeaderWriter {
  const type = remembered('ce_type');
  const source = remembered('ce_source');
  const minorversion = remembered('ce_minorversion');
  const sourcehost = remembered('sourcehost');
  const sourcelib = remembered('sourcelib');
  // What is sent within a millisecond has one time.
  const time = remembered('ce_time');
  return {
    write(metadata, id, extra) {
      const headers: Header[] = [
        SPEC_VERSION,
        CONTENT_TYPE,
        DATA_CONTENT_TYPE,
        type(metadata.type),
        ['ce_id', id],
        source(metadata.source),
        time(metadata.time),
        minorversion(metadata.minorversion),
        sourcehost(metadata.sourcehost),
        sourcelib(metadata.sourcelib),
      ];
      if (extra.length > 0) append(headers, extra);
      return headers;
    },
  };
}

export function headerReader(): HeaderReader {
  const repeated = repeatedTexts();
  const places = Array.from({ length: PLACES }, (): Known => ({ header: undefined, mark: 0, text: '' }));

  /** What a header says that seldom changes. `undefined`: it is not UTF-8. */
  function said(header: Header, mark: number, place: number): string | undefined {
    const text = mark > SKIPPED ? '' : repeated(header[1]);
    if (text === undefined || place >= PLACES || header[1].buffer.byteLength > MAX_KEPT_BYTES) return text;
    const known = places[place]!;
    known.header = header;
    known.mark = mark;
    known.text = text;
    return text;
  }

  function metadata(record: BusRecord): RecordMetadata {
    const { headers } = record;
    if (headers.length > MAX_HEADERS) throw unreadable('too-many-headers', { headers: headers.length });
    let id: string | undefined;
    let type: string | undefined;
    let source = '';
    let sourcehost = '';
    let time: string | undefined;
    let sourcelib = '';
    let minorversion = 0;
    let rest: Record<string, string> | undefined;
    let seen = 0;
    let bytes = 0;
    for (let i = 0; i < headers.length; i++) {
      const header = headers[i]!;
      const name = header[0];
      const value = header[1];
      bytes += name.length + value.length;
      const place = i < PLACES ? places[i]! : NOWHERE;
      const isKnown = place.header === header;
      const mark = isKnown ? place.mark : MARKS[name];
      if (mark === undefined) {
        rest ??= noHeaders();
        if (!REFUSED_NAMES.has(name)) rest[name] = asBuffer(value).toString();
        continue;
      }
      if ((seen & mark) !== 0) throw unreadable('repeated-header', { header: name });
      if (mark > SKIPPED) {
        if (!isKnown) said(header, mark, i);
        continue;
      }
      seen |= mark;
      if (mark === ID) id = text(name, value);
      else if (mark === TIME) time = text(name, value);
      else {
        const known = isKnown ? place.text : (said(header, mark, i) ?? notText(name));
        if (mark === TYPE) type = known;
        else if (mark === SOURCE) source = known;
        else if (mark === SOURCE_HOST) sourcehost = known;
        else if (mark === SOURCE_LIB) sourcelib = known;
        else minorversion = known === '0' ? 0 : versionOf(known);
      }
    }
    if (bytes > MAX_HEADER_BYTES) throw unreadable('headers-too-large', { bytes });
    if (id === undefined || id === '') throw unreadable('no-id');
    if (type === undefined || type === '') throw unreadable('no-type');
    time ??= storedTime(record);
    return { metadata: { id, type, minorversion, source, sourcehost, time, sourcelib }, headers: rest ?? NO_HEADERS };
  }

  function eventType({ headers }: BusRecord): string | undefined {
    for (let i = 0; i < headers.length; i++) {
      const header = headers[i]!;
      if (header[0] !== 'ce_type') continue;
      return i < PLACES && places[i]!.header === header ? places[i]!.text : said(header, TYPE, i);
    }
    return undefined;
  }

  return { eventType, metadata };
}

/** What was read of the header that was last seen at a place. Transports hand out the same pair for a header that repeats. */
interface Known {
  header: Header | undefined;
  mark: number;
  text: string;
}

const NOWHERE: Known = { header: undefined, mark: 0, text: '' };
const PLACES = 16;
// A small value may be part of a large buffer, and would keep all of it.
const MAX_KEPT_BYTES = 64 * 1024;

/** Bytes as a `Buffer` over the same memory. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

const MAX_HEADERS = 256;
const MAX_HEADER_BYTES = 64 * 1024;

const pair = (name: string, value: string): Header => [name, Buffer.from(value)];

const SPEC_VERSION = pair('ce_specversion', '1.0');
const CONTENT_TYPE = pair('content-type', 'application/avro');
const DATA_CONTENT_TYPE = pair('ce_datacontenttype', 'application/avro');

// Names that become something else on an ordinary object, should the headers ever be copied onto one.
const REFUSED_NAMES = new Set(['__proto__', 'constructor', 'prototype']);

const ID = 1;
const TYPE = 2;
const SOURCE = 4;
const SOURCE_HOST = 8;
const TIME = 16;
const SOURCE_LIB = 32;
const MINOR_VERSION = 64;
const SKIPPED = 127;
const MARKS: Readonly<Record<string, number>> = Object.assign(Object.create(null), {
  ce_id: ID,
  ce_type: TYPE,
  ce_source: SOURCE,
  sourcehost: SOURCE_HOST,
  ce_time: TIME,
  sourcelib: SOURCE_LIB,
  ce_minorversion: MINOR_VERSION,
  // The same in every record of this wire, and no news to a handler.
  ce_specversion: 128,
  'content-type': 256,
  ce_datacontenttype: 512,
});

const noHeaders = () => Object.create(null) as Record<string, string>;
const NO_HEADERS = Object.freeze(noHeaders());

/** The pair of a header whose value seldom changes. */
function remembered(name: string): (value: string | number) => Header {
  let last: string | number | undefined;
  let header: Header;
  return (value) => {
    if (value !== last) {
      header = pair(name, String(value));
      last = value;
    }
    return header;
  };
}

function append(headers: Header[], extra: readonly Header[]): void {
  if (headers.length + extra.length > MAX_HEADERS) throw unwritable('too-many-headers');
  let bytes = 0;
  for (const header of extra) {
    if (MARKS[header[0]] !== undefined) throw unwritable('reserved-header', { header: header[0] });
    bytes += header[0].length + header[1].length;
    headers.push(header);
  }
  if (bytes > MAX_HEADER_BYTES / 2) throw unwritable('headers-too-large', { bytes });
}

function text(name: string, value: Uint8Array): string {
  const decoded = textOf(value);
  return decoded.indexOf('\ufffd') >= 0 && !isUtf8(value) ? notText(name) : decoded;
}

// A plain view has no `toString` for bytes, and a `Buffer` made for each id and time costs more than this copy.
function textOf(value: Uint8Array): string {
  if (Buffer.isBuffer(value) || value.length > scratch.length) return asBuffer(value).toString();
  scratch.set(value);
  return scratch.toString('utf8', 0, value.length);
}

const scratch = Buffer.allocUnsafeSlow(256);

function notText(header: string): never {
  throw unreadable('header-not-utf8', { header });
}

function versionOf(value: string): number {
  if (!/^\d{1,9}$/.test(value)) throw unreadable('bad-minorversion');
  return Number(value);
}

/** Of a record without a time: when it was stored, if the transport knows. */
function storedTime(record: BusRecord & { readonly timestamp?: number }): string {
  const { timestamp } = record;
  return timestamp !== undefined && Number.isFinite(timestamp) ? isoTime(new Date(timestamp)) : '';
}

/**
 * Text of bytes that come again and again: compared, not decoded, which is twice as fast, and the same string each time. `undefined` for
 * what is not UTF-8. Bounded: 256 places, and only texts of up to 256 bytes stay.
 */
function repeatedTexts(): (value: Uint8Array) => string | undefined {
  const places: ({ readonly bytes: Uint8Array; readonly text: string } | undefined)[] = Array.from({ length: 256 });
  return (value) => {
    const size = value.length;
    if (size === 0 || size > 256) return isUtf8(value) ? asBuffer(value).toString() : undefined;
    // Types of one service begin and end alike: look in the middle and near the end too.
    const last = size - 1;
    const at =
      (size * 7 +
        value[last]! +
        value[size >> 1]! * 3 +
        value[last - (size >> 2)]! * 5 +
        value[last - (size >> 3)]! * 11) &
      255;
    const known = places[at];
    if (known !== undefined && isSame(known.bytes, value)) return known.text;
    if (!isUtf8(value)) return undefined;
    const text = asBuffer(value).toString();
    places[at] = { bytes: Buffer.from(value), text };
    return text;
  };
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = a.length - 1; i >= 0; i--) if (a[i] !== b[i]) return false;
  return true;
}
