import { Server, type CustomTransportStrategy } from '@nestjs/microservices';
import type { EventBusRunner } from '../event-bus-runner.js';
import { findPatterns } from '../explorer.js';

/**
 * Serves the `@EventPattern(eventType)` of controllers: each becomes a handler of its own, run, retried and dead-lettered as one of `@OnEventBus`.
 *
 *   const app = await NestFactory.create(AppModule);
 *   app.connectMicroservice({ strategy: new EventBusStrategy(app.get(EventBusRunner)) });
 *
 * Connect before the application is initialised: a group that runs takes no new handlers. It starts and stops with the runner. Global guards, pipes,
 * interceptors and filters are those of the application; what is set on the microservice that `connectMicroservice` answers is not used. Extras are the
 * options of a handler; with them, Nest 12 wants the decorator's type argument: `@EventPattern<string>(TYPE, { group: 'catalog' })`.
 */
export class EventBusStrategy extends Server implements CustomTransportStrategy {
  /** What binds a pattern to this transport, `@EventPattern(TYPE, Symbol.for('event-bus'))`, and keeps it off those that are bound to another. */
  override readonly transportId = Symbol.for('event-bus');
  readonly #runner: EventBusRunner;

  constructor(runner: EventBusRunner) {
    super();
    this.#runner = runner;
    runner.join(({ discovery, external }) => findPatterns(discovery, external, this.transportId));
  }

  /**
   * Called by Nest, in vain: its callbacks hide the error that a handler threw, and take a promise of a filter that only looks on for "handled". The
   * methods are found and run as all others are.
   */
  override addHandler(): void {}

  /** Called by Nest. The runner starts with the application, or when told to. */
  listen(callback: () => void): void {
    callback();
  }

  /** Called by Nest when the microservice is closed. */
  async close(): Promise<void> {
    await this.#runner.stop();
  }

  on(): never {
    throw new Error('EventBusStrategy has no events; listen to the signals of @event-bus/core.');
  }

  unwrap(): never {
    throw new Error('EventBusStrategy wraps no client; inject EVENT_BUS() for the bus.');
  }
}
