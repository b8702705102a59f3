import { AsyncLocalStorage } from 'node:async_hooks';
import { describe, expect, test } from 'vitest';
import { CHANGED, courseKey, world } from './world.test.fixture.js';
import { deadLetterTopic, exponential, type Around } from './index.js';

const event = (n: number, revision = n) => ({ course_key: courseKey(n), revision });
const dead = deadLetterTopic('courses', 'catalog');
const once = exponential({ attempts: 1 });

describe('around functions', () => {
  const careless: readonly [string, Around][] = [
    ['does not wait for next', async (_, next) => void next()],
    ['throws while what it wraps still runs', async (_, next) => (void next(), Promise.reject(new Error('careless')))],
  ];

  test.each(careless)('one that %s ends no attempt before the handler has ended', async (_, around) => {
    const { bus, clock, during, until, lag, stored } = world({ around: [around], retry: once });
    let isOver = false;
    bus.handle(CHANGED, { id: 'view' }, async () => {
      await new Promise<void>((resolve) => clock.timer(5_000, resolve));
      isOver = true;
      throw new Error('failed after all');
    });
    await during(bus.start());
    await during(bus.send(CHANGED, event(1)));
    await clock.advance(3_000);
    expect(await lag()).toBe(1);
    expect(stored(dead)).toHaveLength(0);
    await until(() => stored(dead).length === 1);
    expect(isOver).toBe(true);
    await during(bus.close());
  });

  test('one that does not wait for an inner one that fails at once does not hide it', async () => {
    const { bus, during, until, stored } = world({
      around: [async (_, next) => void next(), (_, next) => next()],
      retry: once,
    });
    bus.handle(CHANGED, { id: 'view' }, () => {
      throw new Error('at once');
    });
    await during(bus.start());
    await during(bus.send(CHANGED, event(1)));
    await until(() => stored(dead).length === 1);
    await during(bus.close());
  });

  test('one that catches what the handler throws has handled it', async () => {
    const { bus, during, until, lag, stored } = world({ around: [(_, next) => next().catch(() => {})] });
    let runs = 0;
    bus.handle(CHANGED, { id: 'view' }, () => {
      runs++;
      throw new Error('known');
    });
    await during(bus.start());
    await during(bus.send(CHANGED, event(1)));
    await until(() => runs === 1 && bus.status().consumers[0]!.inFlight === 0);
    await during(bus.stop());
    expect(await lag()).toBe(0);
    expect(stored(dead)).toEqual([]);
    await during(bus.close());
  });

  test('one that calls next twice fails, and the handler ran once', async () => {
    const { bus, during, until, stored } = world({
      around: [
        async (_, next) => {
          await next();
          await next();
        },
      ],
      retry: once,
    });
    let runs = 0;
    bus.handle(CHANGED, { id: 'view' }, () => void runs++);
    await during(bus.start());
    await during(bus.send(CHANGED, event(1)));
    await until(() => stored(dead).length === 1);
    expect(runs).toBe(1);
    await during(bus.close());
  });
});

describe('each attempt begins afresh', () => {
  const store = new AsyncLocalStorage<string>();

  test.each(['at once', 'later'])(
    'what a handler enters that answers %s is not there for the next one',
    async (when) => {
      const { bus, during, until } = world();
      const seen: (string | undefined)[] = [];
      const handle = ({ revision }: { revision: number }) => {
        seen.push(store.getStore());
        store.enterWith(`tenant ${revision}`);
      };
      bus.handle(CHANGED, { id: 'view' }, when === 'later' ? async (data) => handle(data) : handle);
      await during(bus.open());
      await during(Promise.all([1, 2, 3].map((n) => bus.send(CHANGED, event(n)))));
      await during(bus.start());
      await until(() => seen.length === 3);
      expect(seen).toEqual([undefined, undefined, undefined]);
      await during(bus.close());
    },
  );

  test('the request in which a handler is resumed, or an event is sent, is not there', async () => {
    const { bus, during, until } = world();
    const seen: (string | undefined)[] = [];
    bus.handle(CHANGED, { id: 'view' }, () => void seen.push(store.getStore()));
    bus.pause('view');
    await store.run('the start', () => during(bus.start()));
    await store.run('the sender', () => during(bus.send(CHANGED, event(1))));
    await store.run('the operator', async () => bus.resume('view'));
    await until(() => seen.length === 1);
    await store.run('the next sender', () => during(bus.send(CHANGED, event(2))));
    await until(() => seen.length === 2);
    expect(seen).toEqual([undefined, undefined]);
    await during(bus.close());
  });
});

describe('a handler that answers oddly', () => {
  class Unthenable extends Promise<void> {
    // oxlint-disable-next-line unicorn/no-thenable -- that is what this is about
    override then(): never {
      throw new Error('then');
    }
  }
  const unreadable = () =>
    Object.defineProperty(new Error('x'), 'name', {
      get() {
        throw new Error('getter');
      },
    });
  const revoked = () => {
    const { proxy, revoke } = Proxy.revocable(new Error('x'), {});
    revoke();
    return proxy;
  };
  const odd: readonly [string, () => unknown][] = [
    ['with a promise whose then throws', () => new Unthenable(() => {})],
    ['by throwing an error whose name cannot be read', () => throwing(unreadable())],
    ['by throwing a proxy that was revoked', () => throwing(revoked())],
    ['by rejecting with an error whose name cannot be read', () => Promise.reject(unreadable())],
  ];

  test.each(odd)('%s has failed, and the others go on', async (_, act) => {
    const { bus, during, until, stored } = world({ retry: once });
    const seen: number[] = [];
    bus.handle(CHANGED, { id: 'view' }, ({ revision }) => {
      seen.push(revision);
      return revision === 1 ? act() : undefined;
    });
    await during(bus.start());
    await during(Promise.all([1, 2, 3].map((n) => bus.send(CHANGED, event(n)))));
    await until(() => seen.length === 3 && stored(dead).length === 1);
    await until(() => bus.status().consumers[0]!.inFlight === 0);
    await during(bus.close());
  });
});

function throwing(what: unknown): never {
  throw what;
}
