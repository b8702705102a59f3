import { Inject } from '@nestjs/common';
import type { EventDefinition, EventInput, SendOptions, Sent } from '@event-bus/core';
import type { EventBusRegistry } from './event-bus-registry.js';
import { DEFAULT_BUS, EVENT_BUS_PRODUCER } from './tokens.js';

/** Sends events. The default bus is injected by this class, a named one with `@InjectEventBus('audit')`. */
export class EventBusProducer {
  readonly #registry: EventBusRegistry;

  constructor(registry: EventBusRegistry) {
    this.#registry = registry;
  }

  /**
   * Resolves when the event is safe on every enabled route, with its metadata and places. Rejects on any failure with a typed error; data that does
   * not match the event is refused before anything is sent (`BUS_EVENT_INVALID`). From `onModuleInit` on the bus is open; a send before that waits.
   */
  send<D extends EventDefinition>(definition: D, data: EventInput<D>, options?: SendOptions): Promise<Sent> {
    const { bus, isOpen } = this.#registry;
    return isOpen ? bus.send(definition, data, options) : this.#sendLater(definition, data, options);
  }

  // Not the bus itself: its first send would open it, before this application's handlers and definitions are found.
  async #sendLater<D extends EventDefinition>(
    definition: D,
    data: EventInput<D>,
    options?: SendOptions,
  ): Promise<Sent> {
    await this.#registry.opened(options?.deadlineMs ?? this.#registry.options.sendDeadlineMs);
    return this.#registry.bus.send(definition, data, options);
  }
}

/** Injects the producer of a bus by the name it was given in `forRoot`. */
export function InjectEventBus(name: string = DEFAULT_BUS): PropertyDecorator & ParameterDecorator {
  return Inject(producerToken(name));
}

export function producerToken(name: string): string | typeof EventBusProducer {
  return name === DEFAULT_BUS ? EventBusProducer : EVENT_BUS_PRODUCER(name);
}
