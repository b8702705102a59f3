/** The half of a bus that everybody may use: options, transport, clock, the bus itself, its producer and its registry. Closed last of all. */
import { ConfigurableModuleBuilder, Inject, Module, type FactoryProvider, type InjectionToken } from '@nestjs/common';
import { DiscoveryModule, DiscoveryService, ExternalContextCreator, ModuleRef, ModulesContainer } from '@nestjs/core';
import {
  BusError,
  createBus,
  systemClock,
  type Bus,
  type BusEnvironment,
  type Clock,
  type Transport,
} from '@event-bus/core';
import type { EventBusModuleOptions } from './event-bus-options.js';
import { EventBusProducer, producerToken } from './event-bus-producer.js';
import { EventBusRegistry } from './event-bus-registry.js';
import { EventBusLog } from './log.js';
import { putOutermost } from './nest-internals.js';
import {
  DEFAULT_BUS,
  EVENT_BUS,
  EVENT_BUS_CLOCK,
  EVENT_BUS_REGISTRY,
  EVENT_BUS_TEST,
  EVENT_BUS_TRANSPORT,
} from './tokens.js';

const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN } = new ConfigurableModuleBuilder<EventBusModuleOptions>({
  moduleName: 'EventBus',
})
  .setClassMethodName('forRoot')
  .setFactoryMethodName('createEventBusOptions')
  .setExtras({ name: DEFAULT_BUS, isGlobal: true }, (definition, { name, isGlobal }) => {
    const parts = partsOf(name);
    return {
      ...definition,
      global: isGlobal,
      providers: [...(definition.providers ?? []), ...parts],
      exports: parts.map(({ provide }) => provide),
    };
  })
  .build();

@Module({ imports: [DiscoveryModule] })
export class EventBusCoreModule extends ConfigurableModuleClass {
  constructor(@Inject(ModulesContainer) modules: ModulesContainer) {
    super();
    // A global module that is imported earlier may send in its hooks, too.
    putOutermost(modules, EventBusCoreModule);
  }
}

/** What a test puts in the place of transport, time and chance, whatever the buses are called. */
export interface BelowBuses {
  readonly environment: BusEnvironment;
  transport(): Transport;
  watch(bus: Bus): void;
}

function partsOf(name: string): FactoryProvider[] {
  return [
    part(EVENT_BUS_TEST, [], () => undefined),
    part(
      EVENT_BUS_TRANSPORT(name),
      [MODULE_OPTIONS_TOKEN, EVENT_BUS_TEST],
      (options: EventBusModuleOptions, test?: BelowBuses) => test?.transport() ?? given(options, name).transport,
    ),
    part(EVENT_BUS_CLOCK(name), [EVENT_BUS_TEST], (test?: BelowBuses) => test?.environment.clock ?? systemClock),
    part(
      EVENT_BUS(name),
      [MODULE_OPTIONS_TOKEN, EVENT_BUS_TRANSPORT(name), EVENT_BUS_CLOCK(name), EVENT_BUS_TEST],
      (options: EventBusModuleOptions, transport: Transport, clock: Clock, test?: BelowBuses) => {
        const bus = createBus({ ...options, name, transport }, { ...test?.environment, clock });
        test?.watch(bus);
        return bus;
      },
    ),
    part(
      EVENT_BUS_REGISTRY(name),
      [
        EVENT_BUS(name),
        MODULE_OPTIONS_TOKEN,
        EVENT_BUS_CLOCK(name),
        DiscoveryService,
        ExternalContextCreator,
        ModuleRef,
      ],
      (
        bus: Bus,
        options: EventBusModuleOptions,
        clock: Clock,
        discovery: DiscoveryService,
        external: ExternalContextCreator,
        moduleRef: ModuleRef,
      ) =>
        new EventBusRegistry(
          bus,
          options,
          new EventBusLog({ bus: bus.name, service: bus.service, instance: bus.instance }, clock),
          clock,
          {
            discovery,
            external,
            moduleRef,
          },
        ),
    ),
    part(
      producerToken(name),
      [EVENT_BUS_REGISTRY(name)],
      (registry: EventBusRegistry) => new EventBusProducer(registry),
    ),
  ];
}

function part(
  provide: InjectionToken,
  inject: InjectionToken[],
  useFactory: (...args: never[]) => unknown,
): FactoryProvider {
  return { provide, inject, useFactory: useFactory as FactoryProvider['useFactory'] };
}

function given(options: EventBusModuleOptions | undefined, name: string): EventBusModuleOptions {
  if (typeof options === 'object' && options !== null) return options;
  throw new BusError(
    'BUS_CONFIG_INVALID',
    `The bus "${name}" has no options: its factory gave ${String(options)}; return { service, transport, … }.`,
  );
}
