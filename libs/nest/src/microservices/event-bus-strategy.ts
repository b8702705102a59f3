import { ForbiddenException } from '@nestjs/common';
import { RpcException, Server, type CustomTransportStrategy, type MessageHandler } from '@nestjs/microservices';
import type { HandlerOptions } from '@event-bus/core';
import type { EventBusContext } from '../event-bus-context.js';
import type { JoinedHandler } from '../event-bus-registry.js';
import type { EventBusRunner } from '../event-bus-runner.js';
import { settled, type Outcome } from '../invoker.js';
import { GUARD_REFUSED } from '../nest-internals.js';

/** What stands in the extras of `@EventPattern(TYPE, { … })`: the options of a handler. */
export type EventPatternExtras = Partial<HandlerOptions>;

/**
 * Serves `@EventPattern(eventType)` handlers of controllers: each becomes a handler of its own, retried and dead-lettered apart from the others.
 *
 *   const app = await NestFactory.create(AppModule);
 *   app.connectMicroservice({ strategy: new EventBusStrategy(app.get(EventBusRunner)) }, { inheritAppConfig: true });
 *
 * Connect before the application is initialised: a group that runs takes no new handlers. It starts and stops with the runner. Register `KeepCause`
 * globally. With extras, Nest 12 wants the decorator's type argument: `@EventPattern<string>(TYPE, { id: 'CourseView.changed', group: 'catalog' })`.
 */
export class EventBusStrategy extends Server implements CustomTransportStrategy {
  // Nest would log each failed attempt as well.
  override readonly propagatesEventHandlerErrors = true;
  readonly #runner: EventBusRunner;
  readonly #patterns: { pattern: unknown; callback: MessageHandler; isEvent: boolean; extras: EventPatternExtras }[] =
    [];

  constructor(runner: EventBusRunner) {
    super();
    this.#runner = runner;
    runner.join(() => this.#handlers());
  }

  /** Called by Nest. Never sets `next`, by which Nest would fuse the handlers of one pattern: the first failure would repeat them all. */
  override addHandler(
    pattern: unknown,
    callback: MessageHandler,
    isEvent = false,
    extras: EventPatternExtras = {},
  ): void {
    this.#patterns.push({ pattern, callback, isEvent, extras });
  }

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

  #handlers() {
    const problems: string[] = [];
    const handlers: JoinedHandler[] = [];
    for (const { pattern, callback, isEvent, extras } of this.#patterns) {
      const problem = this.#problem(pattern, isEvent, extras);
      if (problem === undefined)
        handlers.push({
          eventType: pattern as string,
          options: { ...optionsOf(extras), id: extras.id ?? (pattern as string) },
          invoke: invokeOf(callback),
        });
      else problems.push(problem);
    }
    return { handlers, problems };
  }

  #problem(pattern: unknown, isEvent: boolean, { id }: EventPatternExtras): string | undefined {
    const name = typeof pattern === 'string' ? `"${pattern}"` : JSON.stringify(pattern);
    if (!isEvent) return `@MessagePattern(${name}) is not served: an event has no answer; use @EventPattern.`;
    if (typeof pattern !== 'string') return `@EventPattern(${name}) must be the event type as text.`;
    const isAlone = this.#patterns.filter((other) => other.pattern === pattern).length === 1;
    if (id === undefined && !isAlone)
      return `Several @EventPattern(${name}) need ids to be told apart; write @EventPattern(${name}, { id: 'Class.method' }).`;
    return undefined;
  }
}

// Extras may hold what other transports read.
function optionsOf({ topic, group, retry, timeoutMs }: EventPatternExtras): Partial<HandlerOptions> {
  return {
    ...(topic === undefined ? {} : { topic }),
    ...(group === undefined ? {} : { group }),
    ...(retry === undefined ? {} : { retry }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  };
}

function invokeOf(callback: MessageHandler) {
  return async (data: unknown, context: EventBusContext): Promise<Outcome> => {
    try {
      await settled(callback(data, context), context);
      return { ok: true };
    } catch (thrown) {
      const error = isRefusalOfGuard(thrown) ? new ForbiddenException() : thrown;
      return { ok: false, error, original: error };
    }
  };
}

// Behind RPC a guard that answers false throws this instead of the 403 it is everywhere else.
function isRefusalOfGuard(error: unknown): boolean {
  return error instanceof RpcException && error.getError() === GUARD_REFUSED;
}
