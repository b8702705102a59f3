/**
 * Every error of the bus. Programs act on `code`, people read the message.
 * The codes are grouped by who has to do something about them; docs/reference/errors.md lists them and a test compares the two.
 */
export const BUS_ERRORS = {
  // the programmer, at start
  BUS_CONFIG_INVALID: {
    actor: 'programmer',
    retryable: false,
    meaning: 'An option, route or handler is wrong; the message lists all that was found.',
  },
  BUS_HANDLER_DUPLICATE: {
    actor: 'programmer',
    retryable: false,
    meaning: 'Two handlers of one event type and group have the same id.',
  },
  BUS_EVENT_TYPE_UNKNOWN: {
    actor: 'programmer',
    retryable: false,
    meaning: 'No definition or no route is known for this event type.',
  },
  BUS_UNSUPPORTED: {
    actor: 'programmer',
    retryable: false,
    meaning: 'The transport cannot do this; its capabilities say so.',
  },
  // the sender of the event
  BUS_EVENT_INVALID: { actor: 'sender', retryable: false, meaning: 'The data does not match the schema of the event.' },
  BUS_ENCODE_FAILED: { actor: 'sender', retryable: false, meaning: 'The codec could not write the event.' },
  BUS_DECODE_FAILED: { actor: 'sender', retryable: false, meaning: 'The record is not a readable event.' },
  BUS_SCHEMA_UNKNOWN: {
    actor: 'sender',
    retryable: false,
    meaning: 'The record names a schema that the registry does not have.',
  },
  BUS_RECORD_TOO_LARGE: {
    actor: 'sender',
    retryable: false,
    meaning: 'The record is larger than the limit of the transport.',
  },
  // the author of the handler
  BUS_HANDLER_FAILED: { actor: 'handler', retryable: true, meaning: 'The handler threw; the retry policy decides.' },
  BUS_HANDLER_TIMEOUT: { actor: 'handler', retryable: true, meaning: 'The handler did not settle within its timeout.' },
  BUS_HANDLER_REFUSED: {
    actor: 'handler',
    retryable: false,
    meaning: 'A guard refused the event, or the handler said that trying again is useless.',
  },
  // the operator
  BUS_TRANSPORT_UNAVAILABLE: {
    actor: 'operator',
    retryable: true,
    meaning: 'The broker or the log does not answer. `details.outcome` of a send says `not-stored` or `unknown`.',
  },
  BUS_REGISTRY_UNAVAILABLE: { actor: 'operator', retryable: true, meaning: 'The schema registry does not answer.' },
  BUS_BUFFER_FULL: {
    actor: 'operator',
    retryable: true,
    meaning: 'The send buffer stayed full until the deadline, or as much again waits already.',
  },
  BUS_FULL: { actor: 'operator', retryable: true, meaning: 'The log or its disk is full.' },
  BUS_BUSY: {
    actor: 'operator',
    retryable: true,
    meaning: 'Another process holds what is needed, for longer than the deadline.',
  },
  BUS_TRANSPORT_REFUSED: {
    actor: 'operator',
    retryable: false,
    meaning: 'The broker or the registry refused: credentials, rights, or an incompatible schema.',
  },
  BUS_TOPIC_MISSING: {
    actor: 'operator',
    retryable: false,
    meaning: 'The topic does not exist, or not with these partitions.',
  },
  BUS_DATA_LOSS: {
    actor: 'operator',
    retryable: false,
    meaning: 'Records are gone, or a position belongs to other data.',
  },
  // nobody
  BUS_INTERRUPTED: {
    actor: 'nobody',
    retryable: true,
    meaning: 'Stopped by shutdown, revoke or the caller; it is not a failure.',
  },
  BUS_CLOSED: { actor: 'nobody', retryable: false, meaning: 'The bus, transport or consumer is closed.' },
} as const satisfies Record<string, BusErrorKind>;

interface BusErrorKind {
  readonly actor: 'programmer' | 'sender' | 'handler' | 'operator' | 'nobody';
  readonly retryable: boolean;
  readonly meaning: string;
}

export type BusErrorCode = keyof typeof BUS_ERRORS;

export interface BusErrorOptions {
  /** Plain facts for programs: topic, partition, offset, limits. Never data of an event. */
  readonly details?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

export class BusError extends Error {
  override readonly name = 'BusError';
  readonly code: BusErrorCode;
  /** Whether trying the same again later can succeed. */
  readonly retryable: boolean;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: BusErrorCode, message: string, options: BusErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = BUS_ERRORS[code].retryable;
    this.details = options.details ?? {};
  }
}

/** Thrown by a handler: do not try this delivery again, make it a dead letter at once. */
export class NonRetryable extends Error {
  override readonly name = 'NonRetryable';
  readonly code: BusErrorCode;

  constructor(reason: string, options: { readonly code?: BusErrorCode; readonly cause?: unknown } = {}) {
    super(reason, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = options.code ?? 'BUS_HANDLER_REFUSED';
  }
}

/** Thrown by a handler: try this delivery again after `ms` milliseconds; the attempt counts. */
export class RetryAfter extends Error {
  override readonly name = 'RetryAfter';

  constructor(
    readonly ms: number,
    options: { readonly reason?: string; readonly cause?: unknown } = {},
  ) {
    super(
      options.reason ?? `The handler asked to be called again after ${ms} ms.`,
      options.cause === undefined ? undefined : { cause: options.cause },
    );
  }
}

/** Reads a bus error across two copies of this package, where `instanceof` fails. */
export function isBusError(error: unknown, code?: BusErrorCode): error is BusError {
  if (typeof error !== 'object' || error === null || !('code' in error)) return false;
  return code === undefined ? isBusErrorCode(error.code) : error.code === code;
}

export function isBusErrorCode(code: unknown): code is BusErrorCode {
  return typeof code === 'string' && Object.hasOwn(BUS_ERRORS, code);
}

/** What was thrown; where looking at it throws too, an error that says so. */
export function readable(error: unknown): unknown {
  try {
    isBusError(error);
    if (error instanceof Error) void [error.name, error.message];
    return error;
  } catch {
    return new BusError('BUS_HANDLER_FAILED', 'What was thrown cannot be read.');
  }
}
