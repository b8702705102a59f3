/** Which failure means what: the outcome of Nest's pipeline, put into the words of core. */
import { BusError, NonRetryable, RetryAfter, type BusErrorCode } from '@event-bus/core';
import type { HttpException } from '@nestjs/common';
import type { Outcome } from './invoker.js';

type Failed = Extract<Outcome, { ok: false }>;

/**
 * The error core is told. Steering counts from the filter, else from the handler. What was invalid or refused is dead at once. All else is the original
 * error, whatever a filter made of it, and the retry policy decides; the filter's error stays at hand through `filterErrorOf`.
 */
export function failureOf({ error, original }: Failed): Error {
  const failure = [error, original].find(isSteering) ?? refusal(original) ?? asError(original);
  if (error !== original && error !== failure) filterErrors.set(failure, error);
  return failure;
}

/** What an exception filter threw in the place of this error. */
export function filterErrorOf(error: unknown): unknown {
  return typeof error === 'object' && error !== null ? filterErrors.get(error) : undefined;
}

const filterErrors = new WeakMap<object, unknown>();

// By name, so that steering of a second copy of core counts as well.
function isSteering(error: unknown): error is NonRetryable | RetryAfter {
  return error instanceof Error && (error.name === 'NonRetryable' || error.name === 'RetryAfter');
}

function refusal(original: unknown): NonRetryable | undefined {
  const status = statusOf(original);
  const code = status === undefined ? undefined : REFUSALS[status];
  return code === undefined
    ? undefined
    : new NonRetryable(reasonIn(original as HttpException), { code, cause: original });
}

const REFUSALS: Readonly<Record<number, BusErrorCode>> = {
  400: 'BUS_EVENT_INVALID',
  422: 'BUS_EVENT_INVALID',
  401: 'BUS_HANDLER_REFUSED',
  403: 'BUS_HANDLER_REFUSED',
};

// By shape, so that an exception of a second copy of @nestjs/common counts as well.
function statusOf(error: unknown): number | undefined {
  if (
    !(error instanceof Error) ||
    !('getStatus' in error) ||
    typeof error.getStatus !== 'function' ||
    !('getResponse' in error)
  )
    return undefined;
  return Number(error.getStatus());
}

// A ValidationPipe puts one text per wrong field into the response; the exception's own message says nothing.
function reasonIn(exception: HttpException): string {
  const response = exception.getResponse();
  const said = typeof response === 'object' ? (response as { message?: unknown }).message : response;
  const texts = (Array.isArray(said) ? said : [said]).filter((text): text is string => typeof text === 'string');
  return texts.length > 0 ? texts.join('; ').slice(0, REASON_LIMIT) : exception.message;
}

const REASON_LIMIT = 1_000;

/** An Error for whatever was thrown: filters for RPC yield strings and plain objects. */
function asError(thrown: unknown): Error {
  if (thrown instanceof Error) return thrown;
  const text = typeof thrown === 'string' ? thrown : messageIn(thrown);
  return new BusError(
    'BUS_HANDLER_FAILED',
    text ?? `A handler threw a value that is no error (${thrown === null ? 'null' : typeof thrown}); throw an Error.`,
    { cause: thrown },
  );
}

function messageIn(thrown: unknown): string | undefined {
  const message = typeof thrown === 'object' && thrown !== null && 'message' in thrown ? thrown.message : undefined;
  return typeof message === 'string' ? message : undefined;
}
