/**
 * Requests to a schema registry that speaks Confluent's REST API. Several addresses are one registry: the one that answered last is asked
 * first, the next when it does not answer. A request takes 20 seconds at most, whatever the registry does.
 */
import { setMaxListeners } from 'node:events';
import { BusError, type Clock, type Random } from '@event-bus/core';
import { abortable, delay } from '@event-bus/core/internal';
import { Secret } from './secret.js';

/** What a registry answered: 2xx, or a 4xx that trying again would not change. */
export interface Answer {
  readonly status: number;
  /** The parsed JSON; `undefined` when there was none. */
  readonly body: unknown;
  /** The body was cut off: larger than 1 MiB. */
  readonly isTooLarge: boolean;
}

export interface RegistryClient {
  /** GET, or POST with a body. Rejects with `BUS_REGISTRY_UNAVAILABLE` or `BUS_CLOSED`. */
  request(path: string, body?: object): Promise<Answer>;
  /** Gives up what is in flight. Idempotent. */
  close(): void;
  /** Aborted by `close`. */
  readonly closed: AbortSignal;
}

export interface RegistryClientOptions {
  /** Addresses, with or without user and password. */
  readonly urls: readonly string[];
  /** `Basic …` for user and password, `Bearer …` for a token; a function is asked before every request. */
  readonly authorization?: (() => Promise<Secret>) | undefined;
  readonly timeoutMs: number;
  readonly fetch: typeof fetch;
  readonly clock: Clock;
  readonly random: Random;
}

export function registryClient(options: RegistryClientOptions): RegistryClient {
  const { timeoutMs, clock, random } = options;
  const addresses = options.urls.map(addressOf);
  const closing = new AbortController();
  // One listener per request and per pause; the rate limit of the store bounds both.
  setMaxListeners(0, closing.signal);
  let preferred = 0;

  async function request(path: string, body?: object): Promise<Answer> {
    const end = clock.monotonic() + TOTAL_MS;
    let trouble: Trouble | undefined;
    for (let attempt = 0; attempt <= RETRIES; attempt++) {
      const waitMs =
        attempt === 0 ? 0 : (trouble!.retryAfterMs ?? random() * Math.min(MAX_BACKOFF_MS, BACKOFF_MS * 2 ** attempt));
      if (clock.monotonic() + waitMs >= end) break;
      if (waitMs > 0) await pause(waitMs);
      const outcome = await round(path, body, end);
      if ('status' in outcome) return outcome;
      trouble = outcome;
    }
    throw unavailable(trouble!);
  }

  /** Asks one address after the other until one answers. */
  async function round(path: string, body: object | undefined, end: number): Promise<Answer | Trouble> {
    const first = preferred;
    let trouble: Trouble | undefined;
    for (let i = 0; i < addresses.length; i++) {
      const at = (first + i) % addresses.length;
      const leftMs = end - clock.monotonic();
      if (leftMs <= 0) break;
      const outcome = await ask(addresses[at]!, path, body, Math.min(timeoutMs, leftMs));
      if ('status' in outcome) preferred = at;
      if ('status' in outcome || outcome.isBusy) return outcome;
      trouble = outcome;
    }
    return trouble ?? { at: addresses[first]!.base, what: 'there was no time left' };
  }

  async function ask(
    address: Address,
    path: string,
    body: object | undefined,
    limitMs: number,
  ): Promise<Answer | Trouble> {
    if (closing.signal.aborted) throw closedError();
    const abort = new AbortController();
    const giveUp = () => abort.abort();
    const cancel = clock.timer(limitMs, giveUp);
    closing.signal.addEventListener('abort', giveUp, { once: true });
    const at = address.base;
    let isAsked = false;
    try {
      const init = await abortable(abort.signal, initOf(address, body));
      isAsked = true;
      const response = await options.fetch(at + path, { ...init, signal: abort.signal });
      return await outcomeOf(response, at, clock.now());
    } catch (cause) {
      if (closing.signal.aborted) throw closedError();
      if (abort.signal.aborted)
        return { at, what: `no ${isAsked ? 'answer' : 'token for it'} within ${Math.round(limitMs)} ms` };
      return { at, what: isAsked ? networkText(cause) : 'the function for its token failed', cause };
    } finally {
      cancel();
      closing.signal.removeEventListener('abort', giveUp);
    }
  }

  async function initOf(address: Address, body: object | undefined): Promise<RequestInit> {
    const headers: Record<string, string> = { accept: MEDIA_TYPE };
    const authorization = (await options.authorization?.()) ?? address.authorization;
    if (authorization !== undefined) headers['authorization'] = authorization.reveal();
    if (body === undefined) return { headers, redirect: 'manual' };
    return {
      method: 'POST',
      headers: { ...headers, 'content-type': MEDIA_TYPE },
      body: JSON.stringify(body),
      redirect: 'manual',
    };
  }

  async function pause(ms: number): Promise<void> {
    await delay(clock, ms, closing.signal).catch(() => {
      throw closedError();
    });
  }

  return { request, close: () => closing.abort(), closed: closing.signal };
}

/** The header for user and password. */
export function basic(username: string, password: string): Secret {
  return new Secret(`Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`);
}

export function closedError(): BusError {
  return new BusError('BUS_CLOSED', 'The schema registry was asked after it had been closed.');
}

/** The registry cannot be asked now, or not so. */
export function unavailable({ at, what, cause }: Trouble): BusError {
  return new BusError('BUS_REGISTRY_UNAVAILABLE', `The schema registry at ${at} is not available: ${what}.`, {
    details: { at, what },
    cause,
  });
}

const TOTAL_MS = 20_000;
const RETRIES = 3;
const BACKOFF_MS = 200;
const MAX_BACKOFF_MS = 2_000;
const MAX_ANSWER_BYTES = 1024 * 1024;
const MEDIA_TYPE = 'application/vnd.schemaregistry.v1+json';

interface Address {
  readonly base: string;
  readonly authorization: Secret | undefined;
}

export interface Trouble {
  readonly at: string;
  readonly what: string;
  readonly cause?: unknown;
  /** It answered, but wants to be asked later: no reason to ask another address. */
  readonly isBusy?: boolean;
  readonly retryAfterMs?: number | undefined;
}

function addressOf(text: string): Address {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    // The address may hold a password, so it is not repeated.
    throw new BusError(
      'BUS_CONFIG_INVALID',
      'Option "url" of the schema registry must be an address that begins with http:// or https://.',
    );
  }
  const authorization = url.username === '' ? undefined : basic(decoded(url.username), decoded(url.password));
  return { base: url.origin + url.pathname.replace(/\/+$/, ''), authorization };
}

/** Of an address, whose user and password are percent-encoded. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new BusError(
      'BUS_CONFIG_INVALID',
      'Option "url" of the schema registry has a "%" in its user or password that begins no code: write it as "%25".',
    );
  }
}

async function outcomeOf(response: Response, at: string, now: number): Promise<Answer | Trouble> {
  const { status } = response;
  const retryAfterMs = retryAfter(response.headers.get('retry-after'), now);
  const { text, isTooLarge } = await bodyOf(response);
  if (status === 408 || status === 429) return { at, what: `it answered ${status}`, isBusy: true, retryAfterMs };
  if (status < 200 || (status >= 300 && status < 400))
    return { at, what: 'it answered with a redirect, which is not followed' };
  if (status >= 500) return { at, what: `it answered ${status}`, retryAfterMs };
  const body = isTooLarge ? undefined : parsed(text);
  if (status < 300 && body === undefined && !isTooLarge) return { at, what: 'its answer is not JSON' };
  return { status, body, isTooLarge };
}

async function bodyOf(response: Response): Promise<{ text: string; isTooLarge: boolean }> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  // Leaving the loop cancels the stream.
  for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    bytes += chunk.length;
    if (bytes > MAX_ANSWER_BYTES) return { text: '', isTooLarge: true };
    chunks.push(chunk);
  }
  return { text: Buffer.concat(chunks).toString(), isTooLarge: false };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Seconds or a date (RFC 9110, section 10.2.3), as milliseconds. */
function retryAfter(value: string | null, now: number): number | undefined {
  if (value === null) return undefined;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - now;
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}

/** `fetch` says only that it failed; the reason is inside. */
function networkText(error: unknown): string {
  const inner = (error as { cause?: unknown }).cause;
  const { code } = (inner ?? {}) as { code?: unknown };
  return typeof code === 'string' ? code : 'the request failed';
}
