import type { FactoryProvider, InjectionToken } from '@nestjs/common';
import { ClientProxy, type ReadPacket, type WritePacket } from '@nestjs/microservices';
import { BusError, signals, type EventDefinition } from '@event-bus/core';
import { EventBusProducer, producerToken } from '../event-bus-producer.js';
import type { EventBusRegistry } from '../event-bus-registry.js';
import { DEFAULT_BUS, EVENT_BUS_REGISTRY } from '../tokens.js';

/**
 * A `ClientProxy` whose `emit(eventType, data)` sends on the event bus. As with every client of Nest the event is sent at once, subscribed or not, and the
 * observable completes when the event is safe; a failure nobody subscribed to would vanish, so it is logged too. There is no `send`: events have no answer.
 */
export class EventBusClient extends ClientProxy {
  readonly #registry: EventBusRegistry;
  readonly #producer: EventBusProducer;

  private constructor(registry: EventBusRegistry, producer: EventBusProducer) {
    super();
    this.#registry = registry;
    this.#producer = producer;
  }

  /** The client of a bus under the token that existing code injects: `providers: [EventBusClient.provider('EVENTS')]`. */
  static provider(token: InjectionToken, name: string = DEFAULT_BUS): FactoryProvider<EventBusClient> {
    return {
      provide: token,
      inject: [EVENT_BUS_REGISTRY(name), producerToken(name)],
      useFactory: (registry: EventBusRegistry, producer: EventBusProducer) => new EventBusClient(registry, producer),
    };
  }

  /** The bus opens and closes with its application. */
  async connect(): Promise<void> {}

  close(): void {}

  unwrap<T>(): T {
    return this.#registry.bus as T;
  }

  protected async dispatchEvent<T = unknown>({ pattern, data }: ReadPacket): Promise<T> {
    try {
      const eventType = this.normalizePattern(pattern as string);
      const left = this.#registry.isReady ? undefined : await this.#registry.ready();
      return (await this.#producer.send(this.#definition(eventType), data, left)) as T;
    } catch (error) {
      this.#registry.log.emitFailed({ pattern, error });
      throw error;
    }
  }

  protected publish({ pattern }: ReadPacket, callback: (packet: WritePacket) => void): () => void {
    callback({
      err: new BusError(
        'BUS_UNSUPPORTED',
        `send(${JSON.stringify(pattern)}) asks for an answer, which events do not have; use emit, or another transport for requests.`,
      ),
    });
    return () => {};
  }

  #definition(eventType: string): EventDefinition {
    const { bus } = this.#registry;
    const definition = this.#registry.definition(eventType);
    if (definition !== undefined) return definition;
    const error = new BusError(
      'BUS_EVENT_TYPE_UNKNOWN',
      `emit("${eventType}") has no event definition on the bus "${bus.name}"; list it in forFeature([…]) or in the option "events".`,
    );
    // The bus never hears of it, and so cannot count it.
    signals.sendFailed.publish({
      bus: bus.name,
      service: bus.service,
      instance: bus.instance,
      eventType,
      event: undefined,
      error,
    });
    throw error;
  }
}
