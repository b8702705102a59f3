/**
 * The bus: what an app holds. It checks the whole configuration at once, opens the transport, sends, and runs one consumer for each
 * group of its handlers.
 *
 *   new ──open──▶ open ──start──▶ started ──stop──▶ stopped ──close──▶ closed
 */
import { hostname } from 'node:os';
import { systemClock, systemRandom, type Clock, type Random } from './clock.js';
import { Consumer, type ConsumerStatus } from './consumer.js';
import { deadLetterTopic } from './dead-letter.js';
import type { Around, DeliveryContext, Handler, HandlerOptions } from './delivery.js';
import { uuidMaker, type EventMetadata } from './envelope.js';
import { BusError, isBusError } from './errors.js';
import type { EventData, EventDefinition, EventInput } from './event.js';
import { Producer, type SendOptions, type Sent } from './producer.js';
import { LocalReceivers } from './receivers.js';
import { exponential, type RetryPolicy } from './retry.js';
import { fullTopic, resolveRoutes, wrongName, type Route, type Routes } from './routes.js';
import { signals, type BusIdentity } from './signals.js';
import type { StartPosition, Transport } from './transport.js';

export interface BusOptions {
  /** Becomes the source `openedx/<service>/web`, and the group of handlers that name none. */
  readonly service: string;
  /** Where records live: `embedded({ path })`, `kafka({ … })`. One transport belongs to one bus, which opens and closes it. */
  readonly transport: Transport;
  /** Tells several buses of one process apart. Default `default`. */
  readonly name?: string;
  /** Put before every topic name with a dash. Default none. */
  readonly topicPrefix?: string;
  /** Event type → topic → key field, on or off. Default none: nothing can be sent. */
  readonly routes?: Routes;
  /** Definitions that routes name and no handler uses. */
  readonly events?: readonly EventDefinition[];
  /** What becomes of failed attempts. Default `exponential()`: 5 attempts. */
  readonly retry?: RetryPolicy;
  /** Time of one attempt, in milliseconds. Default 30 000. */
  readonly timeoutMs?: number;
  /** Handlers running at once in each group of this process. Default 32. */
  readonly concurrency?: number;
  /** What a group may have in hand at once. Default 1 000 records, 32 MiB. */
  readonly maxInFlight?: { readonly records?: number; readonly bytes?: number };
  /** How often positions are committed, in milliseconds. Default 1 000. */
  readonly commitIntervalMs?: number;
  /** How long a send may take, in milliseconds. Default 30 000. */
  readonly sendDeadlineMs?: number;
  /** What may be handed to the transport and not settled; further sends wait. Default 10 000 records, 32 MiB. */
  readonly buffer?: { readonly records?: number; readonly bytes?: number };
  /** Where a group without a position starts. Default `earliest`. */
  readonly from?: StartPosition;
  /** How long running handlers may go on when stopping or when their partition leaves, in milliseconds. Default 25 000. */
  readonly stopTimeoutMs?: number;
  /** Events in a row that fail before a handler is only probed. Default 20. */
  readonly breakerAfter?: number;
  /** Wrapped around every attempt, the first outermost. Default none. */
  readonly around?: readonly Around[];
  /** Default: the name of this host. */
  readonly sourceHost?: string;
  /** Numbers with dots. Default: the version of this package. */
  readonly sourceLib?: string;
}

/** Time, chance and ids, for tests and simulations. Default: the system's. */
export interface BusEnvironment {
  readonly clock?: Clock;
  readonly random?: Random;
  readonly id?: () => string;
}

export interface BusStatus {
  readonly state: 'new' | 'open' | 'started' | 'stopping' | 'stopped' | 'closed';
  /** Sends that are not settled. */
  readonly buffered: { readonly records: number; readonly bytes: number };
  readonly consumers: readonly ConsumerStatus[];
}

/** Makes a bus. Opens nothing. Throws `BUS_CONFIG_INVALID` with everything that is wrong with the options. */
export function createBus(options: BusOptions, environment: BusEnvironment = {}): Bus {
  return new Bus(options, environment);
}

export class Bus {
  readonly name: string;
  readonly service: string;
  readonly transport: Transport;
  /** In every signal of this bus, and of no other. */
  readonly instance = Symbol('bus');
  readonly #options: Settled;
  readonly #environment: { readonly clock: Clock; readonly random: Random };
  readonly #identity: BusIdentity;
  readonly #definitions = new Map<string, EventDefinition>();
  readonly #handlers: {
    readonly definition: EventDefinition;
    readonly options: HandlerOptions;
    readonly handle: Handler['handle'];
  }[] = [];
  readonly #receivers: LocalReceivers;
  readonly #producer: Producer;
  #routes: ReadonlyMap<string, readonly Route[]> = new Map();
  #consumers: readonly Consumer[] = [];
  readonly #paused = new Set<string>();
  #state: BusStatus['state'] = 'new';
  #isOpen = false;
  #opening: Promise<void> | undefined;
  #starting: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: BusOptions, environment: BusEnvironment) {
    const wrong = wrongOptions(options);
    if (wrong.length > 0) throw invalid(wrong);
    this.#options = settle(options);
    const { clock = systemClock, random = systemRandom } = environment;
    this.#environment = { clock, random };
    this.name = this.#options.name;
    this.service = options.service;
    this.transport = options.transport;
    this.#identity = { bus: this.name, service: this.service, instance: this.instance };
    this.#receivers = new LocalReceivers((event, error) =>
      signals.receiverFailed.publish({ ...this.#identity, event, error }),
    );
    this.#producer = new Producer({
      ...this.#options,
      identity: this.#identity,
      clock,
      newId: environment.id ?? uuidMaker(clock, random),
      routesOf: (definition) => this.#routesOf(definition),
      receivers: this.#receivers,
    });
    this.define(...(options.events ?? []));
  }

  /** Makes definitions known, so that routes may name them. Before `open`. */
  define(...definitions: readonly EventDefinition[]): void {
    this.#refuseOnce(this.#opening !== undefined, 'Define events before the bus opens');
    for (const definition of definitions) {
      const known = this.#definitions.get(definition.type);
      if (known !== undefined && !isSameSchema(known, definition)) throw invalid([twoDefinitions(definition)]);
      this.#definitions.set(definition.type, definition);
    }
  }

  /** Adds a handler. Before `start`; a group that runs takes no new ones, for it would pass over their earlier records. */
  handle<D extends EventDefinition>(
    definition: D,
    options: HandlerOptions,
    handle: (data: EventData<D>, context: DeliveryContext) => unknown,
  ): void {
    this.#refuseOnce(this.#starting !== undefined, 'Add handlers before the bus starts');
    if (!this.#definitions.has(definition.type)) this.#definitions.set(definition.type, definition);
    this.#handlers.push({ definition, options, handle });
  }

  /** Tells `receiver` of every event of this type that this bus sends, inside this process. Answers how to disconnect. */
  connect<D extends EventDefinition>(
    definition: D,
    receiver: (data: EventInput<D>, metadata: EventMetadata) => unknown,
  ): () => void {
    return this.#receivers.connect(definition, receiver);
  }

  /** Everything that is wrong with routes and handlers so far; `open` refuses with the same. For who has findings to add. */
  problems(): readonly string[] {
    const { problems } = resolveRoutes(this.#options.routes, this.#definitions, this.#options.topicPrefix);
    return [...problems, ...this.#settleHandlers().problems];
  }

  /**
   * Checks routes and handlers, opens the transport, makes topics and schemas ready. Rejects with all problems at once; what failed may be
   * tried again. Idempotent.
   */
  open(): Promise<void> {
    if (this.#closing !== undefined) return Promise.reject(this.#over('closed'));
    this.#opening ??= this.#open().catch((error: unknown) => {
      this.#opening = undefined;
      this.#producer.refuse(error);
      throw error;
    });
    return this.#opening;
  }

  /** Opens, and starts a consumer for each group: all of them or none. What failed may be tried again. Idempotent. */
  start(): Promise<void> {
    if (this.#stopping !== undefined) return Promise.reject(this.#over('stopped'));
    this.#starting ??= this.#start().catch((error: unknown) => {
      this.#starting = undefined;
      throw error;
    });
    return this.#starting;
  }

  /**
   * Sends an event to every enabled route. Resolves when the records are safe; rejects with a typed error otherwise, before anything is
   * sent when the data does not match (`BUS_EVENT_INVALID`). Events of one key are stored in the order of these calls. Opens the bus if
   * need be.
   */
  send<D extends EventDefinition>(definition: D, data: EventInput<D>, options?: SendOptions): Promise<Sent> {
    if (this.#closing !== undefined && !this.#isOpen) return Promise.reject(this.#over('closed'));
    const sent = this.#producer.send(definition, data, options);
    // Whoever waits for the opening is told by the producer.
    if (!this.#isOpen) this.open().catch(() => {});
    return sent;
  }

  /** The kill switch of a handler in this process: its records wait, they are not skipped. Also before `start`. Throws for an unknown id. */
  pause(handlerId: string): void {
    this.#refuseUnknown(handlerId);
    this.#paused.add(handlerId);
    for (const consumer of this.#consumers) consumer.pause(handlerId);
  }

  resume(handlerId: string): void {
    this.#refuseUnknown(handlerId);
    this.#paused.delete(handlerId);
    for (const consumer of this.#consumers) consumer.resume(handlerId);
  }

  /** Facts for health checks; no I/O. */
  status(): BusStatus {
    return {
      state: this.#state,
      buffered: this.#producer.buffered,
      consumers: this.#consumers.map((consumer) => consumer.status()),
    };
  }

  /** Stops the consumers: nothing more is taken, running handlers finish until the deadline, positions are committed. Sending goes on. Idempotent. */
  stop(): Promise<void> {
    return (this.#stopping ??= this.#stop());
  }

  /** Stops, waits for what is being sent, closes the transport. Idempotent. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #open(): Promise<void> {
    const wrong = this.problems();
    if (wrong.length > 0) throw invalid(wrong);
    const { routes } = resolveRoutes(this.#options.routes, this.#definitions, this.#options.topicPrefix);
    this.#routes = routes;
    await this.transport.open();
    await this.#ensureTopics([...routes.values()].flat().map((route) => route.topic));
    await this.#prepare();
    this.#isOpen = true;
    if (this.#state === 'new') this.#state = 'open';
    this.#producer.open();
  }

  /** Before the bus is open only this event's own are looked at. */
  #routesOf(definition: EventDefinition): readonly Route[] | undefined {
    const { type } = definition;
    const own = this.#options.routes[type];
    if (this.#isOpen || own === undefined) return this.#routes.get(type);
    const { topicPrefix } = this.#options;
    const { routes, problems } = resolveRoutes({ [type]: own }, new Map([[type, definition]]), topicPrefix);
    if (problems.length > 0) throw invalid(problems);
    return routes.get(type);
  }

  async #ensureTopics(topics: readonly string[]): Promise<void> {
    await Promise.all([...new Set(topics)].map((topic) => this.transport.ensureTopic(topic)));
  }

  // A registry that is away does not stop the start: sends are refused until it answers.
  async #prepare(): Promise<void> {
    for (const [type, routes] of this.#routes) {
      for (const route of routes) {
        await this.transport.codec.prepare(this.#definitions.get(type)!, route).catch((error: unknown) => {
          if (!isBusError(error, 'BUS_REGISTRY_UNAVAILABLE')) throw error;
          signals.trouble.publish({ ...this.#identity, group: '', error });
        });
      }
    }
  }

  async #start(): Promise<void> {
    await this.open();
    const { handlers, problems } = this.#settleHandlers();
    if (problems.length > 0) throw invalid(problems);
    await this.#ensureTopics(handlers.flatMap(({ topic, group }) => [topic, deadLetterTopic(topic, group)]));
    if (this.#stopping !== undefined) throw this.#over('stopped');
    this.#consumers = this.#makeConsumers(handlers);
    for (const id of this.#paused) for (const consumer of this.#consumers) consumer.pause(id);
    try {
      await all(this.#consumers.map((consumer) => consumer.start()));
    } catch (error) {
      await this.#stopConsumers().catch(() => {});
      this.#consumers = [];
      throw error;
    }
    this.#state = 'started';
  }

  async #stop(): Promise<void> {
    await this.#starting?.catch(() => {});
    if (this.#state === 'started') this.#state = 'stopping';
    try {
      await this.#stopConsumers();
    } finally {
      this.#state = 'stopped';
    }
  }

  async #stopConsumers(): Promise<void> {
    await all(this.#consumers.map((consumer) => consumer.stop()));
  }

  async #close(): Promise<void> {
    await this.#opening?.catch(() => {});
    try {
      await this.stop();
    } finally {
      await this.#producer.close();
      await this.transport.close();
      this.#state = 'closed';
    }
  }

  #makeConsumers(handlers: readonly Handler[]): readonly Consumer[] {
    const groups = [...new Set(handlers.map((handler) => handler.group))];
    return groups.map((group) => {
      const own = handlers.filter((handler) => handler.group === group);
      return new Consumer({ ...this.#options, ...this.#environment, identity: this.#identity, group, handlers: own });
    });
  }

  #settleHandlers(): { readonly handlers: readonly Handler[]; readonly problems: readonly string[] } {
    const problems: string[] = [];
    const seen = new Set<string>();
    const handlers: Handler[] = [];
    for (const { definition, options, handle } of this.#handlers) {
      const { id, group = this.service, retry = this.#options.retry, timeoutMs = this.#options.timeoutMs } = options;
      const topic = this.#topicOf(definition, options);
      const place = [group, topic.name, definition.type, id].join('\n');
      problems.push(
        ...found(
          wrongId(id),
          wrongRetry(retry, id),
          topic.problem,
          wrongName('group', group),
          topic.problem === undefined ? wrongName('topic', deadLetterTopic(topic.name, group)) : undefined,
          wrongPositive(`timeoutMs" of handler "${id}`, timeoutMs),
        ),
      );
      if (seen.has(place))
        problems.push(
          `BUS_HANDLER_DUPLICATE: two handlers of "${definition.type}" in group "${group}" have the id "${id}"; give one of them another "id".`,
        );
      if (!isSameSchema(this.#definitions.get(definition.type)!, definition))
        problems.push(twoDefinitions(definition, id));
      seen.add(place);
      handlers.push({ id, definition, topic: topic.name, group, retry, timeoutMs, handle });
    }
    return { handlers, problems };
  }

  #topicOf(
    definition: EventDefinition,
    { id, topic }: HandlerOptions,
  ): { readonly name: string; readonly problem?: string | undefined } {
    const routes = Object.keys(this.#options.routes[definition.type] ?? {});
    const base = topic ?? (routes.length === 1 ? routes[0] : undefined);
    if (base === undefined) {
      const why =
        routes.length === 0
          ? 'no route names its event type'
          : `its event type has ${routes.length} routes (${routes.join(', ')})`;
      return {
        name: '',
        problem: `Handler "${id}" of "${definition.type}" has no topic, and ${why}; write { topic: '…' }.`,
      };
    }
    const name = fullTopic(this.#options.topicPrefix, base);
    return { name, problem: wrongName('topic', name) };
  }

  #refuseUnknown(handlerId: string): void {
    const ids = this.#handlers.map(({ options }) => options.id);
    if (!ids.includes(handlerId))
      throw invalid([`No handler of bus "${this.name}" has the id "${handlerId}"; there are: ${ids.join(', ')}.`]);
  }

  #over(how: 'stopped' | 'closed'): BusError {
    return new BusError('BUS_CLOSED', `Bus "${this.name}" was ${how} and does not start again; make a new one.`);
  }

  #refuseOnce(isLate: boolean, what: string): void {
    if (isLate) throw new BusError('BUS_CONFIG_INVALID', `${what}: bus "${this.name}" runs already.`);
  }
}

type Settled = ReturnType<typeof settle>;

/** All options, with defaults where nothing was given. */
function settle(options: BusOptions) {
  return {
    ...DEFAULTS,
    retry: exponential(),
    sourceHost: hostname(),
    ...given(options),
    maxInFlight: { ...DEFAULTS.maxInFlight, ...given(options.maxInFlight) },
    buffer: { ...DEFAULTS.buffer, ...given(options.buffer) },
  };
}

function given<T extends object>(options: T | undefined): T {
  return Object.fromEntries(Object.entries(options ?? {}).filter(([, value]) => value !== undefined)) as T;
}

/** Waits for all of them, also when one fails. */
async function all(promises: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(promises)) if (result.status === 'rejected') throw result.reason;
}

function wrongOptions(options: BusOptions): readonly string[] {
  const { service, name, topicPrefix, sourceLib } = options;
  const positive = ['timeoutMs', 'commitIntervalMs', 'sendDeadlineMs', 'stopTimeoutMs'] as const;
  const counted = ['concurrency', 'breakerAfter'] as const;
  return found(
    typeof service === 'string' && /^[A-Za-z0-9._-]{1,100}$/.test(service)
      ? undefined
      : `Option "service" must be 1 to 100 letters, digits, ".", "_" and "-", got ${JSON.stringify(service)}.`,
    name === undefined || /^[A-Za-z0-9._-]{1,100}$/.test(name)
      ? undefined
      : `Option "name" must be letters, digits, ".", "_" and "-", got ${JSON.stringify(name)}.`,
    topicPrefix === undefined || topicPrefix === '' ? undefined : wrongName('topic', topicPrefix),
    sourceLib === undefined || /^\d+(\.\d+)*$/.test(sourceLib)
      ? undefined
      : `Option "sourceLib" must be numbers with dots, got ${JSON.stringify(sourceLib)}.`,
    typeof options.transport?.publish === 'function'
      ? undefined
      : 'Option "transport" is missing; write transport: embedded({ path }), kafka({ … }) or another one.',
    wrongRetry(options.retry),
    isStart(options.from)
      ? undefined
      : `Option "from" must be "earliest", "latest" or { time: <milliseconds since 1970> }, got ${JSON.stringify(options.from)}.`,
    ...positive.map((option) => wrongPositive(option, options[option])),
    ...counted.map((option) => wrongCount(option, options[option])),
    ...(['records', 'bytes'] as const).flatMap((unit) => [
      wrongCount(`buffer.${unit}`, options.buffer?.[unit]),
      wrongCount(`maxInFlight.${unit}`, options.maxInFlight?.[unit]),
    ]),
  );
}

function isStart(from: StartPosition | undefined): boolean {
  if (typeof from === 'object') return Number.isFinite(from?.time);
  return from === undefined || from === 'earliest' || from === 'latest';
}

function wrongRetry(retry: unknown, handler?: string): string | undefined {
  const whose = handler === undefined ? '' : ` of handler "${handler}"`;
  return retry === undefined || typeof retry === 'function'
    ? undefined
    : `Option "retry"${whose} must be a function; write exponential({ attempts: … }).`;
}

// It is a header of dead letters and a name in logs.
function wrongId(id: unknown): string | undefined {
  return typeof id === 'string' && /^\P{Cc}{1,200}$/u.test(id)
    ? undefined
    : `The id of a handler must be text of 1 to 200 characters, got ${JSON.stringify(id)}.`;
}

function wrongPositive(option: string, value: number | undefined): string | undefined {
  return value === undefined || (Number.isFinite(value) && value >= 1)
    ? undefined
    : `Option "${option}" must be a number of at least 1, got ${String(value)}.`;
}

function wrongCount(option: string, value: number | undefined): string | undefined {
  return value === undefined || value === Infinity || (Number.isInteger(value) && value >= 1)
    ? undefined
    : `Option "${option}" must be an integer of at least 1, got ${String(value)}.`;
}

function found(...problems: readonly (string | undefined)[]): readonly string[] {
  return problems.filter((problem) => problem !== undefined);
}

function invalid(problems: readonly string[]): BusError {
  const text =
    problems.length === 1
      ? problems[0]!
      : `${problems.length} things are wrong with the configuration of the bus:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`;
  const code = problems.every((problem) => problem.startsWith('BUS_HANDLER_DUPLICATE'))
    ? 'BUS_HANDLER_DUPLICATE'
    : 'BUS_CONFIG_INVALID';
  return new BusError(code, text, { details: { problems } });
}

function twoDefinitions({ type }: EventDefinition, handler?: string): string {
  const who = handler === undefined ? 'Somebody' : `Handler "${handler}"`;
  return `${who} uses another definition of "${type}" than the rest of this bus; share one constant.`;
}

function isSameSchema(one: EventDefinition, other: EventDefinition): boolean {
  return one === other || JSON.stringify(one.reader) === JSON.stringify(other.reader);
}

const DEFAULTS = {
  name: 'default',
  topicPrefix: '',
  routes: {} as Routes,
  timeoutMs: 30_000,
  concurrency: 32,
  maxInFlight: { records: 1_000, bytes: 32 * 1024 * 1024 },
  commitIntervalMs: 1_000,
  sendDeadlineMs: 30_000,
  buffer: { records: 10_000, bytes: 32 * 1024 * 1024 },
  from: 'earliest' as StartPosition,
  stopTimeoutMs: 25_000,
  breakerAfter: 20,
  around: [] as readonly Around[],
  // The version of this package; a test compares it with package.json.
  sourceLib: '0.1.0',
} satisfies Partial<BusOptions>;
