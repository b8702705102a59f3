/** Keeps a consumer alive: one membership after another, with pauses, until it is stopped. */
import { BusError, systemClock, systemRandom, type Random } from '@event-bus/core';
import { delay } from '@event-bus/core/internal';
import type { Kafka } from 'kafkajs';
import { persistent } from './admin.js';
import type { KafkaConsumer, KafkaConsumerHandlers, KafkaConsumerOptions } from './client.js';
import type { Cluster } from './cluster.js';
import { isFenced } from './failure.js';
import { GroupPositions } from './group-positions.js';
import { Membership } from './membership.js';

export interface ConsumerParts {
  /** A new object each time: two consumers of one `Kafka` share offsets, and break each other. */
  readonly kafka: () => Kafka;
  readonly cluster: Cluster;
  /** Resolves once records are decoded as they should be. */
  readonly ready: () => Promise<unknown>;
  readonly random?: Random;
}

export function kafkajsConsumer(parts: ConsumerParts, options: KafkaConsumerOptions): KafkaConsumer {
  return new Supervisor(parts, options);
}

class Supervisor implements KafkaConsumer {
  readonly #parts: ConsumerParts;
  readonly #options: KafkaConsumerOptions;
  readonly #stopping = new AbortController();
  readonly #positions: GroupPositions;
  #generations = 0;
  #membership: Membership | undefined;
  #lives: Promise<void> | undefined;
  #trouble: BusError | undefined;
  /** The member that broke, as long as the broker may wait for it. */
  #broken: string | undefined;

  constructor(parts: ConsumerParts, options: KafkaConsumerOptions) {
    this.#parts = parts;
    this.#options = options;
    this.#positions = new GroupPositions(parts.cluster, options);
  }

  async run(given: KafkaConsumerHandlers): Promise<void> {
    const handlers: KafkaConsumerHandlers = { ...bound(given), onTrouble: (error) => this.#tell(given, error) };
    await this.#parts.ready();
    try {
      await this.#begin(handlers);
    } catch (error) {
      // A broker that is away comes back; a topic that is missing or a right that is not given is somebody's to see at once.
      if (!(error as BusError).retryable) throw error;
      handlers.onTrouble(error as BusError);
    }
    this.#lives = this.#live(handlers);
  }

  async commit(...[generation, positions]: Parameters<KafkaConsumer['commit']>): ReturnType<KafkaConsumer['commit']> {
    return this.#membership ? this.#membership.commit(generation, positions) : 'fenced';
  }

  holds(): boolean {
    return this.#membership?.holds() ?? false;
  }

  status(): ReturnType<KafkaConsumer['status']> {
    const membership = this.#membership;
    if (this.#stopping.signal.aborted) return { state: 'stopped', partitions: [], idleMs: 0 };
    return {
      state: this.#trouble || !membership ? 'trouble' : membership.state,
      partitions: membership?.partitions ?? [],
      idleMs: membership?.idleMs ?? 0,
    };
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new BusError('BUS_INTERRUPTED', 'The consumer is stopped.'));
    await this.#membership?.stop();
    await this.#lives;
  }

  async #begin(handlers: KafkaConsumerHandlers): Promise<void> {
    const membership = new Membership({
      kafka: this.#parts.kafka(),
      positions: this.#positions,
      options: this.#options,
      handlers,
      nextGeneration: () => ++this.#generations,
    });
    this.#membership = membership;
    try {
      await membership.start();
    } catch (error) {
      this.#membership = undefined;
      throw error;
    }
    // `stop` may have come while it connected, when there was nothing to stop.
    if (this.#stopping.signal.aborted) await membership.stop();
  }

  async #live(handlers: KafkaConsumerHandlers): Promise<void> {
    const { signal } = this.#stopping;
    for (let failures = 0; !signal.aborted; failures++) {
      const since = systemClock.monotonic();
      const error = await this.#membership?.ended;
      this.#broken = this.#membership?.memberId ?? this.#broken;
      this.#membership = undefined;
      if (signal.aborted) return;
      if (error) handlers.onTrouble(error);
      if (systemClock.monotonic() - since > HEALTHY_MS) failures = 0;
      try {
        await delay(systemClock, this.#pauseMs(failures), signal);
        await this.#signOff();
        await this.#begin(handlers);
      } catch (error) {
        if (!signal.aborted) handlers.onTrouble(error as BusError);
      }
    }
  }

  /** Otherwise the group would wait for the member that broke until its session is over, half a minute. */
  async #signOff(): Promise<void> {
    if (this.#broken === undefined) return;
    const { cluster } = this.#parts;
    const { group } = this.#options;
    try {
      await persistent(cluster, `Signing off from group "${group}"`, async () => {
        const coordinator = await cluster.findGroupCoordinator({ groupId: group });
        await coordinator.leaveGroup({ groupId: group, memberId: this.#broken! });
      });
    } catch (error) {
      // Fenced: it has left already. A broker that is away, or not ready, would not let us join either.
      if (!isFenced(error) && (error as BusError).retryable) throw error;
    }
    this.#broken = undefined;
  }

  #pauseMs(failures: number): number {
    const longest = Math.min(MIN_PAUSE_MS * 2 ** failures, MAX_PAUSE_MS);
    return longest * (0.5 + 0.5 * (this.#parts.random ?? systemRandom)());
  }

  /** Only what is news. */
  #tell(handlers: KafkaConsumerHandlers, error: BusError | undefined): void {
    if (error === this.#trouble) return;
    this.#trouble = error;
    handlers.onTrouble(error);
  }
}

const bound = (handlers: KafkaConsumerHandlers): KafkaConsumerHandlers => ({
  onAssigned: (...args) => handlers.onAssigned(...args),
  onBatch: (batch) => handlers.onBatch(batch),
  onLeaving: (...args) => handlers.onLeaving(...args),
  onLost: (range) => handlers.onLost(range),
  onTrouble: (error) => handlers.onTrouble(error),
});

const MIN_PAUSE_MS = 1_000;
const MAX_PAUSE_MS = 10_000;
const HEALTHY_MS = 60_000;
