/**
 * From the app to the transport. An event is validated, given its metadata, encoded, published to every enabled route in the
 * order of the calls, and told to local receivers:
 *
 *   send ─ validate ─ metadata ─ encode ─ line of the topic ─ room? ─ publish ─▶ stored
 *                                                └ local receivers
 *
 * Nothing is swallowed: the promise resolves when every record is safe, or rejects with a typed error. It never stays pending: the
 * deadline ends it, and `details.outcome` says whether the record is `not-stored` or `unknown`.
 * Bounds: records and bytes handed to the transport and not settled; as many again may wait for room.
 */
import type { Clock } from './clock.js';
import { DEAD_LETTER_BYTES } from './dead-letter.js';
import { currentDelivery } from './delivery.js';
import { isoTime, type Envelope, type EventMetadata } from './envelope.js';
import { BusError, isBusError } from './errors.js';
import { invalidEvent, type EventDefinition } from './event.js';
import { Fifo } from './fifo.js';
import type { LocalReceivers } from './receivers.js';
import type { Route } from './routes.js';
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
  readonly routesOf: (type: string) => readonly Route[] | undefined;
  readonly receivers: LocalReceivers;
  readonly buffer: { readonly records: number; readonly bytes: number };
  readonly sendDeadlineMs: number;
}

export class Producer {
  readonly #lines = new Map<string, Line>();
  readonly #unsettled = new Set<Pending>();
  readonly #source: string;
  #waiting = 0;
  #waitingBytes = 0;
  #records = 0;
  #bytes = 0;
  #isClosed = false;
  #time = { ms: NaN, text: '' };
  #timeout: { readonly at: number; readonly cancel: () => void } | undefined;
  #flushed: (() => void)[] = [];

  constructor(private readonly setup: ProducerSetup) {
    this.#source = `openedx/${setup.identity.service}/web`;
  }

  /** What is not settled yet. */
  get buffered(): { readonly records: number; readonly bytes: number } {
    return { records: this.#records + this.#waiting, bytes: this.#bytes + this.#waitingBytes };
  }

  /** Everything up to the place in line happens before this returns: the order of calls is the order of records. */
  send(definition: EventDefinition, data: unknown, options: SendOptions = {}): Promise<Sent> {
    const startedAt = this.setup.clock.monotonic();
    let event: EventMetadata;
    let places: Promise<readonly Place[]>;
    try {
      const routes = this.#routes(definition);
      const envelope = this.#envelope(definition, data, options);
      const headers = headersOf(options.headers);
      checkDeadline(options.deadlineMs);
      event = envelope.metadata;
      places = settleAll(
        routes
          .filter((route) => route.isEnabled())
          .map((route) => this.#publish({ definition, envelope, route, headers }, options)),
      );
    } catch (error) {
      return Promise.reject(error);
    }
    // After the event has its place in line: what a receiver sends in answer comes behind it, and what it changes is not sent.
    this.setup.receivers.tell(data, event);
    return places.then(
      (records) => this.#published(event, records, startedAt),
      (error) => this.#failed(event, error),
    );
  }

  /** Resolves when everything sent so far is settled. */
  flush(): Promise<void> {
    if (this.buffered.records === 0) return Promise.resolve();
    return new Promise((resolve) => this.#flushed.push(resolve));
  }

  /** Refuses further sends, and waits for those under way; each ends by its deadline. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.flush();
    this.#timeout?.cancel();
  }

  #routes(definition: EventDefinition): readonly Route[] {
    if (this.#isClosed) throw new BusError('BUS_CLOSED', `Event ${definition.type} was not sent: the bus is closed.`);
    const routes = this.setup.routesOf(definition.type);
    if (routes !== undefined) return routes;
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

  #publish(event: Outgoing, options: SendOptions): Promise<Place> {
    const { signal, deadlineMs = this.setup.sendDeadlineMs } = options;
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(interrupted('not-stored'));
      if (this.#isCrowded()) return reject(this.#full('as many sends wait for room already'));
      const pending = new Pending(event, deadlineMs, this.setup.clock.monotonic() + deadlineMs, resolve, reject);
      if (signal !== undefined) this.#abortable(pending, signal);
      this.#unsettled.add(pending);
      this.#watch(pending.deadline);
      this.#join(pending);
    });
  }

  #isCrowded(): boolean {
    const { records, bytes } = this.setup.buffer;
    return this.#waiting >= records || this.#waitingBytes >= bytes;
  }

  #abortable(pending: Pending, signal: AbortSignal): void {
    const abort = () => {
      this.#reject(pending, interrupted(pending.isHanded ? 'unknown' : 'not-stored'));
      this.#advanceAll();
    };
    signal.addEventListener('abort', abort, { once: true });
    pending.release = () => signal.removeEventListener('abort', abort);
  }

  #join(pending: Pending): void {
    const { topic } = pending.event.route;
    let line = this.#lines.get(topic);
    if (line === undefined) this.#lines.set(topic, (line = { waiting: new Fifo(), abandoned: 0 }));
    line.waiting.push(pending);
    this.#waiting++;
    this.#encode(line, pending);
    this.#advance(line);
  }

  #advanceAll(): void {
    if (this.#waiting === 0) return;
    for (const [topic, line] of this.#lines) {
      if (!this.#advance(line) || line.waiting.size === 0) continue;
      // Whoever got room goes to the back: one busy topic must not starve the others.
      this.#lines.delete(topic);
      this.#lines.set(topic, line);
    }
  }

  /** Hands over from the front of a line, as far as it goes now. Nothing overtakes: a line waits while its head's schema is fetched. */
  #advance(line: Line): boolean {
    let isMoved = false;
    for (let head = line.waiting.peek(); head !== undefined; head = line.waiting.peek()) {
      const isLive = this.#unsettled.has(head);
      if (isLive && (head.record === undefined || !this.#hasRoom(head.bytes))) break;
      line.waiting.shift();
      if (isLive) this.#hand(head, head.record!);
      else line.abandoned--;
      isMoved ||= isLive;
    }
    return isMoved;
  }

  /** At once and not at the head of the line: what is stored is the data as it was when `send` was called. */
  #encode(line: Line, pending: Pending): void {
    try {
      const { definition, envelope, route, headers } = pending.event;
      const record = this.setup.transport.codec.encode(definition, envelope, route, headers);
      if (!(record instanceof Promise)) return this.#encoded(pending, record);
      record
        .then((one) => this.#encoded(pending, one))
        .catch((error: unknown) => this.#reject(pending, error))
        .finally(() => this.#advance(line));
    } catch (error) {
      this.#reject(pending, error);
    }
  }

  #encoded(pending: Pending, record: BusRecord): void {
    const bytes = sizeOf(record);
    // What may be sent can be kept as a dead letter too.
    const maxRecordBytes = this.setup.transport.capabilities.maxRecordBytes - DEAD_LETTER_BYTES;
    if (!this.#unsettled.has(pending)) return;
    pending.record = record;
    pending.bytes = bytes;
    this.#waitingBytes += bytes;
    if (bytes <= maxRecordBytes) return;
    const { type } = pending.event.definition;
    const text = `Event ${type} was not sent: its record has ${bytes} bytes, the limit is ${maxRecordBytes}. Send a reference instead of the content.`;
    this.#reject(
      pending,
      new BusError('BUS_RECORD_TOO_LARGE', text, { details: { type, bytes, maxRecordBytes, outcome: 'not-stored' } }),
    );
  }

  #hasRoom(bytes: number): boolean {
    if (this.#records === 0) return true;
    return this.#records < this.setup.buffer.records && this.#bytes + bytes <= this.setup.buffer.bytes;
  }

  #hand(pending: Pending, record: BusRecord): void {
    this.#waiting--;
    this.#waitingBytes -= pending.bytes;
    pending.isHanded = true;
    this.#records++;
    this.#bytes += pending.bytes;
    const deadlineMs = Math.max(1, pending.deadline - this.setup.clock.monotonic());
    this.setup.transport.publish(pending.event.route.topic, [record], { deadlineMs }).then(
      ([outcome]) => this.#settle(pending, outcome ?? NO_OUTCOME),
      (error) => this.#settle(pending, { status: 'not-stored', error }),
    );
  }

  #settle(pending: Pending, outcome: PublishOutcome): void {
    this.#records--;
    this.#bytes -= pending.bytes;
    if (outcome.status === 'stored') this.#resolve(pending, outcome.partition, outcome.offset);
    else this.#reject(pending, refusal(outcome));
    this.#advanceAll();
    this.#sayFlushed();
  }

  #resolve(pending: Pending, partition: number, offset: string): void {
    if (!this.#unsettled.delete(pending)) return;
    pending.release?.();
    pending.resolve({ topic: pending.event.route.topic, partition, offset });
  }

  #reject(pending: Pending, error: unknown): void {
    if (!this.#unsettled.delete(pending)) return;
    pending.release?.();
    pending.reject(error);
    if (!pending.isHanded) this.#abandon(pending);
  }

  /** A send that ended in its line needs no room any more. The line is swept when half of it is abandoned: each entry costs one look. */
  #abandon(pending: Pending): void {
    const line = this.#lines.get(pending.event.route.topic)!;
    this.#waiting--;
    this.#waitingBytes -= pending.bytes;
    if (++line.abandoned * 2 > line.waiting.size) {
      line.waiting.remove((one) => !this.#unsettled.has(one));
      line.abandoned = 0;
    }
    this.#sayFlushed();
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
      if (pending.deadline <= now) this.#expire(pending);
      else next = Math.min(next, pending.deadline);
    }
    if (next < Infinity) this.#watch(Math.max(next, now + SWEEP_MS));
    this.#advanceAll();
  }

  #expire(pending: Pending): void {
    const { deadlineMs, isHanded } = pending;
    if (!isHanded) return this.#reject(pending, this.#full(`it waited ${deadlineMs} ms for room or for its schema`));
    const { topic } = pending.event.route;
    const text = `No acknowledgement within ${deadlineMs} ms: the event may be stored, or may be stored later.`;
    this.#reject(pending, new BusError('BUS_TRANSPORT_UNAVAILABLE', text, { details: { topic, outcome: 'unknown' } }));
  }

  #sayFlushed(): void {
    if (this.buffered.records > 0) return;
    for (const resolve of this.#flushed.splice(0)) resolve();
  }

  #full(why: string): BusError {
    const { records, bytes } = this.setup.buffer;
    const text = `The event was not sent: ${why}; the buffer holds ${records} records or ${bytes} bytes. Await sends, or raise option "buffer".`;
    return new BusError('BUS_BUFFER_FULL', text, { details: { outcome: 'not-stored', records, bytes } });
  }

  #published(event: EventMetadata, records: readonly Place[], startedAt: number): Sent {
    const { identity, clock } = this.setup;
    if (signals.published.isHeard)
      signals.published.publish({ ...identity, event, records, durationMs: clock.monotonic() - startedAt });
    return { event, records };
  }

  #failed(event: EventMetadata, error: unknown): never {
    if (signals.sendFailed.isHeard) signals.sendFailed.publish({ ...this.setup.identity, event, error });
    throw error;
  }
}

interface Outgoing {
  readonly definition: EventDefinition;
  readonly envelope: Envelope;
  readonly route: Route;
  readonly headers: readonly Header[];
}

/** One record of a send, until it is settled. */
class Pending {
  record: BusRecord | undefined;
  bytes = 0;
  isHanded = false;
  release: (() => void) | undefined;

  constructor(
    readonly event: Outgoing,
    readonly deadlineMs: number,
    readonly deadline: number,
    readonly resolve: (place: Place) => void,
    readonly reject: (error: unknown) => void,
  ) {}
}

/** The sends of one topic that are not handed to the transport yet. */
interface Line {
  readonly waiting: Fifo<Pending>;
  /** Of those, the ones whose send has ended already. */
  abandoned: number;
}

/** The handler that sends is the cause: its event's id, and the id that the whole chain began with. */
function headersOf(own: Readonly<Record<string, string>> = {}): readonly Header[] {
  const headers: Header[] = Object.entries(own).map(([name, value]) => [checkedName(name), checkedText(name, value)]);
  const cause = currentDelivery();
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

async function settleAll(publishes: readonly Promise<Place>[]): Promise<readonly Place[]> {
  if (publishes.length === 1) return [await publishes[0]!];
  const results = await Promise.allSettled(publishes);
  const stored = results.filter((result) => result.status === 'fulfilled').map(({ value }) => value);
  const failed = results.find((result) => result.status === 'rejected');
  if (failed === undefined) return stored;
  throw stored.length === 0 ? failed.reason : partly(failed.reason, stored);
}

/** One route failed and another did not: the sender must know before it sends again. */
function partly(error: unknown, stored: readonly Place[]): unknown {
  if (!isBusError(error)) return error;
  const { code, message, details, cause } = error;
  return new BusError(code, message, { cause: cause ?? error, details: { ...details, stored } });
}

/** The error of a transport, with the outcome where the sender can read it. */
function refusal(outcome: Exclude<PublishOutcome, { status: 'stored' }>): unknown {
  const { error, status } = outcome;
  if (!isBusError(error))
    return new BusError('BUS_TRANSPORT_UNAVAILABLE', `The transport failed: ${error.message}`, {
      cause: error,
      details: { outcome: status },
    });
  if (error.details['outcome'] !== undefined) return error;
  return new BusError(error.code, error.message, {
    cause: error.cause ?? error,
    details: { ...error.details, outcome: status },
  });
}

function interrupted(outcome: 'not-stored' | 'unknown'): BusError {
  return new BusError('BUS_INTERRUPTED', 'The caller gave up waiting for the send.', { details: { outcome } });
}

function sizeOf({ key, value, headers }: BusRecord): number {
  let bytes = (key?.byteLength ?? 0) + (value?.byteLength ?? 0);
  for (const [name, header] of headers) bytes += name.length + header.byteLength;
  return bytes;
}

const CAUSATION = 'causationid';
const CORRELATION = 'correlationid';
const RESERVED =
  /^(ce_|dead-|causationid$|correlationid$|sourcehost$|sourcelib$|content-type$|__proto__$|constructor$|prototype$)/;
const NO_OUTCOME: PublishOutcome = { status: 'unknown', error: new Error('The transport gave no outcome.') };
// Deadlines are looked at no more often than this.
const SWEEP_MS = 10;
