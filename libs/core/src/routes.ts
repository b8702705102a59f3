/** Routes: event type → topic → key field, on or off. They come from configuration, and a toggle may be flipped while the bus runs. */
import type { CodecRoute } from './codec.js';
import type { EventDefinition } from './event.js';

export interface RouteOptions {
  /** Dotted path to the field that keeps its events in order, such as `catalog_info.course_key`. Without it events are ordered by partition only. */
  readonly keyField?: string;
  /** A function is asked at every send. Default true. */
  readonly enabled?: boolean | (() => boolean);
}

export type Routes = { readonly [eventType: string]: { readonly [topic: string]: RouteOptions } };

export interface Route extends CodecRoute {
  /** The name as configured, without prefix. */
  readonly base: string;
  readonly isEnabled: () => boolean;
}

export function fullTopic(prefix: string | undefined, base: string): string {
  return prefix === undefined || prefix === '' ? base : `${prefix}-${base}`;
}

/** The routes of each known event type, and everything that is wrong with them. */
export function resolveRoutes(
  routes: Routes,
  definitions: ReadonlyMap<string, EventDefinition>,
  prefix: string | undefined,
): { readonly routes: ReadonlyMap<string, readonly Route[]>; readonly problems: readonly string[] } {
  const problems: string[] = [];
  const resolved = new Map<string, readonly Route[]>();
  for (const [type, topics] of Object.entries(routes)) {
    const definition = definitions.get(type);
    if (definition === undefined) {
      problems.push(
        `Option "routes" names the event type "${type}", which has no definition here; add it to "events", to forFeature([…]), or remove the route.`,
      );
      continue;
    }
    const entries = Object.entries(topics ?? {});
    const wrong = entries.flatMap(([base, options]) => wrongRoute(definition, base, options, prefix));
    problems.push(...wrong);
    if (wrong.length > 0) continue;
    resolved.set(
      type,
      entries.map(([base, options]) => route(base, options, prefix)),
    );
  }
  return { routes: resolved, problems };
}

/** Why a topic name is refused; `undefined` when it is right. The letters are those that every transport can keep. */
export function wrongName(kind: 'topic' | 'group', name: string): string | undefined {
  if (/^[A-Za-z0-9._-]{1,200}$/.test(name) && name !== '.' && name !== '..') return undefined;
  return `The ${kind} name "${name}" is refused; use 1 to 200 letters, digits, ".", "_" and "-".`;
}

function route(base: string, { keyField, enabled = true }: RouteOptions, prefix: string | undefined): Route {
  return {
    base,
    topic: fullTopic(prefix, base),
    ...(keyField === undefined ? {} : { keyField }),
    isEnabled: typeof enabled === 'function' ? enabled : () => enabled,
  };
}

function wrongRoute(
  definition: EventDefinition,
  base: string,
  options: RouteOptions,
  prefix: string | undefined,
): string[] {
  const problems: string[] = [];
  const name = wrongName('topic', fullTopic(prefix, base));
  if (name !== undefined) problems.push(name);
  const where = `The route of "${definition.type}" to "${base}"`;
  if (typeof options !== 'object' || options === null) return [...problems, `${where} must be an object; write {}.`];
  // Routes are often read from a file or a variable: a word that is not understood would be an event without its order.
  for (const option of Object.keys(options)) {
    if (option !== 'keyField' && option !== 'enabled')
      problems.push(`${where} has the unknown option "${option}"; write "keyField" or "enabled".`);
  }
  const { keyField, enabled } = options;
  if (!['undefined', 'boolean', 'function'].includes(typeof enabled))
    problems.push(`${where} has "enabled": ${JSON.stringify(enabled)}; write true, false or a function.`);
  try {
    if (keyField !== undefined) definition.key(keyField);
  } catch (error) {
    problems.push((error as Error).message);
  }
  return problems;
}
