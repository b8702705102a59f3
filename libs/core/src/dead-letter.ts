/**
 * Dead letters: deliveries we gave up on, kept with their reason. A dead letter is an ordinary record in an ordinary topic,
 * `<topic>-dead-<group>`: key, value and headers of the original byte for byte, and behind them what happened.
 */
import type { EventMetadata } from './envelope.js';
import type { BusErrorCode } from './errors.js';
import type { BusRecord, Header, StoredRecord } from './transport.js';

export interface DeadLetter {
  readonly record: StoredRecord;
  readonly group: string;
  /** The handler that failed; `undefined` when the record could not even be read: then it concerns all of the group. */
  readonly handler: string | undefined;
  /** `undefined` when the metadata could not be read. */
  readonly event: EventMetadata | undefined;
  readonly reason: BusErrorCode;
  readonly error: unknown;
  readonly attempts: number;
  /** Wall clock, milliseconds since 1970. */
  readonly firstFailedAt: number;
  readonly lastFailedAt: number;
}

export function deadLetterTopic(topic: string, group: string): string {
  return `${topic}-dead-${group}`;
}

/** The names of the headers a dead letter adds, in their order. */
export const DEAD_LETTER_HEADERS = {
  reason: 'dead-reason',
  error: 'dead-error',
  message: 'dead-message',
  handler: 'dead-handler',
  group: 'dead-group',
  attempts: 'dead-attempts',
  firstFailedAt: 'dead-first',
  lastFailedAt: 'dead-last',
  topic: 'dead-topic',
  partition: 'dead-partition',
  offset: 'dead-offset',
  timestamp: 'dead-timestamp',
} as const;

/** What these headers take at most. A record that leaves less room below the limit of its transport cannot be kept. */
export const DEAD_LETTER_BYTES = 8 * 1024;

export function deadLetterRecord(letter: DeadLetter): BusRecord {
  const { record } = letter;
  const { name, message } = textsOf(letter.error);
  const facts: Record<keyof typeof DEAD_LETTER_HEADERS, string> = {
    reason: letter.reason,
    error: bounded(name, 200),
    message: bounded(message, MESSAGE_LIMIT),
    handler: letter.handler ?? '',
    group: letter.group,
    attempts: String(letter.attempts),
    firstFailedAt: new Date(letter.firstFailedAt).toISOString(),
    lastFailedAt: new Date(letter.lastFailedAt).toISOString(),
    topic: record.topic,
    partition: String(record.partition),
    offset: record.offset,
    timestamp: String(record.timestamp),
  };
  const added = Object.entries(DEAD_LETTER_HEADERS).map(([fact, header]): Header => [
    header,
    Buffer.from(facts[fact as keyof typeof facts]),
  ]);
  return { key: record.key, value: record.value, headers: [...record.headers, ...added] };
}

/** Of whatever was thrown: also of an error whose name or message is no text. */
function textsOf(error: unknown): { readonly name: string; readonly message: string } {
  if (!(error instanceof Error)) return { name: typeof error, message: '' };
  try {
    return { name: String(error.name), message: String(error.message) };
  } catch {
    return { name: 'Error', message: '' };
  }
}

// The message of an error may quote what it was given; a bound keeps a dead letter from growing with it.
const MESSAGE_LIMIT = 1_000;

function bounded(text: string, limit: number): string {
  return text.length <= limit ? text : `${text.slice(0, limit)}…`;
}
