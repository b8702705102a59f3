import { Inject } from '@nestjs/common';
import type { EventDefinition, EventInput, SendOptions, Sent } from '@event-bus/core';
import type { EventBusRegistry } from './event-bus-registry.js';
import { DEFAULT_BUS, EVENT_BUS_PRODUCER } from './tokens.js';

/** Sends events. The default bus is injected by this class, a named one with `@InjectEventBus('audit')`. */
export class EventBusProducer {
  readonly #registry: EventBusRegistry;
  #early = 0;

  constructor(registry: EventBusRegistry) {
    this.#registry = registry;
  }

  /**
   * Resolves when the event is safe on every enabled route, with its metadata and places. Rejects on any failure with a typed error; data that does
   * not match the event is refused before anything is sent (`BUS_EVENT_INVALID`). A send from before the first `onModuleInit` waits for that, in its
   * turn, as the data are when it is called.
   */
  send<D extends EventDefinition>(definition: D, data: EventInput<D>, options?: SendOptions): Promise<Sent> {
    const { bus, isReady } = this.#registry;
    return isReady && this.#early === 0
      ? bus.send(definition, data, options)
      : this.#sendLater(definition, copyOf(definition, data), options);
  }

  // Not the bus itself: its first send would open it, before this application's handlers and definitions are found.
  async #sendLater<D extends EventDefinition>(
    definition: D,
    data: EventInput<D>,
    options?: SendOptions,
  ): Promise<Sent> {
    // Counted, so that in the moment of opening no later send goes before an earlier one.
    this.#early++;
    let left: SendOptions;
    try {
      left = await this.#registry.ready(options);
    } catch (error) {
      this.#early--;
      throw error;
    }
    this.#early--;
    return this.#registry.bus.send(definition, data, left);
  }
}

// Wrong data are left to the bus, which says what is wrong.
function copyOf<D extends EventDefinition>(definition: D, data: EventInput<D>): EventInput<D> {
  return definition.validate(data).length === 0 ? (definition.copy(data) as EventInput<D>) : data;
}

/** Injects the producer of a bus by the name it was given in `forRoot`. */
export function InjectEventBus(name: string = DEFAULT_BUS): PropertyDecorator & ParameterDecorator {
  return Inject(producerToken(name));
}

export function producerToken(name: string): string | typeof EventBusProducer {
  return name === DEFAULT_BUS ? EventBusProducer : EVENT_BUS_PRODUCER(name);
}
