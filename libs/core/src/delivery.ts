/**
 * One delivery: a record being tried by one handler. It goes down named steps, and each attempt ends in exactly one outcome:
 *
 *   received → decoded → matched → attempted → settled → reported
 *                                     │
 *                                     └→ handled · failed · interrupted
 *
 * The consumer walks the steps before and after; this file is the attempt itself: the handler's run under its timeout, what the
 * handler is given, and what its answer means. A crash anywhere before the commit brings the record back.
 */
import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks';
import type { RecordMetadata } from './codec.js';
import type { EventMetadata } from './envelope.js';
import { BusError, readable } from './errors.js';
import type { EventDefinition } from './event.js';
import type { RetryPolicy } from './retry.js';
import type { StoredRecord } from './transport.js';

export interface HandlerOptions {
  /** Stable name, unique per event type and group. Dead letters and redrives are addressed by it. */
  readonly id: string;
  /** Topic without prefix. Default: the topic of the event's only route. */
  readonly topic?: string;
  /** Consumer group. Default: the service. */
  readonly group?: string;
  /** Default: the bus's. */
  readonly retry?: RetryPolicy;
  /** Time of one attempt, in milliseconds. Default: the bus's. */
  readonly timeoutMs?: number;
}

/** Called with the data and its context. Resolving means handled; throwing means failed, and the retry policy decides. */
export type Handle = (data: any, context: DeliveryContext) => unknown;

/** Wraps every attempt: connection checks, transactions of a monitor. Calls `next` once; what it throws is the handler's failure. */
export type Around = (context: DeliveryContext, next: () => Promise<void>) => Promise<void>;

/** A handler with everything settled that its options left open. */
export interface Handler {
  readonly id: string;
  readonly definition: EventDefinition;
  /** Full name, with prefix. */
  readonly topic: string;
  readonly group: string;
  readonly retry: RetryPolicy;
  readonly timeoutMs: number;
  readonly handle: Handle;
}

export class Delivery {
  /** Its data cannot be read yet: the schema is being fetched. */
  isWaiting = false;
  /** Attempts that counted. */
  attempts = 0;
  firstFailedAt: number | undefined;

  constructor(
    readonly record: StoredRecord,
    readonly received: RecordMetadata,
    readonly handler: Handler,
    /** The data for the first attempt; each further one decodes afresh, because a handler may have changed it. */
    public data: { readonly fresh: unknown } | undefined,
  ) {}
}

/** What a handler learns besides the data. */
export class DeliveryContext {
  readonly replay = false;
  #abort: AbortController | undefined;
  #reason: BusError | undefined;

  constructor(
    private readonly delivery: Delivery,
    /** From 1. */
    readonly attempt: number,
  ) {}

  get event(): EventMetadata {
    return this.delivery.received.metadata;
  }
  /** Headers that are not metadata. */
  get headers(): Readonly<Record<string, string>> {
    return this.delivery.received.headers;
  }
  get topic(): string {
    return this.delivery.record.topic;
  }
  get partition(): number {
    return this.delivery.record.partition;
  }
  get offset(): string {
    return this.delivery.record.offset;
  }
  /** When the record was stored, milliseconds since 1970. */
  get timestamp(): number {
    return this.delivery.record.timestamp;
  }
  get key(): Uint8Array | null {
    return this.delivery.record.key;
  }
  get group(): string {
    return this.delivery.handler.group;
  }
  /** Id of the handler. */
  get handler(): string {
    return this.delivery.handler.id;
  }

  /** Aborted on timeout, on revoke and on shutdown, with the reason. Made when first asked for: most handlers never do. */
  get signal(): AbortSignal {
    this.#abort ??= new AbortController();
    if (this.#reason !== undefined) this.#abort.abort(this.#reason);
    return this.#abort.signal;
  }

  /** @internal */
  abort(reason: BusError): void {
    this.#reason ??= reason;
    this.#abort?.abort(reason);
  }
}

/** The delivery that the present code runs in, through every await of its handler. */
export function currentDelivery(): DeliveryContext | undefined {
  return deliveries.getStore();
}

const deliveries = new AsyncLocalStorage<DeliveryContext>();

export type AttemptOutcome =
  | { readonly status: 'handled' }
  | { readonly status: 'failed'; readonly error: unknown }
  | { readonly status: 'interrupted' };

/** One run of the handler. Calls `settle` exactly once, whatever the handler does later. */
export class Attempt {
  readonly context: DeliveryContext;
  readonly deadline: number;
  #isOver = false;

  constructor(
    readonly delivery: Delivery,
    readonly startedAt: number,
    private readonly settle: (outcome: AttemptOutcome) => void,
  ) {
    this.context = new DeliveryContext(delivery, delivery.attempts + 1);
    this.deadline = startedAt + delivery.handler.timeoutMs;
  }

  /** It has its outcome. What waited for data until then does not run any more. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** `data` answers a value, or a promise of it when the record has to be decoded again. */
  run(data: () => unknown, around: readonly Around[]): void {
    try {
      const answer = afresh(() => promised(deliveries.run(this.context, start, this, data(), around)));
      if (answer === undefined) return this.#end(HANDLED);
      answer.then(
        () => this.#end(HANDLED),
        (error: unknown) => this.#failed(error),
      );
    } catch (error) {
      this.#failed(error);
    }
  }

  /** The time of the attempt is over. Whatever the handler still does counts for nothing. */
  expire(): void {
    const { id, timeoutMs } = this.delivery.handler;
    const error = new BusError('BUS_HANDLER_TIMEOUT', `Handler "${id}" did not settle within ${timeoutMs} ms.`, {
      details: { handler: id, timeoutMs },
    });
    this.context.abort(error);
    this.#failed(error);
  }

  /** Revoked or shut down: not a failure, and not an attempt. */
  interrupt(): void {
    this.context.abort(
      new BusError(
        'BUS_INTERRUPTED',
        `Handler "${this.delivery.handler.id}" was interrupted; the event is delivered again.`,
      ),
    );
    this.#end({ status: 'interrupted' });
  }

  #failed(error: unknown): void {
    this.#end({ status: 'failed', error: readable(error) });
  }

  #end(outcome: AttemptOutcome): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.settle(outcome);
  }
}

function start(attempt: Attempt, data: unknown, around: readonly Around[]): unknown {
  if (data instanceof Promise) return data.then((one) => (attempt.isOver ? undefined : start(attempt, one, around)));
  const { context, delivery } = attempt;
  if (around.length === 0) return delivery.handler.handle(data, context);
  return wrapped(context, around, async () => void (await delivery.handler.handle(data, context)));
}

function wrapped(context: DeliveryContext, around: readonly Around[], handle: () => Promise<void>): Promise<void> {
  return around.reduceRight<() => Promise<void>>((next, wrap) => () => wrapping(context, wrap, next), handle)();
}

/** A function of `around` that does not wait for `next` does not speak for what is inside: the end of that counts then. */
async function wrapping(context: DeliveryContext, wrap: Around, next: () => Promise<void>): Promise<void> {
  let inner: Watched | undefined;
  const once = () => {
    if (inner !== undefined) throw misused(context, 'called "next" twice');
    return (inner = new Watched((resolve, reject) => void next().then(resolve, reject)));
  };
  try {
    await wrap(context, once);
  } finally {
    if (inner !== undefined && !inner.isAwaited) await inner;
  }
  if (inner === undefined) throw misused(context, 'did not call "next"');
}

function misused({ handler }: DeliveryContext, what: string): BusError {
  const text = `A function of option "around" ${what}: call it once, and await it. It is what runs handler "${handler}".`;
  return new BusError('BUS_HANDLER_FAILED', text, { details: { handler } });
}

/** A promise that knows whether anybody waits for it. */
class Watched extends Promise<void> {
  isAwaited = false;

  static override get [Symbol.species](): PromiseConstructor {
    return Promise;
  }

  // oxlint-disable-next-line unicorn/no-thenable -- of a promise, to see who waits
  override then<A = void, B = never>(...[resolved, rejected]: Parameters<Promise<void>['then']>): Promise<A | B> {
    this.isAwaited = true;
    return super.then(resolved, rejected) as Promise<A | B>;
  }
}

// A handler may answer with a query that runs when it is awaited: whatever has a `then` is a promise, and may throw there.
function promised(value: unknown): Promise<unknown> | undefined {
  if (value instanceof Promise) return value;
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return undefined;
  return typeof (value as { readonly then?: unknown }).then === 'function' ? Promise.resolve(value) : undefined;
}

/**
 * Each attempt is like a request: what other code keeps in an AsyncLocalStorage is not there (whoever sent an event, or resumed a handler,
 * may have been in the midst of a request), and what a handler enters ends with it.
 */
function afresh<T>(run: () => T): T {
  return outside(() => new AsyncResource('event-bus:attempt').runInAsyncScope(run));
}

const outside = AsyncLocalStorage.snapshot();

const HANDLED: AttemptOutcome = { status: 'handled' };
