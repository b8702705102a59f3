/** Finds the handlers of an application: methods with `@OnEventBus` on providers and controllers. */
import type { Type } from '@nestjs/common';
import { MetadataScanner, type DiscoveryService, type ExternalContextCreator } from '@nestjs/core';
import type { EventDefinition } from '@event-bus/core';
import { prototypeOf, unwiredEnhancers, type InstanceWrapper } from './nest-internals.js';
import { declarationsOf, type OnEventBusOptions } from './on-event-bus.js';

/** One handler of one event type, and the method that stands for it. */
export interface FoundHandler {
  readonly id: string;
  readonly definition: EventDefinition;
  readonly options: OnEventBusOptions;
  readonly wrapper: InstanceWrapper;
  readonly method: string;
  /** Why it cannot be run as it stands. */
  readonly problem?: string;
}

/** All handlers of the application, of every bus. */
export function findHandlers(discovery: DiscoveryService, external: ExternalContextCreator): readonly FoundHandler[] {
  const scanner = new MetadataScanner();
  const handlers = hostsOf(discovery).flatMap((wrapper) => {
    const prototype = prototypeOf(wrapper);
    if (prototype === undefined) return [];
    return scanner.getAllMethodNames(prototype).flatMap((method) => handlersOf(wrapper, prototype, method, external));
  });
  return withoutDoubles(handlers);
}

// A class that two modules provide has two hosts, and would handle every event twice.
function withoutDoubles(handlers: readonly FoundHandler[]): readonly FoundHandler[] {
  const hosts = new Map<string, InstanceWrapper>();
  return handlers.map((handler) => {
    const { wrapper, method, definition, options } = handler;
    const address = [options.bus, definition?.type, options.group, options.topic, handler.id, method].join('\n');
    const first = hosts.get(address) ?? wrapper;
    hosts.set(address, first);
    if (first === wrapper || first.metatype !== wrapper.metatype) return handler;
    return {
      ...handler,
      problem: `Handler "${handler.id}" would run twice: ${moduleOf(first)} and ${moduleOf(wrapper)} both provide its class; provide it in one module, export it there, and import that module in the other.`,
    };
  });
}

function hostsOf(discovery: DiscoveryService): InstanceWrapper[] {
  const all = [...discovery.getProviders(), ...discovery.getControllers()].filter((wrapper) => !wrapper.isAlias);
  // A factory or a value that hands on an instance Nest has made from its class is an alias by another name.
  const made = new Set(all.filter((wrapper) => !wrapper.isNotMetatype).map((wrapper) => wrapper.instance as unknown));
  return all.filter((wrapper) => !wrapper.isNotMetatype || !made.has(wrapper.instance));
}

function handlersOf(
  wrapper: InstanceWrapper,
  prototype: object,
  method: string,
  external: ExternalContextCreator,
): FoundHandler[] {
  const host = prototype.constructor as Type;
  const declarations = declarationsOf((prototype as Record<string, object>)[method]!);
  if (declarations.length === 0) return [];
  const unwired = unwiredEnhancers(wrapper, host, method, external);
  const wiring =
    unwired.length === 0
      ? undefined
      : `Handler "${host.name}.${method}" would run without ${unwired.join(', ')}: Nest wires these only to a class it makes itself; list the class as it is, \`providers: [${host.name}]\`, instead of a factory, a value or another token.`;
  return declarations.map(({ definition, options }) => {
    const id = options.id ?? `${host.name}.${method}`;
    const problem =
      definition === undefined
        ? `Handler "${id}" has no event definition: @OnEventBus was given undefined; look for two files that import each other.`
        : wiring;
    return { id, definition, options, wrapper, method, ...(problem === undefined ? {} : { problem }) };
  });
}

function moduleOf(wrapper: InstanceWrapper): string {
  return wrapper.host?.name ?? 'a module';
}
