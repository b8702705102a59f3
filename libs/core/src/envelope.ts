/**
 * The envelope: an event's data and its metadata. The metadata are CloudEvents 1.0 attributes with the conventions of Open edX's
 * OEP-41 (https://docs.openedx.org/projects/openedx-proposals/en/latest/architectural-decisions/oep-0041-arch-async-server-event-messaging.html).
 */
import type { Clock, Random } from './clock.js';
import { parseDateTime } from './date-time.js';

export interface EventMetadata {
  /** UUID version 1, lower case with dashes. The same through retries, redelivery and redrive. */
  readonly id: string;
  /** Event type, for example `org.openedx.content_authoring.course.catalog_info.changed.v1`. */
  readonly type: string;
  readonly minorversion: number;
  /** `openedx/<service>/web` */
  readonly source: string;
  readonly sourcehost: string;
  /** UTC, ISO 8601 as Python writes it: `2026-01-02T03:04:05.678901+00:00`. Of a row in a database, the row's own time. */
  readonly time: string;
  /** Version of the library that made the event, numbers with dots. */
  readonly sourcelib: string;
}

export interface Envelope<Data = unknown> {
  readonly metadata: EventMetadata;
  readonly data: Data;
}

/**
 * A time in UTC as Python's `datetime.isoformat` writes it: six digits of fraction, or none when they are zero. A text keeps its
 * microseconds. Consumers of Open edX refuse a time that is not in UTC. Throws a `RangeError` for what is no date-time of the years 1 to 9999.
 */
export function isoTime(time: Date | string): string {
  if (typeof time !== 'string') {
    const text = time.toISOString();
    return written(text.slice(0, -5), text.slice(-4, -1));
  }
  const parsed = parseDateTime(time);
  if (parsed === undefined) throw new RangeError('This is no ISO 8601 date-time with an offset.');
  const { second, fraction, offset } = parsed;
  const isUtc = offset === 'Z' || offset.endsWith('00:00');
  return written(isUtc ? second : new Date(`${second}${offset}`).toISOString().slice(0, -5), fraction);
}

function written(second: string, fraction: string): string {
  // Years of other than four digits carry a sign.
  if (second.length !== 19 || second.startsWith('0000'))
    throw new RangeError('This time is not in the years 1 to 9999.');
  const micros = fraction.slice(0, 6).padEnd(6, '0');
  return micros === '000000' ? `${second}+00:00` : `${second}.${micros}+00:00`;
}

/** Makes UUIDs of version 1 (RFC 9562, section 5.1): strictly rising within one maker, with a random node id. */
export function uuidMaker(clock: Clock, random: Random): () => string {
  // The multicast bit says that the node id is random and no network address.
  const node = [randomByte(random) | 1, ...Array.from({ length: 5 }, () => randomByte(random))]
    .map((byte) => hex(byte, 2))
    .join('');
  const sequence = hex(0x8000 | Math.floor(random() * 0x4000), 4);
  let ms = -1;
  let ticks = 0;
  let high = 0;
  let low = 0;
  // All behind the first eight digits: another one every seven minutes.
  let tail = '';
  let tailOf = -1;
  return () => {
    const nowMs = Math.floor(clock.now());
    if (nowMs > ms || ++ticks === TICKS_PER_MS) {
      // Whoever makes more than a millisecond holds borrows from the next one.
      ms = Math.max(nowMs, ms + 1);
      ticks = 0;
      const time = BigInt(ms + UUID_EPOCH_MS) * BigInt(TICKS_PER_MS);
      high = Number(time >> 32n);
      low = Number(time & 0xffff_ffffn);
    }
    const carry = low + ticks > 0xffff_ffff ? 1 : 0;
    const timeHigh = high + carry;
    if (timeHigh !== tailOf) {
      tailOf = timeHigh;
      tail = `-${hex(timeHigh & 0xffff, 4)}-${hex(0x1000 | (timeHigh >>> 16), 4)}-${sequence}-${node}`;
    }
    return hex((low + ticks) % 2 ** 32, 8) + tail;
  };
}

const TICKS_PER_MS = 10_000;

// From 1582-10-15, where version 1 counts from, to 1970.
const UUID_EPOCH_MS = 12_219_292_800_000;

const randomByte = (random: Random) => Math.floor(random() * 256);

const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');
