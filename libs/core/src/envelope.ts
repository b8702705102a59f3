/**
 * The envelope: an event's data and its metadata. The metadata are CloudEvents 1.0 attributes with the conventions of Open edX's
 * OEP-41 (https://docs.openedx.org/projects/openedx-proposals/en/latest/architectural-decisions/oep-0041-arch-async-server-event-messaging.html).
 */
import type { Clock, Random } from './clock.js';

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
 * A time as Python's `datetime.isoformat` writes it in UTC: six digits of fraction, or none when it is zero.
 * A string with an offset is kept as it is, so that microseconds of a database survive.
 */
export function isoTime(time: Date | string): string {
  if (typeof time === 'string') return time.endsWith('Z') ? `${time.slice(0, -1)}+00:00` : time;
  const text = time.toISOString();
  const millis = text.slice(20, 23);
  return millis === '000' ? `${text.slice(0, 19)}+00:00` : `${text.slice(0, 19)}.${millis}000+00:00`;
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
    const timeLow = hex((low + ticks) % 2 ** 32, 8);
    const timeHigh = high + carry;
    return `${timeLow}-${hex(timeHigh & 0xffff, 4)}-${hex(0x1000 | (timeHigh >>> 16), 4)}-${sequence}-${node}`;
  };
}

const TICKS_PER_MS = 10_000;

// From 1582-10-15, where version 1 counts from, to 1970.
const UUID_EPOCH_MS = 12_219_292_800_000;

const randomByte = (random: Random) => Math.floor(random() * 256);

const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');
