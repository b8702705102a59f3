import { Module, type ConfigurableModuleAsyncOptions, type DynamicModule } from '@nestjs/common';
import type { Clock, EventDefinition } from '@event-bus/core';
import { EventBusCoreModule } from './event-bus-core.module.js';
import type { EventBusAsyncOptions, EventBusModuleOptions } from './event-bus-options.js';
import { EventBusFeature, type EventBusRegistry } from './event-bus-registry.js';
import { EventBusRunner, runnerToken } from './event-bus-runner.js';
import { DEFAULT_BUS, EVENT_BUS_CLOCK, EVENT_BUS_REGISTRY } from './tokens.js';

/** How `forRootAsync` gets its options: `useFactory`, or a class with `createEventBusOptions()`. Name and scope cannot come from there. */
export interface EventBusModuleAsyncOptions extends ConfigurableModuleAsyncOptions<
  EventBusAsyncOptions,
  'createEventBusOptions'
> {
  /** Default `default`. */
  readonly name?: string;
  /** Default true. */
  readonly isGlobal?: boolean;
}

/**
 * The event bus of an application. Import `forRoot` last in the root module, so that handlers start after everything they need and stop before it;
 * features import `forFeature`.
 */
@Module({})
export class EventBusModule {
  /** One bus, with everything it is told at once. Several are told apart by `name`. */
  static forRoot(options: EventBusModuleOptions): DynamicModule {
    return shell(EventBusCoreModule.forRoot(options), options.name);
  }

  /** The same with options that others provide. */
  static forRootAsync(options: EventBusModuleAsyncOptions): DynamicModule {
    return shell(EventBusCoreModule.forRootAsync(options), options.name);
  }

  /** Makes the event types known that a module owns, so that routes may name them. Opens nothing. */
  static forFeature(definitions: readonly EventDefinition[], name: string = DEFAULT_BUS): DynamicModule {
    return {
      module: EventBusModule,
      providers: [{ provide: EventBusFeature, useValue: new EventBusFeature(name, definitions) }],
    };
  }
}

// Not global, and above the half it imports: its hooks run after those of the features and, when stopping, before them.
function shell(core: DynamicModule, name: string = DEFAULT_BUS): DynamicModule {
  const runner = {
    provide: runnerToken(name),
    inject: [EVENT_BUS_REGISTRY(name), EVENT_BUS_CLOCK(name)],
    useFactory: (registry: EventBusRegistry, clock: Clock) => new EventBusRunner(registry, clock),
  };
  return {
    module: EventBusModule,
    imports: [core],
    providers: [runner],
    exports: [runner.provide, EventBusCoreModule],
  };
}
