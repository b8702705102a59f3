export { EventBusModule, type EventBusModuleAsyncOptions } from './event-bus.module.js';
export type { EventBusAsyncOptions, EventBusModuleOptions, EventBusOptionsFactory } from './event-bus-options.js';
export { OnEventBus, type HandlerDecorator, type OnEventBusOptions } from './on-event-bus.js';
export { EventBusContext, isEventBusContext } from './event-bus-context.js';
export { EventBusProducer, InjectEventBus } from './event-bus-producer.js';
export { EventBusRunner } from './event-bus-runner.js';
export { EVENT_BUS, EVENT_BUS_CLOCK, EVENT_BUS_PRODUCER, EVENT_BUS_RUNNER, EVENT_BUS_TRANSPORT } from './tokens.js';
