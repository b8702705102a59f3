/** For the tests of an application: its modules as they are, on a transport that needs nothing, with a way to wait until all is done. */
import type { ModuleMetadata } from '@nestjs/common';
import { Test, type TestingModule, type TestingModuleBuilder } from '@nestjs/testing';
import type { Bus, EventDefinition, EventInput, PublishedFact, SendOptions, Sent } from '@event-bus/core';
import { harness, type Harness, type HarnessOptions, type Outcome } from '@event-bus/testing';
import { EventBusProducer, producerToken } from './event-bus-producer.js';
import { DEFAULT_BUS, EVENT_BUS, EVENT_BUS_CLOCK, EVENT_BUS_TRANSPORT } from './tokens.js';

export interface EventBusTestOptions extends HarnessOptions {
  /** The bus under test. Default `default`. */
  readonly name?: string;
  /** Further overrides, before the modules are made. */
  readonly override?: (builder: TestingModuleBuilder) => TestingModuleBuilder;
}

/**
 * An application whose bus runs on a transport for tests: by default simulated and in virtual time, so that no test waits for a retry. Handlers, guards,
 * pipes, interceptors and filters are the real ones. Close it after the test.
 */
export class EventBusTest {
  readonly #harness: Harness;
  readonly #producer: EventBusProducer;

  private constructor(
    /** The application, initialised. */
    readonly module: TestingModule,
    events: Harness,
    name: string,
  ) {
    this.#harness = events;
    this.#producer = module.get(producerToken(name), { strict: false });
  }

  /** Makes the application and starts it with its handlers. Rejects with what its start rejects with. */
  static async create(metadata: ModuleMetadata, options: EventBusTestOptions = {}): Promise<EventBusTest> {
    const { name = DEFAULT_BUS, override = (builder) => builder, ...ofHarness } = options;
    const events = harness(ofHarness);
    const { clock } = events.environment;
    const builder = Test.createTestingModule(metadata)
      .overrideProvider(EVENT_BUS_TRANSPORT(name))
      .useValue(events.transport);
    if (clock !== undefined) builder.overrideProvider(EVENT_BUS_CLOCK(name)).useValue(clock);
    let module: TestingModule | undefined;
    try {
      module = await override(builder).compile();
      events.watch(module.get<Bus>(EVENT_BUS(name), { strict: false }));
      return new EventBusTest(await module.init(), events, name);
    } catch (error) {
      // The start has failed already: what its end has to say would only hide why.
      if (module !== undefined) await events.waitFor(module.close()).catch(() => {});
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
      await this.#harness.waitFor(this.module.close());
    } finally {
      this.#harness.close();
    }
  }
}
