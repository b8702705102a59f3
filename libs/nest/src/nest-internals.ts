/**
 * Everything of Nest's inside that this library leans on: strings, numbers, private members. One file, so that a new version of Nest has one place
 * to be compared with; the compat test does that on the lowest and the newest versions. `@nestjs/common/internal` has the strings, but not on
 * every supported version.
 */
import 'reflect-metadata';
import type { Type } from '@nestjs/common';
import { ModuleRef, type DiscoveryService, type ExternalContextCreator, type ModulesContainer } from '@nestjs/core';

/** Nest's record of one provider or controller. */
export type InstanceWrapper = ReturnType<DiscoveryService['getProviders']>[number];

type Module = NonNullable<InstanceWrapper['host']>;

/** What `@Payload()`, `@Ctx()` and custom parameter decorators write on a class, per method. */
export const PARAMETERS = '__routeArguments__';
export const PAYLOAD = 3;
export const CONTEXT = 6;

/** What `@UseGuards` and its sisters write, on a class or a method. */
export const ENHANCERS = {
  '@UseGuards': '__guards__',
  '@UsePipes': '__pipes__',
  '@UseInterceptors': '__interceptors__',
  '@UseFilters': '__exceptionFilters__',
} as const;

/** What makes Nest count a provider among those that requests enter by. */
export const ENTRY_PROVIDER = '__entryProvider__';

/** What `@EventPattern` and `@MessagePattern` write on a method; an event is of kind 2. */
export const PATTERN = {
  patterns: 'microservices:pattern',
  kind: 'microservices:handler_type',
  transport: 'microservices:transport',
  extras: 'microservices:pattern_extras',
} as const;

export interface Pattern {
  readonly patterns: readonly unknown[];
  readonly isEvent: boolean;
  /** The one transport that serves it; `undefined`: each. */
  readonly transport: unknown;
  readonly extras: object;
}

/** What a method says to Nest's microservices, if anything. */
export function patternOf(method: object): Pattern | undefined {
  const read = (key: keyof typeof PATTERN): unknown => Reflect.getMetadata(PATTERN[key], method);
  if (read('kind') === undefined) return undefined;
  return {
    patterns: metadata(PATTERN.patterns, method),
    isEvent: read('kind') === 2,
    transport: read('transport'),
    extras: (read('extras') as object | undefined) ?? {},
  };
}

/** Without it, global request-scoped guards, pipes, interceptors and filters would be skipped for a provider, as Nest wires them to entries only. */
export function markAsEntryProvider(host: object): void {
  Reflect.defineMetadata(ENTRY_PROVIDER, true, host);
}

/** The prototype on which a host's methods are found; `undefined` when a factory makes the host anew each time, under a token that is no class. */
export function prototypeOf(wrapper: InstanceWrapper): object | undefined {
  if (!wrapper.isNotMetatype) return (wrapper.metatype as Type).prototype as object;
  const instance: unknown = wrapper.instance;
  if (typeof instance === 'object' && instance !== null) return Object.getPrototypeOf(instance) as object;
  return typeof wrapper.token === 'function' ? (wrapper.token.prototype as object | undefined) : undefined;
}

/** Guards, pipes, interceptors and filters, given as classes on a method, its class or its parameters, that Nest did not wire to this host. */
export function unwiredEnhancers(
  wrapper: InstanceWrapper,
  host: Type,
  method: string,
  external: ExternalContextCreator,
): readonly string[] {
  const wired = wrapper.getEnhancersMetadata() ?? [];
  const isWired = (enhancer: unknown) => wired.some((each) => each.token === enhancer || each.metatype === enhancer);
  const declared = Object.entries(ENHANCERS).flatMap(([decorator, key]) =>
    classesIn([...metadata(key, host), ...metadata(key, host.prototype[method])]).map(
      (enhancer) => [decorator, enhancer] as const,
    ),
  );
  const pipes = classesIn(Object.values(parametersOf(host, method)).flatMap((parameter) => parameter.pipes ?? [])).map(
    (pipe) => ['the parameter pipe', pipe] as const,
  );
  const missing = [...declared, ...pipes]
    .filter(([, enhancer]) => !isWired(enhancer))
    .map(([decorator, enhancer]) =>
      decorator.startsWith('@') ? `${decorator}(${enhancer.name})` : `${decorator} ${enhancer.name}`,
    );
  // By token: up to 12.0.1 the record that is wired may be an older one than the record that is run.
  const globals = scopedGlobals(external).filter(({ token }) => !wired.some((each) => each.token === token));
  return [...missing, ...globals.map((each) => `the global, scoped ${String(each.name)}`)];
}

/** The parameters of a method as their decorators left them. Keys are `<type>:<index>`. */
export function parametersOf(host: object, method: string): Readonly<Record<string, Parameter>> {
  return (Reflect.getMetadata(PARAMETERS, host, method) as Record<string, Parameter> | undefined) ?? {};
}

/** Parameters that Nest leaves undefined, from 1: those without a decorator, beside others that have one. */
export function bareParameters(host: Type, method: string): readonly number[] {
  const filled = new Set(Object.values(parametersOf(host, method)).map(({ index }) => index));
  const { length } = host.prototype[method] as { readonly length: number };
  if (filled.size === 0) return [];
  return Array.from({ length }, (_, index) => index)
    .filter((index) => !filled.has(index))
    .map((index) => index + 1);
}

export interface Parameter {
  readonly index: number;
  readonly data?: unknown;
  readonly pipes?: readonly unknown[];
}

/**
 * Makes the hooks of a module the first of all at start and the last of all at the end. Nest goes by distance from the root, where global modules are
 * farthest, in the order in which they are imported. Before the first hook.
 */
export function putOutermost(modules: ModulesContainer, kind: Type): void {
  for (const module of modules.values()) if (module.metatype === kind) module.distance = Infinity;
}

/**
 * Those of `hosts` whose modules Nest starts after the module of `one`, and stops before it, though they do not import it: all that decides is where it
 * is imported.
 */
export function startedAfter(
  one: InstanceWrapper,
  hosts: readonly InstanceWrapper[],
  discovery: DiscoveryService,
): readonly InstanceWrapper[] {
  const modules = new Set(discovery.getProviders().map(({ host }) => host!));
  // As Nest sorts them for their hooks; at the end it is the reverse.
  const order = [...modules].sort((a, b) => b.distance - a.distance);
  const importers = importersOf(one.host!, modules);
  return hosts.filter(({ host }) => order.indexOf(host!) > order.indexOf(one.host!) && !importers.has(host!));
}

// Nest counts a global module among the imports of all others.
function importersOf(one: Module, modules: ReadonlySet<Module>): ReadonlySet<Module> {
  const importers = new Set([one]);
  const isImporter = (module: Module) => [...module.imports].some((each) => !each.isGlobal && importers.has(each));
  for (let known = 0; known < importers.size;) {
    known = importers.size;
    for (const module of modules) if (isImporter(module)) importers.add(module);
  }
  return importers;
}

/** The ModuleRef of the module that declares a host: what resolves the host in its own module. */
export function moduleRefOf(wrapper: InstanceWrapper): ModuleRef {
  return wrapper.host!.getProviderByKey(ModuleRef).instance as ModuleRef;
}

/** What Nest's exception filters make of an error: nothing, a value, a promise or an observable; or they throw. */
export type Filters = { invokeCustomFilters(error: unknown, host: unknown): unknown };

/** Calls the target with guards, pipes and interceptors around it; the second phase is the caller's. */
export type ErrorProxy = (
  target: (...args: unknown[]) => unknown,
  filters: Filters,
  type: string,
) => (...args: unknown[]) => unknown;

/**
 * Nest's pipeline around one method of one host: an `ExternalContextCreator` derived for this handler, with the four members replaced
 * that would do the wrong thing here.
 */
export function pipeline(
  external: ExternalContextCreator,
  wrapper: InstanceWrapper,
  instance: object,
  method: string,
  createProxy: ErrorProxy,
  contextId?: object,
): (...args: unknown[]) => Promise<unknown> {
  const own = Object.create(external, {
    // Nest's looks among providers only, so the guards of a controller would be skipped without a word (nestjs/nest#11272).
    getContextModuleKey: { value: () => wrapper.host!.token },
    // Up to 12.0.1 parameters are cached by the *name* of the class: a second class of that name would get the first one's.
    handlerMetadataStorage: { value: { get: () => undefined, set: () => undefined } },
    // Nest's rejects an empty observable; ours is awaited where the delivery's signal is at hand.
    transformToResult: { value: (result: unknown) => result },
    // Nest's takes a promise for "handled", so an asynchronous filter that only logs would swallow the error.
    externalErrorProxy: { value: { createProxy } },
  }) as ExternalContextCreator;
  const callback = (instance as Record<string, (...args: unknown[]) => unknown>)[method]!;
  return own.create(
    instance as never,
    callback,
    method,
    ownParameters(instance.constructor, method),
    parameterValues,
    contextId as never,
    wrapper.id,
    undefined,
    'rpc',
  ) as never;
}

/** Runs the filters with the host they expect, as Nest's own proxy builds it. */
export function runFilters(
  external: ExternalContextCreator,
  filters: Filters,
  error: unknown,
  type: string,
  args: unknown[],
): Promise<unknown> {
  const { externalErrorProxy } = external as unknown as {
    externalErrorProxy: {
      createProxy(
        target: () => never,
        handler: { next(error: unknown, host: unknown): unknown },
        type: string,
      ): (...args: unknown[]) => Promise<unknown>;
    };
  };
  const rethrow = () => {
    throw error;
  };
  return externalErrorProxy.createProxy(
    rethrow,
    { next: (thrown, host) => filters.invokeCustomFilters(thrown, host) },
    type,
  )(...args);
}

const parameterValues = {
  exchangeKeyForValue(type: number, field: unknown, [data, context]: unknown[]): unknown {
    if (type === PAYLOAD)
      return typeof field === 'string' ? (data as Record<string, unknown> | null | undefined)?.[field] : data;
    return type === CONTEXT ? context : null;
  },
};

/**
 * The metadata key under which this method's parameters are found. A method without parameter decorators gets `(data, context)`: Nest runs pipes over
 * decorated parameters only. Written under a key of our own, since the same method may serve HTTP, where bare parameters mean something else.
 */
function ownParameters(host: object, method: string): string {
  if (!Reflect.hasOwnMetadata(OWN_PARAMETERS, host, method)) {
    const declared = parametersOf(host, method);
    Reflect.defineMetadata(OWN_PARAMETERS, Object.keys(declared).length > 0 ? declared : BARE_PARAMETERS, host, method);
  }
  return OWN_PARAMETERS;
}

const OWN_PARAMETERS = 'event-bus:parameters';
const BARE_PARAMETERS: Readonly<Record<string, Parameter>> = {
  [`${PAYLOAD}:0`]: { index: 0, pipes: [] },
  [`${CONTEXT}:1`]: { index: 1, pipes: [] },
};

function metadata(key: string, target: object): unknown[] {
  return (Reflect.getMetadata(key, target) as unknown[] | undefined) ?? [];
}

function classesIn(enhancers: readonly unknown[]): Type[] {
  return enhancers.filter((enhancer): enhancer is Type => typeof enhancer === 'function');
}

// Nest keeps APP_GUARD and the like of request or transient scope apart from the static ones, and wires them to controllers and entry providers.
function scopedGlobals(external: ExternalContextCreator): InstanceWrapper[] {
  const { config } = (external as unknown as { guardsContextCreator: { config: ScopedGlobals } }).guardsContextCreator;
  return [
    ...config.getGlobalRequestGuards(),
    ...config.getGlobalRequestPipes(),
    ...config.getGlobalRequestInterceptors(),
    ...config.getGlobalRequestFilters(),
  ];
}

interface ScopedGlobals {
  getGlobalRequestGuards(): InstanceWrapper[];
  getGlobalRequestPipes(): InstanceWrapper[];
  getGlobalRequestInterceptors(): InstanceWrapper[];
  getGlobalRequestFilters(): InstanceWrapper[];
}
