/**
 * From the app to the transport. An event is validated, given its metadata, encoded, published to every enabled route in the
 * order of the calls, and told to local receivers:
 *
 *   send ─ validate ─ metadata ─ encode ─ line of the topic ─ room? ─ publish ─▶ stored
 *                                                └ local receivers
 *
 * Nothing is swallowed: the promise resolves when every record is safe, or rejects with a typed error. It never stays pending: the
 * deadline ends it, and `details.outcome` says `not-stored`, or `unknown` when a record may be stored. What is sent before the bus is
 * open waits in its line, as a copy. A transport that does not keep the deadline is waited for a second longer.
 * Bounds: records and bytes handed to the transport and not settled; as many again may wait for room, a schema or the opening.
 */
import { serialize } from 'node:v8';
import type { Clock } from './clock.js';
import { DEAD_LETTER_BYTES } from './dead-letter.js';
import { currentDelivery } from './delivery.js';
import { isoTime, type Envelope, type EventMetadata } from './envelope.js';
import { BusError, isBusError } from './errors.js';
import { invalidEvent, type EventDefinition } from './event.js';
import type { LocalReceivers } from './receivers.js';
import { recordBytes } from './record-size.js';
import type { Route } from './routes.js';
import { SendBuffer, type Entry } from './send-buffer.js';
import { signals, type BusIdentity } from './signals.js';
import type { BusRecord, Header, Place, PublishOutcome, Transport } from './transport.js';

export interface SendOptions {
  /** When it happened. Of a row in a database: the row's own time; a string keeps its microseconds. Default: now. */
  readonly time?: Date | string;
  /** Further headers. Names that the bus uses itself are refused. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Gives up waiting; a record that was already handed to the transport may still be stored. */
  readonly signal?: AbortSignal;
  /** Default: the bus's `sendDeadlineMs`. */
  readonly deadlineMs?: number;
}

/** What `send` resolves to: the metadata, and where each record is. */
export interface Sent {
  readonly event: EventMetadata;
  /** One for each enabled route; empty when all routes are off. */
  readonly records: readonly Place[];
}

export interface ProducerSetup {
  readonly identity: BusIdentity;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly newId: () => string;
  readonly sourceHost: string;
  readonly sourceLib: string;
  /** Throws `BUS_CONFIG_INVALID` for routes that are wrong. */
  readonly routesOf: (definition: EventDefinition) => readonly Route[] | undefined;
  readonly receivers: LocalReceivers;
  readonly buffer: { readonly records: number; readonly bytes: number };
  readonly sendDeadlineMs: number;
}

export class Producer {
  readonly #buffer: SendBuffer<Pending>;
  readonly #unsettled = new Set<Pending>();
  readonly #source: string;
  #isOpen = false;
  #isClosed = false;
  #time = { ms: NaN, text: '' };
  #timeout: { readonly at: number; readonly cancel: () => void } | undefined;
  #flushed: (() => void)[] = [];

  constructor(private readonly setup: ProducerSetup) {
    this.#source = `openedx/${setup.identity.service}/web`;
    this.#buffer = new SendBuffer({ limit: setup.buffer, hand: (pending) => this.#hand(pending) });
  }

  /** What is not settled yet. */
  get buffered(): { readonly records: number; readonly bytes: number } {
    return this.#buffer.held;
  }

  /** Everything up to the place in line happens before this returns: the order of calls is the order of records. */
  send(definition: EventDefinition, data: unknown, options: SendOptions = NO_OPTIONS): Promise<Sent> {
    return new Promise((resolve, reject) => {
      const sending = this.#begin(definition, data, options, resolve, reject);
      if (sending === undefined) return;
      // After the event has its place in line: what a receiver sends in answer comes behind it, and what it changes is not sent.
      this.setup.receivers.tell(data, sending.event);
      this.#done(sending);
    });
  }

  /** The transport is open: what was sent before goes out, in order. */
  open(): void {
    this.#isOpen = true;
    for (const pending of this.#buffer.waiting()) if (!pending.isOver) this.#encode(pending, pending.kept!);
    this.#buffer.advanceAll();
  }

  /** The transport could not be opened: what waits for that ends. */
  refuse(error: unknown): void {
    for (const pending of this.#unsettled) this.#reject(pending, error);
  }

  /** Resolves when everything sent so far is settled. */
  flush(): Promise<void> {
    if (this.#unsettled.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#flushed.push(resolve));
  }

  /** Refuses further sends, and waits for those under way; each ends by its deadline. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.flush();
    this.#timeout?.cancel();
  }

  /** Puts an event in line; `undefined` when it was refused. */
  #begin(
    definition: EventDefinition,
    data: unknown,
    options: SendOptions,
    resolve: (sent: Sent) => void,
    reject: (error: unknown) => void,
  ): Sending | undefined {
    const startedAt = this.setup.clock.monotonic();
    try {
      const routes = this.#routes(definition);
      const envelope = this.#envelope(definition, data, options);
      const headers = headersOf(options.headers);
      checkDeadline(options.deadlineMs);
      const sending = new Sending(envelope.metadata, startedAt, resolve, reject);
      for (const route of routes) this.#publish(sending, { definition, envelope, route, headers }, options);
      return sending;
    } catch (thrown) {
      const error = withOutcome(thrown, 'not-stored');
      this.#sayFailed(definition.type, undefined, error);
      reject(error);
      return undefined;
    }
  }

  #routes(definition: EventDefinition): readonly Route[] {
    if (this.#isClosed) throw new BusError('BUS_CLOSED', `Event ${definition.type} was not sent: the bus is closed.`);
    const routes = this.setup.routesOf(definition);
    // All before the first record: a toggle that throws must not leave half of an event on its way.
    if (routes?.length === 1) return isOn(routes[0]!) ? routes : [];
    if (routes !== undefined) return routes.filter(isOn);
    throw new BusError(
      'BUS_EVENT_TYPE_UNKNOWN',
      `Event ${definition.type} was not sent: option "routes" does not name it.`,
      { details: { type: definition.type } },
    );
  }

  #envelope(definition: EventDefinition, data: unknown, options: SendOptions): Envelope {
    const issues = definition.validate(data);
    if (issues.length > 0) throw invalidEvent(definition, issues);
    const { clock, newId, sourceHost, sourceLib } = this.setup;
    const metadata: EventMetadata = {
      id: newId(),
      type: definition.type,
      minorversion: definition.minorversion,
      source: this.#source,
      sourcehost: sourceHost,
      time: options.time === undefined ? this.#now(clock.now()) : checkedTime(definition, options.time),
      sourcelib: sourceLib,
    };
    return { metadata, data };
  }

  // Writing a date costs as much as writing a record; within a millisecond it is the same text.
  #now(ms: number): string {
    if (ms !== this.#time.ms) this.#time = { ms, text: isoTime(new Date(ms)) };
    return this.#time.text;
  }

  #publish(sending: Sending, event: Outgoing, { signal, deadlineMs = this.setup.sendDeadlineMs }: SendOptions): void {
    const { topic } = event.route;
    const pending = new Pending(sending, topic, deadlineMs, sending.startedAt + deadlineMs);
    // An array that grows takes room for seventeen.
    sending.records = sending.records.length === 0 ? [pending] : [...sending.records, pending];
    sending.open++;
    if (signal?.aborted) return this.#fail(pending, interrupted('not-stored'));
    if (this.#buffer.isCrowded(topic)) return this.#fail(pending, this.#full('as many sends wait for room already'));
    if (signal !== undefined) this.#abortable(pending, signal);
    this.#unsettled.add(pending);
    this.#watch(pending.deadline);
    this.#buffer.join(pending);
    if (this.#isOpen) this.#encode(pending, event);
    else this.#keep(pending, event);
    this.#buffer.advance(topic);
  }

  #abortable(pending: Pending, signal: AbortSignal): void {
    const abort = () => {
      this.#reject(pending, interrupted(pending.isHanded ? 'unknown' : 'not-stored'));
      this.#buffer.advanceAll();
    };
    signal.addEventListener('abort', abort, { once: true });
    pending.release = () => signal.removeEventListener('abort', abort);
  }

  /** At once and not at the head of the line: what is stored is the data as it was when `send` was called. */
  #encode(pending: Pending, event: Outgoing): void {
    const { definition, envelope, route, headers } = event;
    try {
      const record = this.setup.transport.codec.encode(definition, envelope, route, headers);
      if (!(record instanceof Promise)) return this.#encoded(pending, record);
      // What is stored is the data as it was, whatever its owner does to it while the schema is fetched: encoded again, from a copy.
      const kept = pending.kept ?? this.#keep(pending, event);
      record
        .then((one) => (event === kept ? this.#encoded(pending, one) : this.#encode(pending, kept)))
        .catch((error: unknown) => this.#reject(pending, error))
        .finally(() => this.#buffer.advance(pending.topic));
    } catch (error) {
      this.#reject(pending, error);
    }
  }

  /** Nobody can say yet how long its record will be: what its data take is counted meanwhile. */
  #keep(pending: Pending, event: Outgoing): Outgoing {
    const data = event.definition.copy(event.envelope.data);
    pending.kept = { ...event, envelope: { ...event.envelope, data } };
    this.#buffer.weigh(pending, serialize(data).length);
    return pending.kept;
  }

  #encoded(pending: Pending, record: BusRecord): void {
    const bytes = recordBytes(record);
    // What may be sent can be kept as a dead letter too.
    const maxRecordBytes = this.setup.transport.capabilities.maxRecordBytes - DEAD_LETTER_BYTES;
    if (pending.isOver) return;
    pending.record = record;
    pending.kept = undefined;
    this.#buffer.weigh(pending, bytes);
    if (bytes <= maxRecordBytes) return;
    const { type } = pending.sending.event;
    const text = `Event ${type} was not sent: its record has ${bytes} bytes, the limit is ${maxRecordBytes}. Send a reference instead of the content.`;
    this.#reject(
      pending,
      new BusError('BUS_RECORD_TOO_LARGE', text, { details: { type, bytes, maxRecordBytes, outcome: 'not-stored' } }),
    );
  }

  #hand(pending: Pending): void {
    const { transport, clock } = this.setup;
    const { topic } = pending;
    const record = pending.record!;
    pending.record = undefined;
    pending.isHanded = true;
    const deadlineMs = Math.max(1, pending.deadline - clock.monotonic());
    if (transport.publishOne !== undefined) {
      transport.publishOne(topic, record, deadlineMs, (outcome) => this.#settle(pending, outcome));
      return;
    }
    transport.publish(topic, [record], { deadlineMs }).then(
      ([outcome]) => this.#settle(pending, outcome ?? NO_OUTCOME),
      (error) => this.#settle(pending, { status: 'not-stored', error }),
    );
  }

  #settle(pending: Pending, outcome: PublishOutcome): void {
    // A transport that settles twice must not make room that is not there.
    if (pending.isBack) return;
    pending.isBack = true;
    this.#buffer.giveBack(pending);
    if (outcome.status === 'stored') this.#resolve(pending, outcome.partition, outcome.offset);
    else this.#reject(pending, refusal(outcome));
    this.#buffer.advanceAll();
  }

  #resolve(pending: Pending, partition: number, offset: string): void {
    if (!this.#end(pending)) return;
    pending.place = { topic: pending.topic, partition, offset };
    this.#done(pending.sending);
    this.#sayFlushed();
  }

  #reject(pending: Pending, error: unknown): void {
    if (!this.#end(pending)) return;
    this.#fail(pending, pending.isHanded ? error : withOutcome(error, 'not-stored'));
    if (!pending.isHanded) this.#buffer.abandon(pending);
    this.#sayFlushed();
  }

  #end(pending: Pending): boolean {
    if (!this.#unsettled.delete(pending)) return false;
    pending.isOver = true;
    pending.release?.();
    return true;
  }

  #fail(pending: Pending, error: unknown): void {
    pending.failure = { error };
    this.#done(pending.sending);
  }

  // One timer for all sends, at the earliest deadline: a timer for each would cost more than the send.
  #watch(deadline: number): void {
    if (this.#timeout !== undefined && this.#timeout.at <= deadline) return;
    this.#timeout?.cancel();
    const { clock } = this.setup;
    this.#timeout = { at: deadline, cancel: clock.timer(deadline - clock.monotonic(), () => this.#expireDue()) };
  }

  #expireDue(): void {
    this.#timeout = undefined;
    const now = this.setup.clock.monotonic();
    let next = Infinity;
    for (const pending of this.#unsettled) {
      if (pending.expiry <= now) this.#expire(pending);
      else next = Math.min(next, pending.expiry);
    }
    if (next < Infinity) this.#watch(Math.max(next, now + SWEEP_MS));
    this.#buffer.advanceAll();
  }

  #expire(pending: Pending): void {
    const { deadlineMs, isHanded, topic } = pending;
    if (!isHanded)
      return this.#reject(
        pending,
        this.#full(`it waited ${deadlineMs} ms for room, for its schema, or for the bus to open`),
      );
    const text = `No acknowledgement within ${deadlineMs} ms: the event may be stored, or may be stored later.`;
    this.#reject(pending, new BusError('BUS_TRANSPORT_UNAVAILABLE', text, { details: { topic, outcome: 'unknown' } }));
  }

  #sayFlushed(): void {
    if (this.#flushed.length === 0 || this.#unsettled.size > 0) return;
    for (const resolve of this.#flushed.splice(0)) resolve();
  }

  #full(why: string): BusError {
    const { records, bytes } = this.setup.buffer;
    const text = `The event was not sent: ${why}; the buffer holds ${records} records or ${bytes} bytes. Await sends, or raise option "buffer".`;
    return new BusError('BUS_BUFFER_FULL', text, { details: { outcome: 'not-stored', records, bytes } });
  }

  /** The last record of a send ends it. */
  #done(sending: Sending): void {
    if (--sending.open > 0) return;
    const { event, records, startedAt } = sending;
    const { identity, clock } = this.setup;
    const failure = worst(records);
    if (failure === undefined) {
      const places = records.map((one) => one.place!);
      if (signals.published.isHeard)
        signals.published.publish({ ...identity, event, records: places, durationMs: clock.monotonic() - startedAt });
      return sending.resolve({ event, records: places });
    }
    const stored = records.flatMap((one) => one.place ?? []);
    const error = stored.length === 0 ? failure.error : partly(failure.error, stored);
    this.#sayFailed(event.type, event, error);
    sending.reject(error);
  }

  #sayFailed(eventType: string, event: EventMetadata | undefined, error: unknown): void {
    if (signals.sendFailed.isHeard) signals.sendFailed.publish({ ...this.setup.identity, eventType, event, error });
  }
}

/** What is to be encoded. Nobody holds it longer: data that waits for an acknowledgement would outlive its generation of the heap. */
interface Outgoing {
  readonly definition: EventDefinition;
  readonly envelope: Envelope;
  readonly route: Route;
  readonly headers: readonly Header[];
}

/** One call of `send`, until its last record is settled. */
class Sending {
  /** One for each enabled route. */
  records: readonly Pending[] = NO_RECORDS;
  /** Of those, the ones that are not settled; and one more until all are in line. */
  open = 1;

  constructor(
    readonly event: EventMetadata,
    readonly startedAt: number,
    readonly resolve: (sent: Sent) => void,
    readonly reject: (error: unknown) => void,
  ) {}
}

/** One record of a send. */
class Pending implements Entry {
  isOver = false;
  record: BusRecord | undefined;
  /** Of its record, or, before there is one, of its data. */
  bytes = 0;
  /** What is to be encoded once that is possible. */
  kept: Outgoing | undefined;
  isHanded = false;
  /** The transport has settled it. */
  isBack = false;
  release: (() => void) | undefined;
  place: Place | undefined;
  failure: { readonly error: unknown } | undefined;

  constructor(
    readonly sending: Sending,
    readonly topic: string,
    readonly deadlineMs: number,
    readonly deadline: number,
  ) {}

  get isReady(): boolean {
    return this.record !== undefined;
  }

  /** At its deadline a transport can say whether the record is stored; we could not. */
  get expiry(): number {
    return this.isHanded ? this.deadline + GRACE_MS : this.deadline;
  }
}

function isOn(route: Route): boolean {
  try {
    const answer: unknown = route.isEnabled();
    if (typeof answer === 'boolean') return answer;
    throw new TypeError(`It answered ${answer instanceof Promise ? 'a promise' : `a ${typeof answer}`}.`);
  } catch (cause) {
    const { topic } = route;
    const text = `Nothing was sent: the function "enabled" of the route to "${topic}" did not answer true or false.`;
    throw new BusError('BUS_CONFIG_INVALID', text, { details: { topic }, cause });
  }
}

/** The handler that sends is the cause: its event's id, and the id that the whole chain began with. */
function headersOf(own: SendOptions['headers']): readonly Header[] {
  const cause = currentDelivery();
  if (own === undefined && cause === undefined) return NO_HEADERS;
  const headers: Header[] = Object.entries(own ?? {}).map(([name, value]) => [
    checkedName(name),
    checkedText(name, value),
  ]);
  if (cause === undefined) return headers;
  const correlation = cause.headers[CORRELATION] ?? cause.event.id;
  return [...headers, [CAUSATION, Buffer.from(cause.event.id)], [CORRELATION, Buffer.from(correlation)]];
}

function checkedName(name: string): string {
  if (/^[A-Za-z0-9._-]{1,100}$/.test(name) && !RESERVED.test(name)) return name;
  throw new BusError(
    'BUS_EVENT_INVALID',
    `Header "${name}" was refused: use letters, digits, ".", "_" and "-", and no name that the bus uses itself (ce_…, dead-…, ${CAUSATION}, ${CORRELATION}, sourcehost, sourcelib, content-type).`,
  );
}

// A deadline that is no number would never come.
function checkDeadline(deadlineMs: number | undefined): void {
  if (deadlineMs === undefined || (Number.isFinite(deadlineMs) && deadlineMs > 0)) return;
  throw new BusError(
    'BUS_CONFIG_INVALID',
    `Option "deadlineMs" of send must be a positive number of milliseconds, got ${String(deadlineMs)}.`,
  );
}

function checkedText(name: string, value: unknown): Buffer {
  if (typeof value === 'string') return Buffer.from(value);
  throw new BusError('BUS_EVENT_INVALID', `Header "${name}" was refused: it must be text, got a ${typeof value}.`);
}

function checkedTime(definition: EventDefinition, time: Date | string): string {
  try {
    return isoTime(time);
  } catch (cause) {
    throw new BusError(
      'BUS_EVENT_INVALID',
      `Event ${definition.type} was not sent: option "time" must be a valid Date or an ISO 8601 date-time with an offset, in the years 1 to 9999.`,
      { cause },
    );
  }
}

/** One route failed and another did not: the sender must know before it sends again. */
function partly(error: unknown, stored: readonly Place[]): unknown {
  if (!isBusError(error)) return error;
  const { code, message, details, cause } = error;
  return new BusError(code, message, { cause: cause ?? error, details: { ...details, stored } });
}

/** What the sender has to know of several failures: that one of the records may be stored, if so. */
function worst(records: readonly Pending[]): Pending['failure'] {
  let found: Pending['failure'];
  for (const { failure } of records) {
    if (isBusError(failure?.error) && failure.error.details['outcome'] === 'unknown') return failure;
    found ??= failure;
  }
  return found;
}

/** The error of a transport, with the outcome where the sender can read it. */
function refusal({ error, status }: Exclude<PublishOutcome, { status: 'stored' }>): unknown {
  if (isBusError(error)) return withOutcome(error, status);
  const text = `The transport failed: ${error.message}`;
  return new BusError('BUS_TRANSPORT_UNAVAILABLE', text, { cause: error, details: { outcome: status } });
}

function withOutcome(error: unknown, outcome: 'not-stored' | 'unknown'): unknown {
  if (!isBusError(error) || error.details['outcome'] !== undefined) return error;
  const { code, message, details, cause } = error;
  return new BusError(code, message, { cause: cause ?? error, details: { ...details, outcome } });
}

function interrupted(outcome: 'not-stored' | 'unknown'): BusError {
  return new BusError('BUS_INTERRUPTED', 'The caller gave up waiting for the send.', { details: { outcome } });
}

const NO_OPTIONS: SendOptions = {};
const NO_HEADERS: readonly Header[] = [];
const NO_RECORDS: readonly Pending[] = [];
const CAUSATION = 'causationid';
const CORRELATION = 'correlationid';
const RESERVED =
  /^(ce_|dead-|causationid$|correlationid$|sourcehost$|sourcelib$|content-type$|__proto__$|constructor$|prototype$)/;
const NO_OUTCOME: PublishOutcome = { status: 'unknown', error: new Error('The transport gave no outcome.') };
const GRACE_MS = 1_000;
// Deadlines are looked at no more often than this.
const SWEEP_MS = 10;
