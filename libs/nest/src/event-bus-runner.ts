import type { OnApplicationBootstrap, OnModuleDestroy } from '@nestjs/common';
import type { Clock } from '@event-bus/core';
import type { EventBusRegistry, HandlerSource } from './event-bus-registry.js';
import { DEFAULT_BUS, EVENT_BUS_RUNNER } from './tokens.js';

/**
 * Starts and stops the handlers of a bus. It lives in the module that `forRoot` makes: imported last in the root module, it starts after every feature
 * and stops before every feature, repository and database.
 */
export class EventBusRunner implements OnApplicationBootstrap, OnModuleDestroy {
  readonly #registry: EventBusRegistry;
  readonly #clock: Clock;
  #starting: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;
  #cancelWarning = () => {};

  constructor(registry: EventBusRegistry, clock: Clock) {
    this.#registry = registry;
    this.#clock = clock;
  }

  async onApplicationBootstrap(): Promise<void> {
    if (!(this.#registry.options.autoStart ?? true)) return;
    try {
      await this.start();
    } catch (error) {
      // Nest does not close an application whose start was refused; what was opened would keep the process alive.
      await this.#registry.close();
      throw error;
    }
  }

  onModuleDestroy(): Promise<void> {
    return this.stop();
  }

  /**
   * Starts the handlers; resolves once every group has asked to join. With `autoStart: false` this is for the application to call: when it rejects,
   * sending goes on, and it may be called again. Rejects with `BUS_CLOSED` once stopped. Idempotent.
   */
  start(): Promise<void> {
    // The bus says why not.
    if (this.#stopping !== undefined) return this.#registry.bus.start();
    return (this.#starting ??= this.#start());
  }

  /** Takes nothing more, lets running handlers finish until `stopTimeoutMs`, commits and leaves. Sending goes on. Idempotent. */
  stop(): Promise<void> {
    return (this.#stopping ??= this.#stop());
  }

  /** For `EventBusStrategy`: handlers that are found elsewhere. Before the application is initialised. */
  join(source: HandlerSource): void {
    this.#registry.join(source);
  }

  async #start(): Promise<void> {
    try {
      await this.#registry.prepare();
      await this.#registry.start();
    } catch (error) {
      this.#starting = undefined;
      throw error;
    }
    if (this.#stopping !== undefined) return;
    this.#cancelWarning = this.#clock.timer(HOOKS_AFTER_MS, () => {
      if (process.listenerCount('SIGTERM') === 0) this.#registry.log.hooksMissing();
    });
  }

  async #stop(): Promise<void> {
    this.#cancelWarning();
    const isRunning = this.#starting !== undefined;
    const endWatch = isRunning ? this.#watchSignals() : () => {};
    if (isRunning) this.#registry.log.draining();
    try {
      await this.#registry.bus.stop();
    } finally {
      endWatch();
    }
    if (isRunning) this.#registry.log.stopped();
  }

  /**
   * Nest ignores a second signal; whoever sends one does not want to wait for the drain. Whether a signal or the program itself began the stop is not
   * known, as listening before it would keep those from ending the process who do so only when they listen alone. So the first one that is heard is
   * taken for that which began it.
   */
  #watchSignals(): () => void {
    let firstMs: number | undefined;
    const leave = (signal: NodeJS.Signals) => {
      firstMs ??= this.#clock.monotonic();
      if (this.#clock.monotonic() - firstMs < SAME_SIGNAL_MS) return;
      this.#registry.log.leavingAtOnce({ signal });
      process.exit(128 + (signal === 'SIGINT' ? 2 : 15));
    };
    for (const signal of STOP_SIGNALS) process.on(signal, leave);
    return () => {
      for (const signal of STOP_SIGNALS) process.off(signal, leave);
    };
  }
}

export function runnerToken(name: string): string | typeof EventBusRunner {
  return name === DEFAULT_BUS ? EventBusRunner : EVENT_BUS_RUNNER(name);
}

const STOP_SIGNALS = ['SIGTERM', 'SIGINT'] as const;

// One Ctrl-C reaches a process twice when npm passes on what the terminal has sent already.
const SAME_SIGNAL_MS = 250;

// Some call enableShutdownHooks() only after listen().
const HOOKS_AFTER_MS = 1_000;
