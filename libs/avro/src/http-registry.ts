/**
 * Schemas in a registry that speaks Confluent's REST API (Confluent, Apicurio, Karapace, Redpanda). What is known is answered at once and
 * for ever; what is not known costs one request, however many wait for it, and an id that does not exist costs few: ids come from
 * records, and whoever can write a record could otherwise make every consumer flood the registry.
 */
import { BusError, systemClock, systemRandom, type Clock, type Random } from '@event-bus/core';
import { delay } from '@event-bus/core/internal';
import { BoundedMap } from './bounded-map.js';
import { unreadable } from './reasons.js';
import { inlined } from './references.js';
import { basic, closedError, registryClient, unavailable, type Answer } from './registry-client.js';
import type { SchemaStore } from './registry.js';
import { Secret, revealed, type SecretText } from './secret.js';

export interface HttpRegistryOptions {
  /** One address or several of the same registry. User and password in it are taken out and never shown. */
  readonly url: string | readonly string[];
  /** User and password (a key and its secret), or a token; a function is asked for the token before every request. */
  readonly auth?:
    | { readonly username: string; readonly password: SecretText }
    | { readonly token: SecretText | (() => string | Promise<string>) };
  /** For a registry on the same machine or behind a tunnel: without TLS, credentials would be shown to the network. Default false. */
  readonly allowAuthWithoutTls?: boolean;
  /**
   * How an event type gets its id at start. `auto`: the schema is registered (Open edX's habit, and the default); `lookup`: exactly this
   * schema must be there, the choice for production; `latest`: the newest version is used, if it can carry the event.
   */
  readonly registration?: 'auto' | 'lookup' | 'latest';
  /** How long one request may take, in milliseconds; with its retries it takes 20 000 at most. Default 5 000. */
  readonly timeoutMs?: number;
  /** For a proxy or client certificates. Default: the global one. */
  readonly fetch?: typeof fetch;
}

/** Making it opens nothing. Throws `BUS_CONFIG_INVALID` for a wrong option. */
export function httpRegistry(
  options: HttpRegistryOptions,
  environment: { readonly clock?: Clock; readonly random?: Random } = {},
): SchemaStore {
  const { clock = systemClock, random = systemRandom } = environment;
  const { registration = 'auto', timeoutMs = 5_000 } = options;
  const urls = typeof options.url === 'string' ? [options.url] : options.url;
  checkOptions(urls, registration, timeoutMs);
  if (options.allowAuthWithoutTls !== true) refuseOpenAuth(urls, options.auth);
  const authorization = authorizationOf(options.auth);
  const client = registryClient({ urls, authorization, timeoutMs, fetch: options.fetch ?? fetch, clock, random });

  const urlsText = urls.map((url) => new URL(url).origin).join(', ');
  const texts = new BoundedMap<number, Known>(MAX_TEXT_TOTAL, weightOf);
  const ids = new BoundedMap<string, number>(MAX_IDS);
  const unknown = new BoundedMap<number, number>(MAX_UNKNOWN);
  const flights = new Map<string, Promise<unknown>>();
  const limit = rateLimit(clock);

  function byId(id: number): string | undefined | Promise<string | undefined> {
    const known = texts.get(id);
    if (known !== undefined) return valueOf(known);
    if ((unknown.get(id) ?? 0) > clock.monotonic()) return undefined;
    return shared(`id ${id}`, () => lookUp(id));
  }

  async function lookUp(id: number): Promise<string | undefined> {
    const waitMs = limit.take();
    if (waitMs > 0) await pause(waitMs);
    const answer = await lookTwice(id);
    if (answer === undefined) {
      unknown.set(id, clock.monotonic() + UNKNOWN_MS);
      return undefined;
    }
    limit.giveBack();
    const known = await knownOf(answer);
    texts.set(id, known);
    return valueOf(known);
  }

  /** A node of the registry may lag behind the one where the schema was just registered, so the first "no" is not believed. */
  async function lookTwice(id: number): Promise<Answer | undefined> {
    const first = await look(id);
    if (first !== undefined) return first;
    await pause(SECOND_LOOK_MS);
    return look(id);
  }

  async function look(id: number): Promise<Answer | undefined> {
    const answer = await client.request(`/schemas/ids/${id}`);
    if (answer.status < 300) return answer;
    if (UNKNOWN_CODES.has(codeOf(answer))) return undefined;
    throw wrongAnswer(answer);
  }

  async function knownOf({ body, isTooLarge }: Answer): Promise<Known> {
    if (isTooLarge) return unreadable('unusable-schema', { why: 'it is larger than 1 MiB' });
    const { schema, schemaType = 'AVRO', references = [] } = (body ?? {}) as SchemaBody;
    if (schemaType !== 'AVRO') return unreadable('unusable-schema', { why: 'it is no Avro schema' });
    if (typeof schema !== 'string')
      throw unavailable({ at: urlsText, what: 'it answered with something else than a schema' });
    try {
      return { text: inlined(schema, await imports(references)) };
    } catch (error) {
      if (error instanceof BusError && error.code === 'BUS_DECODE_FAILED') return error;
      throw error;
    }
  }

  /** The texts of all schemas that are referred to, directly or not. */
  async function imports(references: unknown): Promise<string[]> {
    const found = new Map<string, string>();
    await collect(references, found, 1);
    return [...found.values()];
  }

  async function collect(references: unknown, found: Map<string, string>, depth: number): Promise<void> {
    if (!Array.isArray(references) || depth > MAX_REFERENCE_DEPTH) throw badReferences();
    for (const { subject, version } of references as readonly Reference[]) {
      const path = `/subjects/${encodeURIComponent(String(subject))}/versions/${Number(version)}`;
      if (found.has(path)) continue;
      if (found.size === MAX_REFERENCES) throw badReferences();
      const answer = await client.request(path);
      if (answer.status >= 300) throw UNKNOWN_CODES.has(codeOf(answer)) ? badReferences() : wrongAnswer(answer);
      const { schema, references: further = [] } = (answer.body ?? {}) as SchemaBody;
      if (typeof schema !== 'string') throw badReferences();
      found.set(path, schema);
      await collect(further, found, depth + 1);
    }
  }

  function id(subject: string, text: string): number | Promise<number> {
    const key = `${subject} ${text}`;
    return ids.get(key) ?? shared(key, () => findId(subject, text, key));
  }

  async function findId(subject: string, text: string, key: string): Promise<number> {
    const path = `/subjects/${encodeURIComponent(subject)}`;
    const answer = await (registration === 'latest'
      ? client.request(`${path}/versions/latest`)
      : client.request(registration === 'auto' ? `${path}/versions` : path, { schema: text }));
    if (answer.status >= 300) throw refusal(subject, answer);
    const { id: found } = (answer.body ?? {}) as { id?: unknown };
    if (!Number.isInteger(found) || (found as number) < 1 || (found as number) > 0x7fff_ffff) {
      throw unavailable({ at: urlsText, what: 'it answered with something else than an id' });
    }
    const known = registration === 'latest' ? await knownOf(answer) : { text };
    if (known instanceof BusError) throw refusal(subject, { ...answer, body: { message: known.message } });
    texts.set(found as number, known);
    ids.set(key, found as number);
    return found as number;
  }

  /** What stops a start: the registry said no, and will again. */
  function refusal(subject: string, answer: Answer): BusError {
    const code = codeOf(answer);
    const details = { subject, status: answer.status, code };
    if (answer.status === 404 && !UNKNOWN_CODES.has(code)) return wrongAnswer(answer);
    if (answer.status === 404) {
      const cure = 'Register it before the start, or use the option registration: "auto".';
      return new BusError(
        'BUS_SCHEMA_UNKNOWN',
        `The schema registry has no such schema for the subject "${subject}". ${cure}`,
        { details },
      );
    }
    const message = `The schema registry refused the schema of the subject "${subject}" with ${answer.status}: ${textOf(answer)}`;
    return new BusError('BUS_TRANSPORT_REFUSED', message, { details });
  }

  /** An answer that says nothing about the schema: a wrong password or address must not turn a topic into dead letters. */
  function wrongAnswer(answer: Answer): BusError {
    const isDenied = answer.status === 401 || answer.status === 403;
    const why = isDenied ? 'check its credentials' : 'check that its address is that of the API';
    return unavailable({ at: urlsText, what: `it answered ${answer.status}; ${why}` });
  }

  function shared<T>(key: string, ask: () => Promise<T>): Promise<T> {
    const flying = flights.get(key);
    if (flying !== undefined) return flying as Promise<T>;
    const flight = ask().finally(() => flights.delete(key));
    flights.set(key, flight);
    return flight;
  }

  async function pause(ms: number): Promise<void> {
    await delay(clock, ms, client.closed).catch(() => {
      throw closedError();
    });
  }

  return { byId, id, close: () => client.close() };
}

/** What an id stands for: a text, or why it cannot be used. Neither ever changes. */
type Known = { readonly text: string } | BusError;

interface SchemaBody {
  readonly schema?: unknown;
  readonly schemaType?: unknown;
  readonly references?: unknown;
}

interface Reference {
  readonly subject?: unknown;
  readonly version?: unknown;
}

// Characters of schema text; an event of Open edX has about 1 000.
const MAX_TEXT_TOTAL = 8 * 1024 * 1024;
const MAX_IDS = 2_000;
const MAX_UNKNOWN = 10_000;
const UNKNOWN_MS = 10_000;
const SECOND_LOOK_MS = 2_000;
const LOOKUPS_PER_S = 20;
const MAX_WAIT_MS = 10_000;
const MAX_REFERENCES = 50;
const MAX_REFERENCE_DEPTH = 10;
// Subject, version or schema not found.
const UNKNOWN_CODES = new Set<unknown>([40401, 40402, 40403]);

function checkOptions(urls: readonly string[], registration: string, timeoutMs: number): void {
  const wrong = (text: string) => new BusError('BUS_CONFIG_INVALID', text);
  if (urls.length === 0) throw wrong('Option "url" of the schema registry must hold at least one address.');
  if (!MODES.includes(registration))
    throw wrong(`Option "registration" must be one of ${MODES.join(', ')}, got ${registration}.`);
  if (!(timeoutMs > 0)) throw wrong(`Option "timeoutMs" of the schema registry must be more than 0, got ${timeoutMs}.`);
}

function refuseOpenAuth(urls: readonly string[], auth: HttpRegistryOptions['auth']): void {
  const isOpen = (text: string) => {
    const url = URL.canParse(text) ? new URL(text) : undefined;
    return url?.protocol === 'http:' && (auth !== undefined || url.username !== '');
  };
  if (!urls.some(isOpen)) return;
  throw new BusError(
    'BUS_CONFIG_INVALID',
    'Credentials for a schema registry over http:// would be shown to the network: use https://, or allow it by name with "allowAuthWithoutTls: true".',
  );
}

const MODES = ['auto', 'lookup', 'latest'];

function authorizationOf(auth: HttpRegistryOptions['auth']): (() => Promise<Secret>) | undefined {
  if (auth === undefined) return undefined;
  if ('token' in auth) {
    const { token } = auth;
    if (typeof token === 'function') return async () => new Secret(`Bearer ${await token()}`);
    const fixed = new Secret(`Bearer ${textOfSecret('token', token)}`);
    return async () => fixed;
  }
  const fixed = basic(textOfSecret('username', auth.username), textOfSecret('password', auth.password));
  return async () => fixed;
}

function textOfSecret(name: string, secret: SecretText): string {
  const text = revealed(secret);
  if (text !== undefined) return text;
  throw new BusError('BUS_CONFIG_INVALID', `Option "auth.${name}" of the schema registry must be a text.`);
}

const weightOf = (known: Known) => 100 + ('text' in known ? known.text.length : 0);

function valueOf(known: Known): string {
  if ('text' in known) return known.text;
  throw known;
}

const badReferences = () =>
  unreadable('unusable-schema', { why: 'what it refers to is missing, circular or too much' });

const codeOf = ({ body }: Answer) => (body as { error_code?: unknown } | undefined)?.error_code;

/** The registry's own words, on one line and of bounded length. */
function textOf({ body }: Answer): string {
  const { message } = (body ?? {}) as { message?: unknown };
  const text = typeof message === 'string' ? message.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ').trim() : '';
  return text === '' ? 'it gave no reason.' : text.slice(0, 500);
}

/** A second's worth at once, then one after the other. */
function rateLimit(clock: Clock): { take(): number; giveBack(): void } {
  const stepMs = 1000 / LOOKUPS_PER_S;
  let full = -Infinity;
  return {
    /** How long to wait, in milliseconds. Throws `BUS_REGISTRY_UNAVAILABLE` when that would be too long. */
    take() {
      const now = clock.monotonic();
      const next = Math.max(now, full) + stepMs;
      const waitMs = next - now - 1000;
      if (waitMs > MAX_WAIT_MS)
        throw unavailable({ at: 'all addresses', what: 'too many unknown schema ids are being looked up' });
      full = next;
      return Math.max(0, waitMs);
    },
    giveBack() {
      full -= stepMs;
    },
  };
}
