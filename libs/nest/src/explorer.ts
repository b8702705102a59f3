/** Finds the handlers of an application: methods with `@OnEventBus` on providers and controllers, and with `@EventPattern` on controllers. */
import type { Type } from '@nestjs/common';
import { MetadataScanner, type DiscoveryService, type ExternalContextCreator } from '@nestjs/core';
import type { EventDefinition } from '@event-bus/core';
import {
  bareParameters,
  patternOf,
  prototypeOf,
  unwiredEnhancers,
  type InstanceWrapper,
  type Pattern,
} from './nest-internals.js';
import { declarationsOf, markOf, type OnEventBusOptions } from './on-event-bus.js';

/** One handler of one event type, and the method that stands for it. */
export interface FoundHandler {
  readonly id: string;
  readonly eventType: string;
  /** Of `@EventPattern`, which names a type alone: the one that the bus knows. */
  readonly definition?: EventDefinition;
  readonly options: OnEventBusOptions;
  readonly wrapper: InstanceWrapper;
  readonly method: string;
  /** Why it cannot be run as it stands. */
  readonly problem?: string;
}

/** All `@OnEventBus` of the application, of every bus. */
export function findHandlers(discovery: DiscoveryService, external: ExternalContextCreator): readonly FoundHandler[] {
  return find(hostsOf([...discovery.getProviders(), ...discovery.getControllers()]), external, declared);
}

/** All `@EventPattern` of the application that are not bound to another transport. A `@MessagePattern` is found too, as a problem. */
export function findPatterns(
  discovery: DiscoveryService,
  external: ExternalContextCreator,
  transportId: symbol,
): readonly FoundHandler[] {
  return find(hostsOf(discovery.getControllers()), external, (prototype, method) => {
    const pattern = patternOf(functionOf(prototype, method));
    const isOurs = pattern?.transport === undefined || pattern.transport === transportId;
    if (pattern === undefined || !isOurs) return [];
    return pattern.patterns.map((eventType) => served(nameOf(prototype, method), pattern, eventType));
  });
}

/** What the decorators of a method say of the handlers it stands for. */
type Read = (prototype: object, method: string) => readonly Said[];
type Said = Omit<FoundHandler, 'wrapper' | 'method'>;

function find(
  hosts: readonly InstanceWrapper[],
  external: ExternalContextCreator,
  read: Read,
): readonly FoundHandler[] {
  const scanner = new MetadataScanner();
  const handlers = hosts.flatMap((wrapper) => {
    const prototype = prototypeOf(wrapper);
    if (prototype === undefined) return [];
    return scanner
      .getAllMethodNames(prototype)
      .flatMap((method) => handlersOf(wrapper, prototype, method, external, read));
  });
  return withoutDoubles(handlers);
}

const declared: Read = (prototype, method) => {
  const name = nameOf(prototype, method);
  const declarations = declarationsOf(functionOf(prototype, method));
  const mark = markOf(prototype, method);
  if (declarations.length === 0 && mark !== undefined) {
    const problem = `Handler "${name}" would never run: a decorator above @OnEventBus has put a function of its own in the method's place; write @OnEventBus above it.`;
    return [{ id: name, eventType: '', options: mark, problem }];
  }
  return declarations.map(({ definition, options }) => {
    const own = { id: options.id ?? name, options };
    if (definition !== undefined) return { ...own, eventType: definition.type, definition };
    const problem = `Handler "${own.id}" has no event definition: @OnEventBus was given undefined; look for two files that import each other.`;
    return { ...own, eventType: '', problem };
  });
};

function served(id: string, { isEvent, extras }: Pattern, eventType: unknown): Said {
  const { topic, group, retry, timeoutMs } = extras as OnEventBusOptions;
  const given = Object.entries({ topic, group, retry, timeoutMs }).filter(([, value]) => value !== undefined);
  const own = {
    id: (extras as OnEventBusOptions).id ?? id,
    eventType: String(eventType),
    // The others may be for other transports.
    options: Object.fromEntries(given) as OnEventBusOptions,
  };
  const name = JSON.stringify(eventType);
  const elsewhere = 'if another transport serves it, name that one as the second argument';
  if (!isEvent)
    return {
      ...own,
      problem: `@MessagePattern(${name}) is not served: an event has no answer; use @EventPattern, or ${elsewhere}.`,
    };
  if (typeof eventType !== 'string')
    return { ...own, problem: `@EventPattern(${name}) must be the event type as text; ${elsewhere}.` };
  return own;
}

// A class that two modules provide has two hosts, and would handle every event twice.
function withoutDoubles(handlers: readonly FoundHandler[]): readonly FoundHandler[] {
  const hosts = new Map<string, InstanceWrapper>();
  return handlers.map((handler) => {
    const { wrapper, method, eventType, options } = handler;
    const address = [options.bus, eventType, options.group, options.topic, handler.id, method].join('\n');
    const first = hosts.get(address) ?? wrapper;
    hosts.set(address, first);
    if (first === wrapper || first.metatype !== wrapper.metatype) return handler;
    return { ...handler, problem: `Handler "${handler.id}" would run twice: ${twice(first, wrapper)}.` };
  });
}

function twice(one: InstanceWrapper, other: InstanceWrapper): string {
  if (one.host === other.host)
    return `${moduleOf(one)} provides its class under two tokens; write { provide: …, useExisting: ${(one.metatype as Type).name} } for one of them`;
  return `${moduleOf(one)} and ${moduleOf(other)} both provide its class; provide it in one module, export it there, and import that module in the other`;
}

function hostsOf(wrappers: readonly InstanceWrapper[]): InstanceWrapper[] {
  const all = wrappers.filter((wrapper) => !wrapper.isAlias);
  // A factory or a value that hands on an instance Nest has made from its class is an alias by another name.
  const made = new Set(all.filter((wrapper) => !wrapper.isNotMetatype).map((wrapper) => wrapper.instance as unknown));
  return all.filter((wrapper) => !wrapper.isNotMetatype || !made.has(wrapper.instance));
}

function handlersOf(
  wrapper: InstanceWrapper,
  prototype: object,
  method: string,
  external: ExternalContextCreator,
  read: Read,
): FoundHandler[] {
  const host = prototype.constructor as Type;
  const said = read(prototype, method);
  if (said.length === 0) return [];
  const problem = wiring(wrapper, host, method, external) ?? unfilled(host, method);
  return said.map((each) => ({ wrapper, method, ...(problem === undefined ? {} : { problem }), ...each }));
}

function wiring(
  wrapper: InstanceWrapper,
  host: Type,
  method: string,
  external: ExternalContextCreator,
): string | undefined {
  const unwired = unwiredEnhancers(wrapper, host, method, external);
  if (unwired.length === 0) return undefined;
  return `Handler "${host.name}.${method}" would run without ${unwired.join(', ')}: Nest wires these only to a class it makes itself; list the class as it is, \`providers: [${host.name}]\`, instead of a factory, a value or another token.`;
}

function unfilled(host: Type, method: string): string | undefined {
  const bare = bareParameters(host, method);
  if (bare.length === 0) return undefined;
  return `Handler "${host.name}.${method}" would get undefined as parameter ${bare.join(' and ')}: beside @Payload() and @Ctx() Nest fills decorated parameters only; decorate it too, or give it a default.`;
}

function functionOf(prototype: object, method: string): object {
  return (prototype as Record<string, object>)[method]!;
}

function nameOf(prototype: object, method: string): string {
  return `${prototype.constructor.name}.${method}`;
}

function moduleOf(wrapper: InstanceWrapper): string {
  return wrapper.host?.name ?? 'a module';
}
