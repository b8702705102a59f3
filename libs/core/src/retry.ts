/**
 * What becomes of a failed attempt. A policy is one pure function of the failure; chance is one of its arguments.
 * `NonRetryable` thrown by a handler goes before the policy; `RetryAfter` replaces the pause that the policy chose.
 */
import type { Random } from './clock.js';
import type { EventMetadata } from './envelope.js';
import { BusError, RetryAfter, isBusError, type BusErrorCode } from './errors.js';

export interface Failure {
  readonly error: unknown;
  /** The attempt that failed, from 1. */
  readonly attempt: number;
  readonly event: EventMetadata;
  readonly random: Random;
}

export type RetryDecision =
  | { readonly action: 'retry'; readonly afterMs: number }
  /** `isExhausted`: only because no attempt is left. While the handler is broken such an event waits instead. */
  | { readonly action: 'dead'; readonly isExhausted?: boolean }
  /** Passed over on purpose; `rule` names why, in signals and metrics. */
  | { readonly action: 'skip'; readonly rule: string };

export type RetryPolicy = (failure: Failure) => RetryDecision;

export interface ExponentialOptions {
  /** How often a delivery is tried before it is a dead letter. Default 5; 1: never again. */
  readonly attempts?: number;
  /** Upper bound of the first pause, in milliseconds; doubles with each attempt. Default 100. */
  readonly firstMs?: number;
  /** Upper bound of every pause, in milliseconds. Default 30 000. */
  readonly maxMs?: number;
}

/**
 * Exponential pauses with full jitter: a pause is drawn between 0 and the bound, so that many failures of one moment do not come back as one
 * (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/). What no second attempt can change is dead at once.
 */
export function exponential(options: ExponentialOptions = {}): RetryPolicy {
  const { attempts, firstMs, maxMs } = { ...EXPONENTIAL, ...options };
  if (!Number.isInteger(attempts) || attempts < 1) throw invalid('attempts', 'a positive integer', attempts);
  if (!(firstMs >= 0)) throw invalid('firstMs', 'at least 0', firstMs);
  if (!(maxMs >= firstMs)) throw invalid('maxMs', 'at least firstMs', maxMs);
  return ({ error, attempt, random }) => {
    if (isHopeless(error)) return DEAD;
    if (attempt >= attempts) return EXHAUSTED;
    return { action: 'retry', afterMs: random() * backoffMs(attempt, firstMs, maxMs) };
  };
}

/** Bound of the pause after attempt `attempt` (from 1), without jitter. */
export function backoffMs(attempt: number, firstMs: number, maxMs: number): number {
  return Math.min(maxMs, firstMs * 2 ** Math.min(attempt - 1, 50));
}

/** What a failed attempt leads to: the handler's own word first, then the policy. */
export function decide(policy: RetryPolicy, failure: Failure): RetryDecision {
  const { error } = failure;
  if (isNonRetryable(error)) return { action: 'dead' };
  const decision = ask(policy, failure);
  if (decision.action !== 'retry') return decision;
  const pauses = [isRetryAfter(error) ? error.ms : undefined, decision.afterMs];
  const afterMs = pauses.find(isPause) ?? backoffMs(failure.attempt, EXPONENTIAL.firstMs, EXPONENTIAL.maxMs);
  return { action: 'retry', afterMs: Math.max(0, afterMs) };
}

// A date where milliseconds were meant, say, must not turn a pause into none.
const isPause = (ms: unknown): ms is number => typeof ms === 'number' && !Number.isNaN(ms);

/** The reason code a dead letter carries for an error. */
export function reasonOf(error: unknown): BusErrorCode {
  if (isBusError(error)) return error.code;
  if (!isNonRetryable(error)) return 'BUS_HANDLER_FAILED';
  // Of a class of the same name that is not ours.
  return 'BUS_HANDLER_REFUSED';
}

/** Whether no further attempt can end otherwise. */
export function isHopeless(error: unknown): boolean {
  return isNonRetryable(error) || (isBusError(error) && HOPELESS.has(error.code));
}

// Instances of another copy of this package must steer too: the name decides.
function isNonRetryable(error: unknown): boolean {
  return error instanceof Error && error.name === 'NonRetryable';
}

function isRetryAfter(error: unknown): error is RetryAfter {
  return error instanceof Error && error.name === 'RetryAfter' && 'ms' in error && typeof error.ms === 'number';
}

// A policy that throws, or answers no decision, must not stop a consumer and must not lose the event: it is a dead letter.
function ask(policy: RetryPolicy, failure: Failure): RetryDecision {
  try {
    const decision = policy(failure) as RetryDecision | undefined;
    return typeof decision === 'object' && decision !== null && ACTIONS.has(decision.action) ? decision : EXHAUSTED;
  } catch {
    return EXHAUSTED;
  }
}

function invalid(option: string, expected: string, got: unknown): BusError {
  return new BusError('BUS_CONFIG_INVALID', `Option "retry.${option}" must be ${expected}, got ${String(got)}.`);
}

const DEAD: RetryDecision = { action: 'dead' };
const EXHAUSTED: RetryDecision = { action: 'dead', isExhausted: true };
const ACTIONS: ReadonlySet<unknown> = new Set<RetryDecision['action']>(['retry', 'dead', 'skip']);
const EXPONENTIAL = { attempts: 5, firstMs: 100, maxMs: 30_000 } as const;

const HOPELESS: ReadonlySet<BusErrorCode> = new Set<BusErrorCode>([
  'BUS_EVENT_INVALID',
  'BUS_ENCODE_FAILED',
  'BUS_DECODE_FAILED',
  'BUS_SCHEMA_UNKNOWN',
  'BUS_RECORD_TOO_LARGE',
  'BUS_HANDLER_REFUSED',
]);
