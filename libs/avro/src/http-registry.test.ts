import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { inspect } from 'node:util';
import type { BusError, Clock } from '@event-bus/core';
import { afterEach, expect, test, vi } from 'vitest';
import { httpRegistry, type HttpRegistryOptions } from './http-registry.js';
import { Secret } from './secret.js';

const TEXT = '{"type": "string"}';
const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

test('a schema is asked for once, however many wait for it, and then known for ever', async () => {
  const { registry, requests } = await setup(() => json(200, { schema: TEXT }));

  const answers = await Promise.all([registry.byId(7), registry.byId(7), registry.byId(7)]);

  expect(answers).toEqual([TEXT, TEXT, TEXT]);
  expect(registry.byId(7)).toBe(TEXT);
  expect(requests.map(({ method, url }) => `${method} ${url}`)).toEqual(['GET /schemas/ids/7']);
});

test('an unknown id is believed after a second look, forgotten after ten seconds, and costs nothing between', async () => {
  const { registry, requests, clock } = await setup(() =>
    json(404, { error_code: 40403, message: 'Schema not found' }),
  );

  const first = registry.byId(7);
  await vi.waitFor(() => expect(clock.waiting(2_000)).toBe(1));
  expect(requests).toHaveLength(1);
  clock.advance(2_000);

  expect(await first).toBeUndefined();
  expect(requests).toHaveLength(2);
  clock.advance(9_999);
  expect(registry.byId(7)).toBeUndefined();
  clock.advance(1);
  const again = registry.byId(7);
  expect(again).toBeInstanceOf(Promise);
  await registry.close();
  await expect(again).rejects.toMatchObject({ code: 'BUS_CLOSED' });
});

test('a schema that a lagging node does not know yet is found at the second look', async () => {
  const { registry, clock } = await setup((_, n) =>
    n === 1 ? json(404, { error_code: 40403 }) : json(200, { schema: TEXT }),
  );

  const answer = registry.byId(7);
  await vi.waitFor(() => expect(clock.waiting(2_000)).toBe(1));
  clock.advance(2_000);

  expect(await answer).toBe(TEXT);
});

test('a flood of unknown ids reaches the registry twenty times a second, and the rest is told to come later', async () => {
  const { registry, requests, clock } = await setup(() => json(404, { error_code: 40403 }));

  const looks = Array.from({ length: 500 }, (_, i) =>
    Promise.resolve(registry.byId(1000 + i)).catch((error: BusError) => error.code),
  );

  await vi.waitFor(() => expect(clock.pending()).toBe(220));
  await vi.waitFor(() => expect(requests).toHaveLength(20));
  clock.advance(1_000);
  await vi.waitFor(() => expect(requests).toHaveLength(40));
  await registry.close();
  const codes = await Promise.all(looks);
  expect(codes.filter((code) => code === 'BUS_REGISTRY_UNAVAILABLE')).toHaveLength(500 - 220);
});

test('ids that exist are not held up by the limit', async () => {
  const { registry, requests } = await setup(() => json(200, { schema: TEXT }));

  for (let i = 1; i <= 60; i++) await registry.byId(i);

  expect(requests).toHaveLength(60);
});

test.each([
  ['auto', 'POST /subjects/a%2Fb-string/versions'],
  ['lookup', 'POST /subjects/a%2Fb-string'],
] as const)('registration %s asks with our text, once', async (registration, line) => {
  const { registry, requests } = await setup(() => json(200, { id: 3 }), { registration });

  const ids = await Promise.all([registry.id('a/b-string', TEXT), registry.id('a/b-string', TEXT)]);

  expect(ids).toEqual([3, 3]);
  expect(registry.id('a/b-string', TEXT)).toBe(3);
  expect(registry.byId(3)).toBe(TEXT);
  expect(requests.map(({ method, url, body }) => [`${method} ${url}`, body])).toEqual([
    [line, JSON.stringify({ schema: TEXT })],
  ]);
  expect(requests[0]!.headers['content-type']).toBe('application/vnd.schemaregistry.v1+json');
});

test('registration latest takes what is there', async () => {
  const { registry, requests } = await setup(() => json(200, { id: 5, version: 2, schema: '"string"' }), {
    registration: 'latest',
  });

  expect(await registry.id('s', TEXT)).toBe(5);
  expect(registry.byId(5)).toBe('"string"');
  expect(requests.map(({ method, url }) => `${method} ${url}`)).toEqual(['GET /subjects/s/versions/latest']);
});

test.each([
  [
    409,
    { error_code: 409, message: 'Schema being registered is incompatible:\n\u001b[31mREADER_FIELD_MISSING' },
    'BUS_TRANSPORT_REFUSED',
    /incompatible: \[31mREADER_FIELD_MISSING/,
  ],
  [422, { error_code: 42201, message: 'Invalid schema' }, 'BUS_TRANSPORT_REFUSED', /Invalid schema/],
  [401, { error_code: 401, message: 'Unauthorized' }, 'BUS_TRANSPORT_REFUSED', /401/],
  [403, undefined, 'BUS_TRANSPORT_REFUSED', /403.*gave no reason/],
  [404, { error_code: 40403, message: 'Schema not found' }, 'BUS_SCHEMA_UNKNOWN', /Register it before the start/],
  [404, undefined, 'BUS_REGISTRY_UNAVAILABLE', /check that its address is that of the API/],
  [200, { id: 'x' }, 'BUS_REGISTRY_UNAVAILABLE', /something else than an id/],
])('an answer %i to a registration is told in its own way', async (status, body, code, message) => {
  const { registry } = await setup(() => json(status, body));

  const error = await failureOf(registry.id('s', TEXT));

  expect(error).toMatchObject({ code });
  expect(error.message).toMatch(message);
});

test.each([
  ['a wrong password', json(401, { error_code: 401 }), /check its credentials/],
  ['a forbidden schema', json(403, {}), /check its credentials/],
  ['a wrong address', json(404, undefined), /check that its address/],
  ['a page of HTML', { status: 200, body: '<html>' }, /not JSON/],
  ['JSON that is no schema', json(200, { schema: 3 }), /something else than a schema/],
  [
    'a redirect',
    { status: 302, body: '', headers: { location: 'http://127.0.0.1:1/' } },
    /redirect, which is not followed/,
  ],
  ['a failure', json(500, {}), /it answered 500/],
])('%s never makes dead letters of a topic', async (_, answer, message) => {
  const { registry, clock } = await setup(() => answer);
  clock.run();

  const error = await failureOf(registry.byId(7));

  expect(error).toMatchObject({ code: 'BUS_REGISTRY_UNAVAILABLE', retryable: true });
  expect(error.message).toMatch(message);
});

test.each([
  ['of another kind', json(200, { schema: 'syntax = "proto3";', schemaType: 'PROTOBUF' })],
  ['of more than 1 MiB', { status: 200, body: JSON.stringify({ schema: 'x'.repeat(2 * 1024 * 1024) }) }],
])('a schema %s can never be read, and is not asked for again', async (_, answer) => {
  const { registry, requests } = await setup(() => answer);

  for (let i = 0; i < 3; i++) {
    expect(await failureOf((async () => registry.byId(7))())).toMatchObject({
      code: 'BUS_DECODE_FAILED',
      details: { reason: 'unusable-schema' },
    });
  }
  expect(requests).toHaveLength(1);
});

test('a flapping registry is asked up to four times', async () => {
  const { registry, requests, clock } = await setup((_, n) => (n < 4 ? json(503, {}) : json(200, { schema: TEXT })));
  clock.run();

  expect(await registry.byId(7)).toBe(TEXT);
  expect(requests).toHaveLength(4);
});

test('a busy registry is asked again when it wants to be', async () => {
  const { registry, clock } = await setup((_, n) =>
    n === 1 ? { ...json(429, {}), headers: { 'retry-after': '7' } } : json(200, { schema: TEXT }),
  );

  const answer = registry.byId(7);
  await vi.waitFor(() => expect(clock.waiting(7_000)).toBe(1));
  clock.advance(7_000);

  expect(await answer).toBe(TEXT);
});

test('a registry that wants to be asked too late is not waited for', async () => {
  const { registry } = await setup(() => ({ ...json(429, {}), headers: { 'retry-after': '3600' } }));

  expect(await failureOf(registry.byId(7))).toMatchObject({ code: 'BUS_REGISTRY_UNAVAILABLE' });
});

test('a registry that is silent is left after the timeout, and after twenty seconds in all', async () => {
  const { registry, requests, clock } = await setup(() => 'silent');
  const answer = failureOf(registry.byId(7));

  // 5 s each, with less than 2 s between: a fourth would end after 20 s.
  for (let i = 1; i <= 3; i++) {
    await vi.waitFor(() => expect([requests.length, clock.waiting(5_000)]).toEqual([i, 1]));
    clock.advance(5_000);
    if (i === 3) break;
    await vi.waitFor(() => expect(clock.pending()).toBe(1));
    clock.advance(2_000);
  }

  expect(await answer).toMatchObject({
    code: 'BUS_REGISTRY_UNAVAILABLE',
    message: expect.stringMatching(/no answer within/),
  });
});

test.each([
  ['does not answer', () => new Promise<string>(() => {}), /no token for it within/],
  ['fails', () => Promise.reject(new Error('the vault is sealed')), /the function for its token failed/],
])('a function for the token that %s is left after the timeout, as a registry is', async (_, token, message) => {
  const { registry, requests, clock } = await setup(() => json(200, { schema: TEXT }), {
    auth: { token },
    allowAuthWithoutTls: true,
  });
  const answer = failureOf(registry.byId(7));

  for (let i = 0; i < 30; i++) {
    await new Promise((resolve) => setImmediate(resolve));
    clock.advance(1_000);
  }

  expect(await answer).toMatchObject({ code: 'BUS_REGISTRY_UNAVAILABLE', message: expect.stringMatching(message) });
  expect(requests).toEqual([]);
});

test('with several addresses the next one is asked, and stays the first choice', async () => {
  const down = await setup(() => json(500, {}));
  const up = await setup((_, n) => json(200, { schema: TEXT, n }));
  const registry = httpRegistry({ url: ['http://127.0.0.1:1', down.url, up.url] });
  closers.push(() => registry.close());

  expect([await registry.byId(1), await registry.byId(2)]).toEqual([TEXT, TEXT]);

  expect([down.requests.length, up.requests.length]).toEqual([1, 2]);
});

test.each([
  ['from the options', { auth: { username: 'key', password: 's3cret' } }, 'Basic a2V5OnMzY3JldA=='],
  ['in a wrapping', { auth: { username: 'key', password: new Secret('s3cret') } }, 'Basic a2V5OnMzY3JldA=='],
  ['from the address', { user: 'key:s3cret@' }, 'Basic a2V5OnMzY3JldA=='],
  ['as a token', { auth: { token: 's3cret' } }, 'Bearer s3cret'],
  ['as a token that is fetched', { auth: { token: async () => 's3cret' } }, 'Bearer s3cret'],
] as const)(
  'credentials %s are sent, and shown nowhere',
  async (_, { user = '', ...options }: Partial<HttpRegistryOptions> & { user?: string }, expected) => {
    const { url, requests } = await setup(() => json(401, { message: 'no' }));
    const registry = httpRegistry({
      ...options,
      allowAuthWithoutTls: true,
      url: [url.replace('http://', `http://${user}`), `http://${user}127.0.0.1:1`],
    });

    const errors = [await failureOf(registry.byId(7)), await failureOf(registry.id('s', TEXT))];
    await registry.close();
    errors.push(await failureOf(registry.byId(8)));

    expect(requests[0]!.headers.authorization).toBe(expected);
    for (const shown of [registry, ...errors]) {
      expect(inspect(shown, { depth: 12, showHidden: true }) + JSON.stringify(shown)).not.toMatch(
        /s3cret|a2V5OnMzY3JldA/,
      );
    }
  },
);

test('a schema is completed by those that it refers to', async () => {
  const inner = { type: 'record', name: 'Inner', namespace: 'org.test', fields: [{ name: 'leaf', type: 'Leaf' }] };
  const leaf = { type: 'enum', name: 'org.test.Leaf', symbols: ['A'] };
  const outer = {
    type: 'record',
    name: 'Outer',
    namespace: 'org.other',
    fields: [
      { name: 'a', type: ['null', 'org.test.Inner'] },
      { name: 'b', type: { type: 'array', items: 'org.test.Inner' } },
    ],
  };
  const { registry } = await setup(({ url }) => {
    if (url === '/schemas/ids/7')
      return json(200, {
        schema: JSON.stringify(outer),
        references: [{ name: 'org.test.Inner', subject: 'in ner', version: 2 }],
      });
    if (url === '/subjects/in%20ner/versions/2')
      return json(200, {
        schema: JSON.stringify(inner),
        references: [{ name: 'org.test.Leaf', subject: 'leaf', version: 1 }],
      });
    return json(200, { schema: JSON.stringify(leaf) });
  });

  const text = await registry.byId(7);

  const whole = { type: 'enum', name: 'org.test.Leaf', symbols: ['A'], namespace: '' };
  const record = { type: 'record', name: 'org.test.Inner', namespace: '', fields: [{ name: 'leaf', type: whole }] };
  expect(JSON.parse(text!)).toEqual({
    type: 'record',
    name: 'org.other.Outer',
    namespace: '',
    fields: [
      { name: 'a', type: ['null', record] },
      { name: 'b', type: { type: 'array', items: 'org.test.Inner' } },
    ],
  });
});

test('references that go round, go too deep or go nowhere make a schema unusable, in bounded time', async () => {
  const deeper = ({ url }: Request) =>
    json(200, {
      schema: '{"type": "fixed", "size": 1, "name": "N"}',
      references: [{ name: 'x', subject: 's', version: Number(/\d+$/.exec(url)![0]) + 1 }],
    });
  const round = () =>
    json(200, {
      schema: '{"type": "record", "name": "A", "fields": [{"name": "a", "type": "A"}]}',
      references: [{ name: 'A', subject: 'A', version: 1 }],
    });
  const nowhere = ({ url }: Request) =>
    url.startsWith('/schemas')
      ? json(200, { schema: '"A"', references: [{ name: 'A', subject: 'A', version: 1 }] })
      : json(404, { error_code: 40401 });
  const wrong = () => json(200, { schema: TEXT, references: 'none' });
  for (const answer of [deeper, nowhere, wrong]) {
    const { registry } = await setup(answer);
    expect(await failureOf(registry.byId(7))).toMatchObject({
      code: 'BUS_DECODE_FAILED',
      details: { reason: 'unusable-schema' },
    });
  }
  const { registry, requests } = await setup(round);
  await registry.byId(7);
  expect(requests).toHaveLength(2);
});

test('closing gives up what is in flight, and what is known stays known', async () => {
  const { registry, requests } = await setup(({ url }) =>
    url === '/schemas/ids/1' ? json(200, { schema: TEXT }) : 'silent',
  );
  await registry.byId(1);
  const answer = failureOf(registry.byId(7));
  await vi.waitFor(() => expect(requests).toHaveLength(2));

  await registry.close();

  expect(await answer).toMatchObject({ code: 'BUS_CLOSED' });
  expect(registry.byId(1)).toBe(TEXT);
  expect(await failureOf(registry.byId(9))).toMatchObject({ code: 'BUS_CLOSED' });
});

test.each([
  [{ url: [] }, /at least one address/],
  [{ url: 'localhost:8081' }, /must be an address that begins with http/],
  [{ url: 'file:///etc/passwd' }, /must be an address that begins with http/],
  [{ url: 'https://key:50%@x' }, /has a "%" in its user or password that begins no code: write it as "%25"/],
  [
    { url: 'http://x', registration: 'never' as 'auto' },
    /"registration" must be one of auto, lookup, latest, got never/,
  ],
  [{ url: 'http://key:s3cret@x' }, /over http:\/\/ would be shown to the network/],
  [{ url: ['https://x', 'http://y'], auth: { token: 's3cret' } }, /over http:\/\/ would be shown to the network/],
  [{ url: 'https://x', auth: { username: 'key' } as never }, /"auth.password" of the schema registry must be a text/],
  [{ url: 'http://x', timeoutMs: 0 }, /"timeoutMs" of the schema registry must be more than 0, got 0/],
])('wrong options are refused with what they must be: %o', (options, message) => {
  expect(() => httpRegistry(options)).toThrow(message);
});

interface Request {
  readonly method: string;
  readonly url: string;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

type Reply = 'silent' | { status: number; body: string; headers?: Record<string, string> };

/** A registry that answers as told, and a client of it whose time stands still unless it is moved. */
async function setup(answer: (request: Request, count: number) => Reply, options: Partial<HttpRegistryOptions> = {}) {
  const requests: Request[] = [];
  const server = http.createServer((incoming, response) => {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => {
      const { method = '', url = '', headers } = incoming;
      const count = requests.push({ method, url, headers, body: Buffer.concat(chunks).toString() });
      const reply = answer(requests[count - 1]!, count);
      if (reply !== 'silent') response.writeHead(reply.status, reply.headers).end(reply.body);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const clock = handClock();
  const registry = httpRegistry({ url, ...options }, { clock, random: () => 0.99 });
  closers.push(
    () => registry.close(),
    () => server.closeAllConnections(),
    () => server.close(),
  );
  return { registry, requests, clock, url };
}

function json(status: number, body: unknown): Exclude<Reply, 'silent'> {
  return { status, body: body === undefined ? 'no json' : JSON.stringify(body) };
}

async function failureOf(promise: unknown): Promise<BusError> {
  try {
    await promise;
  } catch (error) {
    return error as BusError;
  }
  throw new Error('nothing was thrown');
}

/** A clock that is moved by hand, or by itself from timer to timer after `run`, except past the timeouts of requests. */
function handClock() {
  let now = 0;
  let isRunning = false;
  const timers = new Set<{ at: number; ms: number; fire: () => void }>();
  const clock: Clock & { advance(ms: number): void; run(): void; pending(): number; waiting(ms: number): number } = {
    now: () => now,
    monotonic: () => now,
    timer(ms, fire) {
      const timer = { at: now + ms, ms, fire };
      timers.add(timer);
      if (isRunning && ms < 5_000) setImmediate(() => clock.advance(ms));
      return () => void timers.delete(timer);
    },
    soon: (fire) => void setImmediate(fire),
    advance(ms) {
      now += ms;
      for (const timer of [...timers].filter(({ at }) => at <= now)) if (timers.delete(timer)) timer.fire();
    },
    run: () => void (isRunning = true),
    pending: () => timers.size,
    waiting: (ms) => [...timers].filter((timer) => timer.ms === ms).length,
  };
  return clock;
}
