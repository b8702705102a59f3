import { jsonCodec, simulated, virtualClock, seededRandom } from '@event-bus/testing';
import { expect, test, describe } from 'vitest';
import {
  BusError,
  NonRetryable,
  RetryAfter,
  createBus,
  currentDelivery,
  deadLetterTopic,
  defineEvent,
  exponential,
  schema,
  type BusOptions,
  type StoredRecord,
} from './index.js';

const COURSE = defineEvent({
  type: 'org.example.course.changed.v1',
  data: { course_key: schema.courseKey(), revision: schema.long() },
});
const OTHER = defineEvent({ type: 'org.example.course.archived.v1', data: { course_key: schema.courseKey() } });
const key = (n: number) => `course-v1:edX+Demo+${n}`;

function setup(options: Partial<BusOptions> = {}) {
  const clock = virtualClock(1);
  const random = seededRandom(1);
  const transport = simulated({ clock, random, partitions: 2 });
  const bus = createBus(
    {
      service: 'catalog',
      transport,
      routes: {
        [COURSE.type]: { courses: { keyField: 'course_key' } },
        [OTHER.type]: { courses: { keyField: 'course_key' } },
      },
      events: [COURSE, OTHER],
      ...options,
    },
    { clock, random },
  );
  const during = async <T>(promise: Promise<T>): Promise<T> => {
    let isDone = false;
    void promise.catch(() => {}).finally(() => (isDone = true));
    if (!(await clock.run(() => isDone, { limitMs: 600_000 })))
      throw new Error('still pending after 600 s of virtual time');
    return promise;
  };
  const until = async (condition: () => boolean) => {
    if (!(await clock.run(condition, { limitMs: 600_000 }))) throw new Error('not so after 600 s of virtual time');
  };
  const stored = async (topic: string) => {
    const records: StoredRecord[] = [];
    const read = async () => {
      for await (const record of transport.read({ topic })) records.push(record);
      return records;
    };
    return during(read());
  };
  return { bus, clock, transport, during, until, stored };
}

describe('send', () => {
  test('resolves with the metadata and the place of every record', async () => {
    const { bus, during } = setup();
    const sent = await during(bus.send(COURSE, { course_key: key(1), revision: 1 }));
    expect(sent.records).toEqual([{ topic: 'courses', partition: expect.any(Number), offset: expect.any(String) }]);
    expect(sent.event).toMatchObject({ type: COURSE.type, source: 'openedx/catalog/web', minorversion: 0 });
    expect(sent.event.id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-1[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(sent.event.time).toBe('2026-01-01T00:00:00+00:00');
  });

  test('refuses wrong data with every wrong field, before anything is stored', async () => {
    const { bus, during, stored } = setup();
    await during(bus.open());
    const wrong = { course_key: 'nonsense', revision: 1.5, extra: true } as never;
    const error = await during(bus.send(COURSE, wrong).catch((caught: unknown) => caught));
    expect(error).toMatchObject({ code: 'BUS_EVENT_INVALID' });
    expect((error as BusError).details['issues']).toMatchObject([
      { path: ['course_key'] },
      { path: ['revision'] },
      { path: ['extra'] },
    ]);
    expect(await stored('courses')).toEqual([]);
  });

  test('an event type without a route is refused, a route that is off stores nothing', async () => {
    let isOn = false;
    const { bus, during, stored } = setup({ routes: { [COURSE.type]: { courses: { enabled: () => isOn } } } });
    await expect(during(bus.send(OTHER, { course_key: key(1) }))).rejects.toMatchObject({
      code: 'BUS_EVENT_TYPE_UNKNOWN',
    });
    expect((await during(bus.send(COURSE, { course_key: key(1), revision: 1 }))).records).toEqual([]);
    isOn = true;
    await during(bus.send(COURSE, { course_key: key(1), revision: 2 }));
    expect(await stored('courses')).toHaveLength(1);
  });

  test('a toggle that throws refuses the event, and no route gets it', async () => {
    const enabled = () => {
      throw new Error('no settings');
    };
    const { bus, during, stored } = setup({ routes: { [COURSE.type]: { courses: {}, copies: { enabled } } } });
    await expect(during(bus.send(COURSE, { course_key: key(1), revision: 1 }))).rejects.toMatchObject({
      code: 'BUS_CONFIG_INVALID',
      details: { topic: 'copies', outcome: 'not-stored' },
    });
    await during(bus.open());
    expect(await stored('courses')).toEqual([]);
  });

  test('concurrent sends of one key are stored in the order of the calls', async () => {
    const { bus, during, stored } = setup();
    await during(
      Promise.all(Array.from({ length: 200 }, (_, revision) => bus.send(COURSE, { course_key: key(1), revision }))),
    );
    const revisions = (await stored('courses')).map(
      (record) => (jsonCodec().decode(COURSE, record) as { revision: number }).revision,
    );
    expect(revisions).toEqual(Array.from({ length: 200 }, (_, revision) => revision));
  });

  test('a full buffer makes a send wait, and reject at its deadline with nothing stored', async () => {
    const { bus, clock, transport, during } = setup({ buffer: { records: 1 } });
    await during(bus.open());
    transport.cut();
    const first = bus
      .send(COURSE, { course_key: key(1), revision: 1 }, { deadlineMs: 5_000 })
      .catch((error: unknown) => error);
    const second = bus
      .send(COURSE, { course_key: key(2), revision: 1 }, { deadlineMs: 1_000 })
      .catch((error: unknown) => error);
    const third = bus.send(COURSE, { course_key: key(2), revision: 2 }).catch((error: unknown) => error);
    expect(await third).toMatchObject({ code: 'BUS_BUFFER_FULL' });
    expect(await during(second)).toMatchObject({ code: 'BUS_BUFFER_FULL', details: { outcome: 'not-stored' } });
    expect(await during(first)).toMatchObject({ code: 'BUS_TRANSPORT_UNAVAILABLE', details: { outcome: 'unknown' } });
    expect(clock.monotonic()).toBeGreaterThanOrEqual(5_000);
  });

  test('local receivers hear of it, and one that throws stops nobody', async () => {
    const { bus, during } = setup();
    const heard: number[] = [];
    bus.connect(COURSE, () => {
      throw new Error('receiver');
    });
    const disconnect = bus.connect(COURSE, (data) => heard.push(data.revision));
    await during(bus.send(COURSE, { course_key: key(1), revision: 1 }));
    disconnect();
    await during(bus.send(COURSE, { course_key: key(1), revision: 2 }));
    expect(heard).toEqual([1]);
  });

  test('after close it is refused by code', async () => {
    const { bus, during } = setup();
    await during(bus.open());
    await during(bus.close());
    await expect(bus.send(COURSE, { course_key: key(1), revision: 1 })).rejects.toMatchObject({ code: 'BUS_CLOSED' });
  });
});

describe('deliveries', () => {
  test('a retried record holds its own key in order and nobody else', async () => {
    const { bus, during, until } = setup();
    const seen: string[] = [];
    let failures = 2;
    bus.handle(COURSE, { id: 'view' }, (data) => {
      if (data.course_key === key(1) && data.revision === 1 && failures-- > 0) throw new Error('not yet');
      seen.push(`${data.course_key.at(-1)}:${data.revision}`);
    });
    await during(bus.start());
    for (const revision of [1, 2, 3])
      for (const n of [1, 2]) await during(bus.send(COURSE, { course_key: key(n), revision }));
    await until(() => seen.length === 6);
    expect(seen.filter((one) => one.startsWith('1'))).toEqual(['1:1', '1:2', '1:3']);
    expect(seen.slice(0, 3)).toEqual(['2:1', '2:2', '2:3']);
    await during(bus.close());
  });

  test('two handlers of one event fail, retry and end apart', async () => {
    const { bus, during, until, stored } = setup();
    const runs = { good: 0, bad: 0 };
    bus.handle(COURSE, { id: 'good' }, () => void runs.good++);
    bus.handle(COURSE, { id: 'bad', retry: exponential({ attempts: 3 }) }, () => {
      runs.bad++;
      throw new TypeError('broken');
    });
    await during(bus.start());
    await during(bus.send(COURSE, { course_key: key(1), revision: 1 }));
    await until(() => bus.status().consumers[0]!.inFlight === 0 && runs.bad === 3);
    expect(runs).toEqual({ good: 1, bad: 3 });
    const [letter] = await stored(deadLetterTopic('courses', 'catalog'));
    const headers = Object.fromEntries(letter!.headers.map(([name, value]) => [name, Buffer.from(value).toString()]));
    expect(headers).toMatchObject({
      'dead-reason': 'BUS_HANDLER_FAILED',
      'dead-error': 'TypeError',
      'dead-message': 'broken',
      'dead-handler': 'bad',
      'dead-attempts': '3',
      'dead-topic': 'courses',
    });
    await during(bus.close());
  });

  test('a dead letter keeps key, value and headers byte for byte', async () => {
    const { bus, during, until, stored } = setup();
    let runs = 0;
    bus.handle(COURSE, { id: 'view' }, () => {
      runs++;
      throw new NonRetryable('never');
    });
    await during(bus.start());
    await during(bus.send(COURSE, { course_key: key(1), revision: 1 }, { headers: { tenant: 'ünï' } }));
    await until(() => runs === 1 && bus.status().consumers[0]!.inFlight === 0);
    const [original] = await stored('courses');
    const [letter] = await stored('courses-dead-catalog');
    expect(letter!.key).toEqual(original!.key);
    expect(letter!.value).toEqual(original!.value);
    expect(letter!.headers.slice(0, original!.headers.length)).toEqual(original!.headers);
    await during(bus.close());
  });

  test('RetryAfter says when, and its attempts are counted', async () => {
    const { bus, clock, during, until } = setup({ retry: exponential({ attempts: 2 }) });
    const times: number[] = [];
    bus.handle(COURSE, { id: 'view' }, () => {
      times.push(clock.monotonic());
      throw new RetryAfter(7_000);
    });
    await during(bus.start());
    await during(bus.send(COURSE, { course_key: key(1), revision: 1 }));
    await until(() => times.length === 2 && bus.status().consumers[0]!.inFlight === 0);
    expect(times[1]! - times[0]!).toBe(7_000);
    await during(bus.close());
  });

  test('a handler that never settles frees its lane at its timeout and its signal is aborted', async () => {
    const { bus, during, until } = setup({ retry: exponential({ attempts: 1 }) });
    const seen: number[] = [];
    let reason: unknown;
    bus.handle(COURSE, { id: 'view', timeoutMs: 1_000 }, (data, context) => {
      seen.push(data.revision);
      if (data.revision > 1) return undefined;
      context.signal.addEventListener('abort', () => (reason = context.signal.reason));
      return new Promise(() => {});
    });
    await during(bus.start());
    await during(bus.send(COURSE, { course_key: key(1), revision: 1 }));
    await during(bus.send(COURSE, { course_key: key(1), revision: 2 }));
    await until(() => seen.length === 2);
    expect(reason).toMatchObject({ code: 'BUS_HANDLER_TIMEOUT' });
    await during(bus.close());
  });

  test('an unreadable record is one dead letter, an unwanted one is skipped', async () => {
    const { bus, transport, during, until, stored } = setup();
    const seen: number[] = [];
    bus.handle(COURSE, { id: 'view' }, (data) => void seen.push(data.revision));
    bus.handle(COURSE, { id: 'audit' }, () => {});
    await during(bus.start());
    await during(transport.publish('courses', [{ key: null, value: Buffer.from('nonsense'), headers: [] }]));
    await during(bus.send(OTHER, { course_key: key(1) }));
    await during(bus.send(COURSE, { course_key: key(1), revision: 1 }));
    await until(() => seen.length === 1 && bus.status().consumers[0]!.inFlight === 0);
    const letters = await stored('courses-dead-catalog');
    expect(letters.map((letter) => letter.value)).toEqual([Buffer.from('nonsense')]);
    await during(bus.close());
  });

  test('an outage downstream does not fill the dead letters, and ends with the first success', async () => {
    const { bus, clock, during, until, stored } = setup({ breakerAfter: 20 });
    let isDown = true;
    let runs = 0;
    const seen = new Set<string>();
    bus.handle(COURSE, { id: 'view' }, (data) => {
      runs++;
      if (isDown) throw new Error('database is away');
      seen.add(data.course_key);
    });
    await during(bus.start());
    for (let n = 0; n < 100; n++) await during(bus.send(COURSE, { course_key: key(n), revision: 1 }));
    await until(() => bus.status().consumers[0]!.brokenHandlers.length === 1);
    const before = runs;
    await clock.advance(300_000);
    expect(runs - before).toBeLessThan(100);
    isDown = false;
    await until(() => seen.size === 100);
    expect(await stored('courses-dead-catalog')).toEqual([]);
    await during(bus.close());
  });

  test('a handler that is switched off waits, the others go on, nothing is skipped', async () => {
    const { bus, during, until } = setup();
    const seen = { one: 0, two: 0 };
    bus.handle(COURSE, { id: 'one' }, () => void seen.one++);
    bus.handle(COURSE, { id: 'two' }, () => void seen.two++);
    await during(bus.start());
    bus.pause('one');
    for (let n = 0; n < 10; n++) await during(bus.send(COURSE, { course_key: key(n), revision: 1 }));
    await until(() => seen.two === 10);
    expect(seen.one).toBe(0);
    bus.resume('one');
    await until(() => seen.one === 10);
    await during(bus.close());
  });

  test('an event sent by a handler names its cause and where the chain began', async () => {
    const { bus, during, until, stored } = setup();
    const contexts: unknown[] = [];
    bus.handle(COURSE, { id: 'view' }, async (data) => {
      await Promise.resolve();
      contexts.push(currentDelivery()?.event.id);
      await bus.send(OTHER, { course_key: data.course_key });
    });
    bus.handle(OTHER, { id: 'archive' }, (_, context) => void contexts.push(context.headers));
    await during(bus.start());
    const sent = await during(bus.send(COURSE, { course_key: key(1), revision: 1 }));
    await until(() => contexts.length === 2);
    expect(contexts).toEqual([sent.event.id, { causationid: sent.event.id, correlationid: sent.event.id }]);
    expect(await stored('courses')).toHaveLength(2);
    await during(bus.close());
  });

  test('what a handler changes in its data does not reach the next attempt or another handler', async () => {
    const { bus, during, until } = setup();
    const seen: number[] = [];
    const change = (data: { revision: number }) => {
      seen.push(data.revision);
      data.revision = 99;
      if (seen.length === 1) throw new Error('again');
    };
    bus.handle(COURSE, { id: 'one' }, change as never);
    bus.handle(COURSE, { id: 'two' }, change as never);
    await during(bus.start());
    await during(bus.send(COURSE, { course_key: key(1), revision: 1 }));
    await until(() => seen.length === 3);
    expect(seen).toEqual([1, 1, 1]);
    await during(bus.close());
  });
});

describe('start and stop', () => {
  test('all that is wrong is said at once', async () => {
    const { bus, during } = setup({
      routes: { 'org.unknown.v1': { courses: {} }, [COURSE.type]: { courses: { keyField: 'nope' } } },
    });
    bus.handle(OTHER, { id: 'lost' }, () => {});
    bus.handle(COURSE, { id: 'twice' }, () => {});
    bus.handle(COURSE, { id: 'twice' }, () => {});
    const error = (await during(bus.start().catch((caught: unknown) => caught))) as BusError;
    expect(error.code).toBe('BUS_CONFIG_INVALID');
    expect(error.details['problems']).toHaveLength(4);
    expect(error.message).toContain('"org.unknown.v1"');
    expect(error.message).toContain('"nope"');
    expect(error.message).toContain("{ topic: '…' }");
    expect(error.message).toContain('"twice"');
  });

  test('wrong options name the value and the cure', () => {
    const { transport } = setup();
    expect(() => createBus({ service: 'a b', transport, timeoutMs: 0 })).toThrow(
      /"service" must be .* got "a b"[^]*"timeoutMs" must be a number of at least 1, got 0/,
    );
  });

  test('a policy that is no function and a start that is none are refused', async () => {
    const { bus, transport, during } = setup();
    const wrong = { service: 'catalog', transport, retry: { attempts: 3 }, from: 'Latest' } as never;
    expect(() => createBus(wrong)).toThrow(/"retry" must be a function.*\n.*"from" must be .* got "Latest"/);
    bus.handle(COURSE, { id: 'view', retry: { attempts: 3 } as never }, () => {});
    await expect(during(bus.start())).rejects.toThrow('Option "retry" of handler "view" must be a function');
  });

  test('running handlers finish and are committed; nothing is delivered twice', async () => {
    const world = setup();
    const done: number[] = [];
    world.bus.handle(COURSE, { id: 'view' }, async (data) => {
      await new Promise<void>((resolve) => world.clock.timer(500, resolve));
      done.push(data.revision);
    });
    await world.during(world.bus.start());
    for (let revision = 0; revision < 10; revision++)
      await world.during(world.bus.send(COURSE, { course_key: key(revision), revision }));
    await world.until(() => world.bus.status().consumers[0]!.inFlight === 10);
    await world.during(world.bus.stop());
    const positions = await world.during(world.transport.positions({ topic: 'courses', group: 'catalog' }));
    expect(done).toHaveLength(10);
    expect(positions.map(({ lag }) => lag)).toEqual([0, 0]);
  });

  test('a handler over the stop deadline is interrupted, and its record stays for the next owner', async () => {
    const world = setup({ stopTimeoutMs: 1_000 });
    let signal: AbortSignal | undefined;
    world.bus.handle(COURSE, { id: 'view' }, (_, context) => {
      signal = context.signal;
      return new Promise(() => {});
    });
    await world.during(world.bus.start());
    await world.during(world.bus.send(COURSE, { course_key: key(1), revision: 1 }));
    await world.until(() => signal !== undefined);
    await world.during(world.bus.stop());
    expect(signal!.reason).toMatchObject({ code: 'BUS_INTERRUPTED' });
    const positions = await world.during(world.transport.positions({ topic: 'courses', group: 'catalog' }));
    expect(positions.map(({ lag }) => lag ?? 0).reduce((a, b) => a + b)).toBe(1);
  });
});

describe('the breaker', () => {
  test('a probe that is dead for a reason of its own lets the next lane probe', async () => {
    const { bus, during, until, stored } = setup({ breakerAfter: 2, retry: exponential({ firstMs: 1 }) });
    let isDown = true;
    const seen = new Set<string>();
    bus.handle(COURSE, { id: 'view' }, (data) => {
      if (data.revision === 13 && !isDown) throw new NonRetryable('never');
      if (isDown) throw new Error('database is away');
      seen.add(data.course_key);
    });
    await during(bus.start());
    for (const n of [1, 2, 3, 4]) await during(bus.send(COURSE, { course_key: key(n), revision: n <= 3 ? 13 : 1 }));
    await until(() => bus.status().consumers[0]!.brokenHandlers.length === 1);
    isDown = false;
    await until(() => seen.size === 1 && bus.status().consumers[0]!.inFlight === 0);
    expect(await stored('courses-dead-catalog')).toHaveLength(3);
    await during(bus.close());
  });
});
