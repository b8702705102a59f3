/** `@OnEventBus`: marks a method of a provider or a controller as a handler. It only writes down; the explorer reads at start. */
import 'reflect-metadata';
import { BusError, type EventData, type EventDefinition, type HandlerOptions } from '@event-bus/core';
import type { EventBusContext } from './event-bus-context.js';
import { markAsEntryProvider } from './nest-internals.js';

/** The options of a handler in core, with a default id, and the bus it belongs to. */
export interface OnEventBusOptions extends Omit<HandlerOptions, 'id'> {
  /**
   * Pins the handler's id. Dead letters are addressed by it, so pin it before renaming the class or the method, and in a bundle that mangles class
   * names. Default `Class.method`.
   */
  readonly id?: string;
  /** The name of the bus. Default `default`. */
  readonly bus?: string;
}

/** One `@OnEventBus` as it is kept on the method. */
export interface HandlerDeclaration {
  readonly definition: EventDefinition;
  readonly options: OnEventBusOptions;
}

/**
 * Runs the method for every event of this type, at least once, in order per key. It returns to say handled and throws to be tried again;
 * `NonRetryable` and `RetryAfter` steer. May be repeated: a method with two of them is one handler of two event types.
 *
 * The first parameter must accept the event's data, or the context; anything else does not compile. A decorator cannot see another one on a parameter,
 * so `@Payload('field')` goes behind `@Ctx()`.
 */
export function OnEventBus<D extends EventDefinition>(
  definition: D,
  options: OnEventBusOptions = {},
): HandlerDecorator<EventData<D>> {
  return (target, name, descriptor) => {
    refuseHidden(target, name);
    const method = descriptor.value as object;
    // Decorators run bottom-up; the order of the source is what people expect to see listed.
    Reflect.defineMetadata(
      HANDLERS,
      [{ definition, options } satisfies HandlerDeclaration, ...declarationsOf(method)],
      method,
    );
    Reflect.defineMetadata(MARKED, options, target, name);
    markAsEntryProvider(target.constructor);
  };
}

/** Refuses, at compile time, a method whose first parameter cannot take what it would be given. */
export type HandlerDecorator<Data> = <Method extends Accepts<Data> | Accepts<EventBusContext>>(
  target: object,
  method: string | symbol,
  descriptor: TypedPropertyDescriptor<Method>,
) => void;

type Accepts<First> = (first: First, ...rest: any[]) => unknown;

/** All `@OnEventBus` of a method, from top to bottom. */
export function declarationsOf(method: object): readonly HandlerDeclaration[] {
  return (Reflect.getMetadata(HANDLERS, method) as readonly HandlerDeclaration[] | undefined) ?? [];
}

/** The options of a method that was marked, though the function that stands there now may bear no declaration. */
export function markOf(prototype: object, method: string): OnEventBusOptions | undefined {
  let owner = prototype;
  // Not of a method that the class overrides.
  while (!Object.hasOwn(owner, method)) owner = Object.getPrototypeOf(owner) as object;
  return Reflect.getOwnMetadata(MARKED, owner, method) as OnEventBusOptions | undefined;
}

// Nest looks at the named methods of instances; what stands elsewhere would never run.
function refuseHidden(target: object, method: string | symbol): void {
  const isStatic = typeof target === 'function';
  if (!isStatic && typeof method === 'string') return;
  const name = `${(isStatic ? target : target.constructor).name}.${String(method)}`;
  throw new BusError(
    'BUS_CONFIG_INVALID',
    `@OnEventBus on "${name}": a handler must be a method of an instance, with a name; this one is ${isStatic ? 'static' : 'named by a symbol'}.`,
  );
}

// Written out and not a symbol: a second copy of this package reads it too.
const HANDLERS = 'event-bus:handlers';
const MARKED = 'event-bus:marked';
