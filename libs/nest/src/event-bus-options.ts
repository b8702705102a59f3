import type { BusOptions } from '@event-bus/core';

/** The options of a bus in core, and what only Nest needs. */
export interface EventBusModuleOptions extends BusOptions {
  /** Whether every module may inject the bus without importing it. Default true. */
  readonly isGlobal?: boolean;
  /** Whether handlers start with the application. `false` when something must be reachable first; then call `EventBusRunner.start()`. Default true. */
  readonly autoStart?: boolean;
}

/** What `forRootAsync` makes: name and scope of a module must be known before its options are. */
export type EventBusAsyncOptions = Omit<EventBusModuleOptions, 'name' | 'isGlobal'>;

/** What a class given as `useClass` or `useExisting` implements. */
export interface EventBusOptionsFactory {
  createEventBusOptions(): EventBusAsyncOptions | Promise<EventBusAsyncOptions>;
}
