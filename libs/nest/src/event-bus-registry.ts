/**
 * What one bus has in this application: its definitions, its handlers, its log. It puts all of them into core before core opens, so that every finding
 * of a start comes in one error.
 */
import type { OnApplicationBootstrap, OnApplicationShutdown, OnModuleInit } from '@nestjs/common';
import type { DiscoveryService, ExternalContextCreator, ModuleRef } from '@nestjs/core';
import {
  BusError,
  type Bus,
  type Clock,
  type DeliveryContext,
  type EventDefinition,
  type HandlerOptions,
  type SendOptions,
} from '@event-bus/core';
import { EventBusContext } from './event-bus-context.js';
import type { EventBusModuleOptions } from './event-bus-options.js';
import { runnerToken } from './event-bus-runner.js';
import { findHandlers, type FoundHandler } from './explorer.js';
import { failureOf } from './failure.js';
import { invoker } from './invoker.js';
import type { EventBusLog } from './log.js';
import { startedAfter, type InstanceWrapper } from './nest-internals.js';
import { DEFAULT_BUS } from './tokens.js';

/** Finds handlers beside those of `@OnEventBus`. Asked once, when the bus is prepared. */
export type HandlerSource = (nest: NestParts) => readonly FoundHandler[];

/** Definitions that a module owns, as `forFeature` leaves them. Without a bus there is nobody but this to say that it is missing. */
export class EventBusFeature implements OnApplicationBootstrap {
  #isTaken = false;

  constructor(
    readonly bus: string,
    readonly definitions: readonly EventDefinition[],
  ) {}

  /** A bus has seen it. */
  take(): void {
    this.#isTaken = true;
  }

  onApplicationBootstrap(): void {
    if (!this.#isTaken) throw invalid([`EventBusModule.forFeature has no bus; ${importRoot(this.bus)}.`]);
  }
}

/** The parts of Nest that a registry needs. */
export interface NestParts {
  readonly discovery: DiscoveryService;
  readonly external: ExternalContextCreator;
  readonly moduleRef: ModuleRef;
}

export class EventBusRegistry implements OnModuleInit, OnApplicationShutdown {
  readonly #nest: NestParts;
  readonly #sources: HandlerSource[] = [];
  #definitions: ReadonlyMap<string, EventDefinition> = new Map();
  readonly #hosts: InstanceWrapper[] = [];
  #isReady = false;
  #preparing: Promise<void> | undefined;
  readonly #ready = pending();
  readonly #clock: Clock;

  constructor(
    readonly bus: Bus,
    readonly options: EventBusModuleOptions,
    readonly log: EventBusLog,
    clock: Clock,
    nest: NestParts,
  ) {
    this.#clock = clock;
    this.#nest = nest;
  }

  /** The first hook of all, so that whoever sends in its own `onModuleInit` finds the bus open. */
  onModuleInit(): Promise<void> {
    return this.prepare();
  }

  /** The last hook of all: requests may send until the server is gone, which is after handlers have stopped. */
  onApplicationShutdown(): Promise<void> {
    return this.close();
  }

  /** Takes handlers in that come from elsewhere. Throws `BUS_CONFIG_INVALID` when the bus is prepared already: a running group takes no new ones. */
  join(source: HandlerSource): void {
    if (this.#preparing !== undefined)
      throw new BusError(
        'BUS_CONFIG_INVALID',
        `The event bus "${this.bus.name}" is open and takes no more handlers; call connectMicroservice before app.init() and app.listen().`,
      );
    this.#sources.push(source);
  }

  /** The definition of an event type this application knows on this bus. Known once prepared. */
  definition(eventType: string): EventDefinition | undefined {
    return this.#definitions.get(eventType);
  }

  /** Finds definitions and handlers, checks everything together and opens the bus. Idempotent. */
  prepare(): Promise<void> {
    return (this.#preparing ??= this.#prepareOrClose());
  }

  /** Starts the handlers. */
  async start(): Promise<void> {
    this.#warnOfOrder();
    await this.bus.start();
    this.log.started({ handlers: this.#hosts.length });
  }

  /** Closes all that was opened. Idempotent. */
  async close(): Promise<void> {
    await this.bus.close();
    this.log.close();
  }

  /** Whether the bus has all that this application has for it. From then on it may be sent to. */
  get isReady(): boolean {
    return this.#isReady;
  }

  /** Resolves once the bus is ready, with what is left of the deadline. Rejects with what stopped the start, at the deadline, or when the signal is aborted. */
  async ready({
    signal,
    deadlineMs = this.options.sendDeadlineMs ?? SEND_MS,
    ...more
  }: SendOptions = {}): Promise<SendOptions> {
    const startedMs = this.#clock.monotonic();
    let cancel = () => {};
    const given = new Promise<never>((_resolve, reject) => {
      const late = this.#clock.timer(deadlineMs, () => reject(notStarted(deadlineMs)));
      const abort = () => reject(abandoned());
      if (signal?.aborted) abort();
      signal?.addEventListener('abort', abort);
      cancel = () => {
        late();
        signal?.removeEventListener('abort', abort);
      };
    });
    await Promise.race([this.#ready.promise, given]).finally(cancel);
    const left = Math.max(1, deadlineMs - (this.#clock.monotonic() - startedMs));
    return { ...more, ...(signal === undefined ? {} : { signal }), deadlineMs: left };
  }

  // Nest does not close an application whose start was refused; what was opened would keep the process alive.
  async #prepareOrClose(): Promise<void> {
    try {
      await this.#prepare();
    } catch (error) {
      this.#ready.reject(error);
      await this.close();
      throw error;
    }
  }

  async #prepare(): Promise<void> {
    this.log.hear();
    const { discovery, external } = this.#nest;
    const all = findHandlers(discovery, external);
    const features = instancesOf(discovery, EventBusFeature);
    for (const feature of features) feature.take();
    const buses = instancesOf(discovery, EventBusRegistry).map((registry) => registry.bus.name);
    const problems = [...sameName(buses, this.bus.name), ...strays(all, features, buses)];
    const mine = [
      ...all.filter(({ options }) => (options.bus ?? DEFAULT_BUS) === this.bus.name),
      ...this.#sources.flatMap((source) => source(this.#nest)),
    ];
    problems.push(
      ...this.#define(features, mine),
      ...mine.flatMap((handler) => this.#handle(handler)),
      ...this.bus.problems(),
    );
    if (problems.length > 0) throw invalid(problems);
    this.#isReady = true;
    this.#ready.resolve();
    await this.bus.open();
  }

  #define(features: readonly EventBusFeature[], handlers: readonly FoundHandler[]): string[] {
    const owned = features.filter(({ bus }) => bus === this.bus.name).flatMap(({ definitions }) => definitions);
    const known = [...(this.options.events ?? []), ...owned, ...handlers.map(({ definition }) => definition)].filter(
      (definition) => definition !== undefined,
    );
    this.#definitions = new Map(known.map((definition) => [definition.type, definition]));
    return owned.flatMap((definition) => {
      try {
        this.bus.define(definition);
        return [];
      } catch (error) {
        return [(error as BusError).message];
      }
    });
  }

  #warnOfOrder(): void {
    const { discovery } = this.#nest;
    const runner = discovery.getProviders().find(({ token }) => token === runnerToken(this.bus.name))!;
    const modules = new Set(startedAfter(runner, this.#hosts, discovery).map(({ host }) => host!.name));
    if (modules.size > 0) this.log.startsTooEarly({ modules: [...modules].join(', ') });
  }

  /** Gives a handler to the bus, or says why it cannot. */
  #handle(handler: FoundHandler): string[] {
    if (handler.problem !== undefined) return [handler.problem];
    const definition = handler.definition ?? this.#definitions.get(handler.eventType);
    if (definition === undefined)
      return [
        `@EventPattern("${handler.eventType}") has no event definition on the bus "${this.bus.name}"; list it in forFeature([…]) or in the option "events", or, if another transport serves it, name that one as the second argument.`,
      ];
    this.#add(handler, definition);
    return [];
  }

  #add({ id, options: { bus: _bus, ...own }, wrapper, method }: FoundHandler, definition: EventDefinition): void {
    const { external, moduleRef } = this.#nest;
    const options: HandlerOptions = { ...own, id };
    const invoke = invoker(external, moduleRef, wrapper, method, definition.type);
    this.#hosts.push(wrapper);
    this.bus.handle(definition, options, async (data: unknown, delivery: DeliveryContext) => {
      const outcome = await invoke(data, new EventBusContext(delivery));
      if (!outcome.ok) throw failureOf(outcome);
    });
    const routes = Object.keys(this.options.routes?.[definition.type] ?? {});
    const topic = options.topic ?? routes.join(', ');
    this.log.handlerFound({
      handler: options.id,
      event_type: definition.type,
      topic,
      group: options.group ?? this.options.service,
    });
    if (options.topic !== undefined && routes.length > 0 && !routes.includes(topic))
      this.log.handlesElsewhere({ handler: options.id, topic, routes: routes.join(', ') });
  }
}

// That of the bus, which has none to be asked for.
const SEND_MS = 30_000;

function notStarted(deadlineMs: number): BusError {
  return new BusError(
    'BUS_CONFIG_INVALID',
    `The application has not started within ${deadlineMs} ms, which a constructor or factory that awaits a send prevents; send in onModuleInit or later, and call app.init() or app.listen().`,
    { details: { outcome: 'not-stored' } },
  );
}

function abandoned(): BusError {
  return new BusError(
    'BUS_INTERRUPTED',
    'The caller gave up waiting for the send before the application had started.',
    {
      details: { outcome: 'not-stored' },
    },
  );
}

function sameName(buses: readonly string[], name: string): string[] {
  if (buses.filter((bus) => bus === name).length < 2) return [];
  return [
    `Two buses are named "${name}"; give each EventBusModule.forRoot a "name" of its own, and use forFeature where only definitions are added.`,
  ];
}

function strays(
  handlers: readonly FoundHandler[],
  features: readonly EventBusFeature[],
  buses: readonly string[],
): string[] {
  const isMissing = (bus: string | undefined) => !buses.includes(bus ?? DEFAULT_BUS);
  const cure = (bus: string | undefined) => `${importRoot(bus)} or name one of: ${buses.join(', ')}`;
  return [
    ...handlers
      .filter(({ options }) => isMissing(options.bus))
      .map(
        ({ id, options }) =>
          `Handler "${id}" is for the bus "${options.bus ?? DEFAULT_BUS}", which does not exist; ${cure(options.bus)}.`,
      ),
    ...features
      .filter(({ bus }) => isMissing(bus))
      .map(({ bus }) => `EventBusModule.forFeature is for the bus "${bus}", which does not exist; ${cure(bus)}.`),
  ];
}

function importRoot(bus: string = DEFAULT_BUS): string {
  return `import EventBusModule.forRoot({ ${bus === DEFAULT_BUS ? '' : `name: '${bus}', `}… })`;
}

function instancesOf<T>(discovery: DiscoveryService, kind: abstract new (...args: never[]) => T): T[] {
  return discovery
    .getProviders()
    .flatMap((wrapper) =>
      wrapper.isNotMetatype && !wrapper.isAlias && wrapper.instance instanceof kind ? [wrapper.instance as T] : [],
    );
}

function invalid(problems: readonly string[]): BusError {
  const list =
    problems.length === 1
      ? problems[0]!
      : `${problems.length} things are wrong with the event bus:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`;
  return new BusError('BUS_CONFIG_INVALID', list, { details: { problems } });
}

function pending() {
  let resolve!: () => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<void>((onResolve, onReject) => ([resolve, reject] = [onResolve, onReject]));
  // Nobody has to wait for it.
  promise.catch(() => {});
  return { promise, resolve, reject };
}
