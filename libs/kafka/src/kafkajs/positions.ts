/**
 * Where a partition is read from, and whether a batch goes on where the last one ended. kafkajs jumps in silence: to its default when an
 * offset is out of range, past records when a leader moves. Offsets are compared here, and nothing is skipped without a word.
 */
import type { LostRange, StartPosition, TopicPartition } from '@event-bus/core';

/** What the brokers say of a partition: `end` is that of the log itself, beyond open transactions. */
export interface LogRange {
  readonly start: bigint;
  readonly end: bigint;
}

export interface Beginning {
  readonly position: bigint;
  readonly metadata: string;
  readonly lost?: LostRange;
  /** The position is news to the group: it is committed at once, or a restart would choose another one. */
  readonly isMoved: boolean;
}

/** `committed` is negative without a position; `first` is where a group without one starts. */
export function beginningOf(
  place: TopicPartition,
  committed: { readonly position: bigint; readonly metadata: string },
  log: LogRange,
  first: bigint,
  from: StartPosition,
): Beginning {
  const { position, metadata } = committed;
  // kafkajs writes this when it resets a position by itself. It says nothing of what was handled.
  if (position === KAFKAJS_RESET) return { position: log.start, metadata: '', isMoved: true };
  if (position < 0n) return { position: first, metadata: '', isMoved: from !== 'earliest' };
  if (position < log.start)
    return { position: log.start, metadata: '', isMoved: true, lost: expired(place, position, log.start) };
  if (position > log.end)
    return { position: log.start, metadata: '', isMoved: true, lost: remade(place, position, log) };
  return { position, metadata, isMoved: false };
}

const KAFKAJS_RESET = -2n;

export type Verdict =
  | { readonly kind: 'take' }
  /** Records before the position are known already. */
  | { readonly kind: 'overlap' }
  /** Nothing new in it: read again from the position. */
  | { readonly kind: 'old' }
  /** It does not join on: only the log can tell why. */
  | { readonly kind: 'doubt' };

/** A batch that was asked for at `fetched`, ends before `next`, in a log whose end was `end`; the position is where it should begin. */
export function verdictOn(position: bigint, fetched: bigint, next: bigint, end: bigint): Verdict {
  if (fetched === position) return { kind: 'take' };
  if (fetched > position || end < position) return { kind: 'doubt' };
  return { kind: next > position ? 'overlap' : 'old' };
}

/** What a doubt turns out to be, once the log was asked: where to read on, and what is gone. */
export function afterDoubt(
  place: TopicPartition,
  position: bigint,
  log: LogRange,
): { readonly position: bigint; readonly lost?: LostRange } {
  if (position < log.start) return { position: log.start, lost: expired(place, position, log.start) };
  if (position > log.end) return { position: log.start, lost: remade(place, position, log) };
  return { position }; // a batch of an older generation
}

export function expired({ topic, partition }: TopicPartition, from: bigint, to: bigint): LostRange {
  const reason = `retention deleted them before they were read; reading goes on at the start of the log`;
  return { topic, partition, from: from.toString(), to: to.toString(), count: Number(to - from), reason };
}

function remade({ topic, partition }: TopicPartition, position: bigint, log: LogRange): LostRange {
  const reason = `the log ends at ${log.end}, before the position ${position}: the topic was made anew, or lost its end; reading begins at the start of the log`;
  return { topic, partition, from: log.end.toString(), to: position.toString(), reason };
}
