import { BusError, isBusError } from '@event-bus/core';

/** Why a record cannot be read, as `details.reason` of `BUS_DECODE_FAILED`. Programs and dashboards count by it. */
export type UnreadableReason = keyof typeof UNREADABLE;

/** Why an event cannot be written, as `details.reason` of `BUS_ENCODE_FAILED`. */
export type UnwritableReason = keyof typeof UNWRITABLE;

const UNREADABLE = {
  // the headers
  'no-id': 'it has no header "ce_id"',
  'no-type': 'it has no header "ce_type"',
  'repeated-header': 'a metadata header appears twice',
  'header-not-utf8': 'a metadata header is not UTF-8 text',
  'bad-minorversion': 'the header "ce_minorversion" is not a number',
  'too-many-headers': 'it has more than 256 headers',
  'headers-too-large': 'its headers take more than 64 KiB',
  // the frame and the schema
  'no-value': 'it has no value',
  'value-too-large': 'its value is larger than the limit',
  'not-framed': 'its value does not begin with byte 0 and a schema id',
  'unusable-schema': 'the schema it was written with cannot be used',
  'type-mismatch': 'it was written with the schema of another event type',
  'incompatible-schema': 'the schema it was written with cannot be read as this event',
  // the bytes
  truncated: 'its value ends too early',
  'trailing-bytes': 'its value goes on behind the end of the data',
  'long-too-large': 'it holds an integer beyond 2^53 - 1, and the definition does not ask for a bigint there',
  'bad-number': 'it holds an integer, a boolean or a branch number that Avro does not have',
  'bad-block': 'a block of a list or a map has not the size that it says',
  'bad-key': 'a map has the key "__proto__"',
  'bad-text': 'it holds text that is not UTF-8',
  'too-many-items': 'it claims more items than its bytes can hold',
  'too-deep': 'it is nested too deeply',
  corrupt: 'its bytes do not fit the schema they were written with',
} as const;

const UNWRITABLE = {
  'bad-data': 'its data do not match its schema',
  'type-mismatch': 'its metadata name another event type',
  'bad-number': 'it holds a long that is not an integer of 64 bits',
  'bad-key': 'a map has the key "__proto__", which no reader takes',
  'bad-text': 'it holds half of a surrogate pair, which is no text',
  'value-too-large': 'its value is larger than the limit',
  'reserved-header': 'a header has the name of a metadata header',
  'too-many-headers': 'it has more than 256 headers, which no reader takes',
  'headers-too-large': 'its headers take more than 64 KiB, which no reader takes',
} as const;

/** The error for a record that cannot be read. The text never holds any of its bytes. */
export function unreadable(
  reason: UnreadableReason,
  details?: Readonly<Record<string, unknown>>,
  cause?: unknown,
): BusError {
  return new BusError('BUS_DECODE_FAILED', `The record is not a readable event: ${UNREADABLE[reason]}.`, {
    details: { reason, ...details },
    cause,
  });
}

/** The error for an event that cannot be written. The text never holds any of its data. */
export function unwritable(reason: UnwritableReason, details?: Readonly<Record<string, unknown>>): BusError {
  return new BusError('BUS_ENCODE_FAILED', `The event cannot be written: ${UNWRITABLE[reason]}.`, {
    details: { reason, ...details },
  });
}

/** What was thrown while bytes were read, as the error of the record. What avsc throws tells positions and branch numbers, no data. */
export function asUnreadable(thrown: unknown, details: Readonly<Record<string, unknown>>): BusError {
  if (isBusError(thrown))
    return new BusError(thrown.code, thrown.message, {
      details: { ...thrown.details, ...details },
      cause: thrown.cause,
    });
  return unreadable(thrown instanceof RangeError ? 'too-deep' : 'corrupt', details, thrown);
}
