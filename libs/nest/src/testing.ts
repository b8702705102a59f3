/** For the tests of an application: its modules as they are, on a transport that needs nothing, with a way to wait until all is done. */
import type { INestApplicationContext, ModuleMetadata } from '@nestjs/common';
import { Test, type TestingModule, type TestingModuleBuilder } from '@nestjs/testing';
import type { EventDefinition, EventInput, PublishedFact, SendOptions, Sent } from '@event-bus/core';
import { harness, type Harness, type HarnessOptions, type Outcome } from '@event-bus/testing';
import type { BelowBuses } from './event-bus-core.module.js';
import { EventBusProducer, producerToken } from './event-bus-producer.js';
import type { EventBusRegistry } from './event-bus-registry.js';
import { DEFAULT_BUS, EVENT_BUS_REGISTRY, EVENT_BUS_TEST } from './tokens.js';

export interface EventBusTestOptions<App extends INestApplicationContext = TestingModule> extends HarnessOptions {
  /** The bus that `send` sends on. Default `default`. */
  readonly name?: string;
  /** Further overrides, before the modules are made. */
  readonly override?: (builder: TestingModuleBuilder) => TestingModuleBuilder;
  /**
   * Makes the application from the modules, with what main.ts sets on it: `(module) => module.createNestApplication()`. It is initialised then. Default:
   * the modules alone.
   */
  readonly app?: (module: TestingModule) => App;
}

/**
 * An application whose buses run on a transport for tests: by default simulated and in virtual time, so that no test waits for a retry. Handlers, guards,
 * pipes, interceptors and filters are the real ones. Close it after the test.
 */
export class EventBusTest<App extends INestApplicationContext = TestingModule> {
  readonly #harness: Harness;
  readonly #producer: EventBusProducer;

  private constructor(
    /** What the option `app` made, initialised. */
    readonly app: App,
    readonly module: TestingModule,
    events: Harness,
    name: string,
  ) {
    this.#harness = events;
    this.#producer = module.get(producerToken(name), { strict: false });
  }

  /** Makes the application and starts it with its handlers. Rejects with what its start rejects with. */
  static async create<App extends INestApplicationContext = TestingModule>(
    metadata: ModuleMetadata,
    options: EventBusTestOptions<App> = {},
  ): Promise<EventBusTest<App>> {
    const { name = DEFAULT_BUS, override = (builder) => builder, app: make, ...ofHarness } = options;
    const events = harness(ofHarness);
    const buses: string[] = [];
    const below: BelowBuses = {
      ...events,
      watch(bus) {
        buses.push(bus.name);
        events.watch(bus);
      },
    };
    const builder = Test.createTestingModule(metadata).overrideProvider(EVENT_BUS_TEST).useValue(below);
    let opened: INestApplicationContext | undefined;
    try {
      const module = await override(builder).compile();
      opened = module;
      // Without the option, App is the type it has by default.
      const app = make?.(module) ?? (opened as App);
      opened = app;
      await app.init();
      return new EventBusTest(app, module, events, name);
    } catch (error) {
      // The start has failed already: what its end has to say would only hide why.
      if (opened !== undefined) await events.waitFor(closeAll(opened, buses)).catch(() => {});
      events.close();
      throw error;
    }
  }

  /** As the application's own producer sends. */
  send<D extends EventDefinition>(definition: D, data: EventInput<D>, options?: SendOptions): Promise<Sent> {
    return this.#producer.send(definition, data, options);
  }

  /** Resolves when everything that was sent is settled by every handler and no retry is due. Rejects with what is left after `limitMs`. */
  quiet(limitMs?: number): Promise<void> {
    return this.#harness.quiet(limitMs);
  }

  /** Lets virtual time pass; with a transport of your own, real time. */
  advance(ms: number): Promise<void> {
    return this.#harness.advance(ms);
  }

  /** What was sent, by whomever. */
  get sent(): readonly PublishedFact[] {
    return this.#harness.sent;
  }

  /** What came of every attempt, in order; of one handler when its id is given. */
  outcomes(handler?: string): readonly Outcome[] {
    return this.#harness.outcomes(handler);
  }

  handled(handler?: string): readonly Outcome[] {
    return this.#harness.handled(handler);
  }

  retried(handler?: string): readonly Outcome[] {
    return this.#harness.retried(handler);
  }

  deadLetters(handler?: string): readonly Outcome[] {
    return this.#harness.deadLetters(handler);
  }

  /** Forgets what came so far. */
  clear(): void {
    this.#harness.clear();
  }

  /** Closes the application, also when a handler never settles: meanwhile virtual time passes. */
  async close(): Promise<void> {
    try {
      await this.#harness.waitFor(this.app.close());
    } finally {
      this.#harness.close();
    }
  }
}

async function closeAll(app: INestApplicationContext, buses: readonly string[]): Promise<void> {
  await app.close().catch(() => {});
  // Older versions of Nest leave open what they could not start.
  for (const bus of buses) await app.get<EventBusRegistry>(EVENT_BUS_REGISTRY(bus), { strict: false }).close();
}
