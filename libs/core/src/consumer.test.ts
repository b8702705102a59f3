import { jsonCodec } from '@event-bus/testing';
import { describe, expect, onTestFinished, test } from 'vitest';
import { ARCHIVED, CHANGED, courseKey, world } from './world.test.fixture.js';
import {
  BusError,
  deadLetterTopic,
  defineEvent,
  exponential,
  schema,
  signals,
  type Batch,
  type Codec,
  type DeadFact,
  type PausedFact,
  type Transport,
} from './index.js';

const event = (n: number, revision = 1) => ({ course_key: courseKey(n), revision });
const dead = deadLetterTopic('courses', 'catalog');
const never = new Promise<never>(() => {});
const away = () => new BusError('BUS_REGISTRY_UNAVAILABLE', 'The registry does not answer.');

/** A codec that asks `schemaOf` before each decode. */
const asking = (schemaOf: (revision: number) => Promise<void> | undefined) => (): Codec => {
  const codec = jsonCodec();
  return {
    ...codec,
    decode(definition, record) {
      const data = codec.decode(definition, record) as { revision: number };
      const waiting = schemaOf(data.revision);
      return waiting === undefined ? data : waiting.then(() => data);
    },
  };
};

function heard<Fact>(signal: { subscribe(hear: (fact: Fact) => void): () => void }): Fact[] {
  const facts: Fact[] = [];
  onTestFinished(signal.subscribe((fact) => facts.push(fact)));
  return facts;
}

describe('a schema that is not known yet', () => {
  test.each(['throws', 'rejects'])(
    'while the registry is down (%s) the group waits and says so; nothing is a dead letter',
    async (how) => {
      let refusals = 3;
      const { bus, during, until, stored } = world({
        broker: {
          codec: asking(() => {
            if (refusals-- <= 0) return undefined;
            if (how === 'throws') throw away();
            return Promise.reject(away());
          }),
        },
      });
      const paused = heard<PausedFact>(signals.paused);
      const resumed = heard<PausedFact>(signals.resumed);
      const seen: number[] = [];
      bus.handle(CHANGED, { id: 'view' }, (data) => void seen.push(data.revision));
      await during(bus.start());
      await during(Promise.all([1, 2, 3].map((revision) => bus.send(CHANGED, event(1, revision)))));
      await until(() => seen.length === 3);
      expect(seen).toEqual([1, 2, 3]);
      expect(paused.map(({ reason }) => reason)).toEqual(['registry']);
      expect(resumed.map(({ reason }) => reason)).toEqual(['registry']);
      expect(stored(dead)).toEqual([]);
      await during(bus.close());
    },
  );

  test('holds up what comes behind it of its key, and nothing else', async () => {
    let arrive = () => {};
    const arrived = new Promise<void>((resolve) => (arrive = resolve));
    const { bus, during, until, clock } = world({
      broker: { codec: asking((revision) => (revision === 5 ? arrived : undefined)) },
    });
    await during(bus.open());
    await during(Promise.all([4, 5, 6, 7, 8].map((revision) => bus.send(CHANGED, event(revision % 2, revision)))));
    const seen: number[] = [];
    bus.handle(CHANGED, { id: 'view' }, async (data) => void seen.push(data.revision));
    await during(bus.start());
    await until(() => seen.length === 3);
    await clock.advance(10_000);
    expect(seen).toEqual([4, 6, 8]);
    arrive();
    await until(() => seen.length === 5);
    expect(seen).toEqual([4, 6, 8, 5, 7]);
    await during(bus.close());
  });

  test('and never comes does not hold up a stop', async () => {
    const { bus, during, until, clock, lag } = world({
      broker: { codec: asking((revision) => (revision === 2 ? never : undefined)) },
    });
    const seen: number[] = [];
    bus.handle(CHANGED, { id: 'view' }, (data) => void seen.push(data.revision));
    await during(bus.start());
    await during(Promise.all([1, 2, 3].map((revision) => bus.send(CHANGED, event(1, revision)))));
    await until(() => seen.length === 1 && bus.status().consumers[0]!.inFlight === 2);
    const from = clock.monotonic();
    await during(bus.stop());
    expect(clock.monotonic() - from).toBeLessThan(1_000);
    expect(await lag()).toBe(2);
  });

  test('unreadable after all, it is a dead letter that holds up nobody while it cannot be written', async () => {
    const { bus, broker, during, until, stored } = world({
      broker: {
        codec: asking((revision) =>
          revision === 1 ? Promise.reject(new BusError('BUS_SCHEMA_UNKNOWN', 'Unknown.')) : undefined,
        ),
      },
    });
    let isFull = true;
    Object.assign(broker.faults, {
      publish: ({ topic }: { topic: string }) => (topic === dead && isFull ? 'refused' : undefined),
    });
    const deaths = heard<DeadFact>(signals.dead);
    const seen: number[] = [];
    bus.handle(CHANGED, { id: 'view' }, (data) => void seen.push(data.revision));
    await during(bus.start());
    await during(Promise.all([1, 2, 3].map((revision) => bus.send(CHANGED, event(1, revision)))));
    await until(() => seen.length === 2);
    expect(stored(dead)).toEqual([]);
    isFull = false;
    await until(() => deaths.length === 1);
    expect(stored(dead)).toHaveLength(1);
    expect(deaths).toMatchObject([{ reason: 'BUS_SCHEMA_UNKNOWN', handler: undefined, deadLetters: dead }]);
    await during(bus.close());
  });
});

describe('positions', () => {
  test('a commit that is put off at the last moment is made before the partition leaves', async () => {
    const { bus, broker, during, until, lag } = world({ commitIntervalMs: 60_000 });
    const seen: number[] = [];
    bus.handle(CHANGED, { id: 'view' }, (data) => void seen.push(data.revision));
    await during(bus.start());
    await during(Promise.all([1, 2, 3].map((revision) => bus.send(CHANGED, event(1, revision)))));
    await until(() => seen.length === 3);
    let refusals = 3;
    Object.assign(broker.faults, { commit: () => (refusals-- > 0 ? 'refused' : undefined) });
    await during(bus.stop());
    expect(await lag()).toBe(0);
  });

  test('are committed also when records arrive before subscribe has answered', async () => {
    const late = (transport: Transport): Transport => ({
      ...transport,
      async subscribe(options, receiver) {
        const subscription = await transport.subscribe(options, receiver);
        await new Promise<void>((resolve) => clock.timer(5_000, resolve));
        return subscription;
      },
    });
    const { bus, clock, during, until, lag } = world({ wrap: late });
    const seen: number[] = [];
    bus.handle(CHANGED, { id: 'view' }, (data) => void seen.push(data.revision));
    await during(bus.open());
    await during(Promise.all([1, 2].map((revision) => bus.send(CHANGED, event(1, revision)))));
    const started = bus.start();
    await until(() => seen.length === 2);
    await during(started);
    await during(bus.send(CHANGED, event(1, 3)));
    await until(() => seen.length === 3);
    await clock.advance(3_000);
    expect(await lag()).toBe(0);
    await during(bus.close());
  });

  test('a commit that hangs ends no later than the partition: what runs is interrupted', async () => {
    let isHanging = false;
    const hanging = (transport: Transport): Transport => ({
      ...transport,
      async subscribe(options, receiver) {
        const subscription = await transport.subscribe(options, receiver);
        return { ...subscription, commit: (commits) => (isHanging ? never : subscription.commit(commits)) };
      },
    });
    const { bus, during, until } = world({ wrap: hanging, stopTimeoutMs: 2_000 });
    let signal: AbortSignal | undefined;
    const seen: number[] = [];
    bus.handle(CHANGED, { id: 'view' }, (data, context) => {
      seen.push(data.revision);
      if (data.revision === 1) return undefined;
      signal = context.signal;
      return never;
    });
    await during(bus.start());
    isHanging = true;
    await during(bus.send(CHANGED, event(1)));
    await during(bus.send(CHANGED, event(2, 2)));
    await until(() => seen.length === 2);
    await during(bus.stop());
    expect(signal!.reason).toMatchObject({ code: 'BUS_INTERRUPTED' });
  });
});

describe('an attempt', () => {
  test('that an around function does not let through is a failure, not a success', async () => {
    const { bus, during, until, stored } = world({
      retry: exponential({ attempts: 2 }),
      around: [async (context, next) => (context.offset === '0' ? undefined : next())],
    });
    const seen: number[] = [];
    bus.handle(CHANGED, { id: 'view' }, (data) => void seen.push(data.revision));
    await during(bus.start());
    await during(Promise.all([1, 2].map((revision) => bus.send(CHANGED, event(revision, revision)))));
    await until(() => stored(dead).length === 1 && seen.length === 1);
    const headers = Object.fromEntries(stored(dead)[0]!.headers.map(([name, value]) => [name, String(value)]));
    expect(headers).toMatchObject({
      'dead-attempts': '2',
      'dead-message': expect.stringContaining('did not call "next"'),
    });
    await during(bus.close());
  });

  test('runs inside all around functions, the first outermost, and what they throw is its failure', async () => {
    const order: string[] = [];
    const { bus, during, until } = world({
      around: ['outer', 'inner'].map((name) => async (_, next) => {
        order.push(`${name} begins`);
        await next();
        order.push(`${name} ends`);
      }),
    });
    bus.handle(CHANGED, { id: 'view' }, () => void order.push('handler'));
    await during(bus.start());
    await during(bus.send(CHANGED, event(1)));
    await until(() => order.length === 5);
    expect(order).toEqual(['outer begins', 'inner begins', 'handler', 'inner ends', 'outer ends']);
    await during(bus.close());
  });

  test('that answers a query is awaited, and one whose then throws has failed', async () => {
    const { bus, during, until, stored } = world({ retry: exponential({ attempts: 1 }) });
    let runs = 0;
    const query = (isBroken: boolean) => ({
      // oxlint-disable-next-line unicorn/no-thenable -- that is what this is about
      then(resolve: () => void) {
        runs++;
        if (isBroken) throw new Error('no connection');
        resolve();
      },
    });
    bus.handle(CHANGED, { id: 'view' }, (data) => query(data.revision === 1));
    await during(bus.start());
    await during(Promise.all([1, 2, 3].map((revision) => bus.send(CHANGED, event(revision, revision)))));
    await until(() => runs === 3 && bus.status().consumers[0]!.inFlight === 0);
    expect(stored(dead)).toHaveLength(1);
    await during(bus.close());
  });

  test('that throws something odd is a dead letter, and the consumer goes on', async () => {
    const odd: unknown[] = [
      undefined,
      'text',
      Object.assign(new Error('x'), { message: { nested: true } }),
      Object.assign(new Error('x'), { name: 'NonRetryable' }),
      Object.assign(new Error('x'), { code: 'constructor' }),
      Object.create(null),
    ];
    const { bus, during, until, stored } = world({ retry: exponential({ attempts: 1 }) });
    const seen: number[] = [];
    bus.handle(CHANGED, { id: 'view' }, (data) => {
      seen.push(data.revision);
      if (data.revision < odd.length) throw odd[data.revision];
    });
    await during(bus.start());
    for (let revision = 0; revision <= odd.length; revision++) await during(bus.send(CHANGED, event(1, revision)));
    await until(() => seen.length === odd.length + 1 && bus.status().consumers[0]!.inFlight === 0);
    expect(stored(dead)).toHaveLength(odd.length);
    await during(bus.close());
  });

  test('an asynchronous policy is no policy: the event is a dead letter and is not tried for ever', async () => {
    const { bus, during, until, stored } = world({ retry: (async () => ({ action: 'retry', afterMs: 1 })) as never });
    let runs = 0;
    bus.handle(CHANGED, { id: 'view' }, () => {
      runs++;
      throw new Error('again');
    });
    await during(bus.start());
    await during(bus.send(CHANGED, event(1)));
    await until(() => stored(dead).length === 1);
    expect(runs).toBe(1);
    await during(bus.close());
  });
});

describe('what is in hand', () => {
  const slowly = (clock: { timer(ms: number, fire: () => void): unknown }, ms: number) => () =>
    new Promise<void>((resolve) => clock.timer(ms, resolve));
  const mostInFlight = async ({ bus, clock, until }: ReturnType<typeof world>, forMs: number) => {
    let most = 0;
    const end = clock.monotonic() + forMs;
    await until(() => {
      most = Math.max(most, bus.status().consumers[0]!.inFlight);
      return clock.monotonic() >= end;
    });
    return most;
  };

  test('is never more than the bound, however many partitions wait for room', async () => {
    const setting = world({ broker: { partitions: 50 }, maxInFlight: { records: 4 } });
    const { bus, during, clock } = setting;
    bus.handle(CHANGED, { id: 'view' }, slowly(clock, 100));
    await during(bus.open());
    await during(Promise.all(Array.from({ length: 500 }, (_, n) => bus.send(CHANGED, event(n)))));
    await during(bus.start());
    expect(await mostInFlight(setting, 5_000)).toBe(4);
    await during(bus.close());
  });

  test('is bounded in bytes too: at most one record is over', async () => {
    const setting = world({ broker: { partitions: 40 }, maxInFlight: { bytes: 100_000 } });
    const { bus, during, clock } = setting;
    bus.handle(CHANGED, { id: 'view' }, slowly(clock, 100));
    await during(bus.open());
    const note = 'x'.repeat(30_000);
    await during(Promise.all(Array.from({ length: 200 }, (_, n) => bus.send(CHANGED, { ...event(n), note }))));
    await during(bus.start());
    expect(await mostInFlight(setting, 5_000)).toBe(4);
    await during(bus.close());
  });

  test('counts what data weigh when they are much larger than their bytes', async () => {
    const heavy = (): Codec => {
      const codec = jsonCodec();
      return {
        ...codec,
        decode(definition, record, weigh) {
          weigh?.(10_000_000);
          return codec.decode(definition, record);
        },
      };
    };
    const setting = world({ broker: { partitions: 4, codec: heavy }, maxInFlight: { bytes: 32_000_000 } });
    const { bus, during, clock } = setting;
    bus.handle(CHANGED, { id: 'view' }, slowly(clock, 100));
    await during(bus.open());
    await during(Promise.all(Array.from({ length: 40 }, (_, n) => bus.send(CHANGED, event(n)))));
    await during(bus.start());
    expect(await mostInFlight(setting, 2_000)).toBe(4);
    await during(bus.close());
  });

  test('is filled up to the bound while most of it waits for a handler that is switched off', async () => {
    const { bus, during, until, clock } = world({ maxInFlight: { records: 100 } });
    let handled = 0;
    bus.handle(CHANGED, { id: 'view' }, () => void handled++);
    bus.handle(ARCHIVED, { id: 'archive' }, () => {});
    bus.pause('archive');
    await during(bus.start());
    await during(Promise.all(Array.from({ length: 99 }, (_, n) => bus.send(ARCHIVED, { course_key: courseKey(n) }))));
    await during(Promise.all(Array.from({ length: 300 }, (_, n) => bus.send(CHANGED, event(n)))));
    await until(() => handled === 300);
    expect(bus.status().consumers[0]!.inFlight).toBe(99);
    await clock.advance(1_000);
    await during(bus.close());
  });

  test('is shared out evenly among partitions with batches of any size', async () => {
    const { bus, during, until, clock } = world({ broker: { partitions: 3 }, wrap: inBatchesOf(1_000) });
    const counts = [0, 0, 0];
    bus.handle(CHANGED, { id: 'view' }, async (_, { partition }) => {
      await slowly(clock, 10)();
      counts[partition]!++;
    });
    await during(bus.open());
    const sends = Array.from({ length: 12_000 }, (_, n) => bus.send(CHANGED, event(n)));
    await during(Promise.all(sends.map((sent) => sent.catch(() => {}))));
    await during(bus.start());
    const handled = () => counts[0]! + counts[1]! + counts[2]!;
    // Who came first had all the room.
    await until(() => handled() > 2_000);
    const before = [...counts];
    await until(() => handled() > 5_000);
    const since = counts.map((count, partition) => count - before[partition]!);
    expect(Math.min(...since)).toBeGreaterThan(Math.max(...since) / 2);
    await during(bus.close());
  }, 60_000);
});

/** The transport, but its batches are gathered into large ones first. */
function inBatchesOf(size: number): (transport: Transport) => Transport {
  return (transport) => ({
    ...transport,
    subscribe(options, receiver) {
      const gathered = new Map<number, Batch>();
      return transport.subscribe(options, {
        assigned: (partitions) => receiver.assigned(partitions),
        revoking: (...args) => receiver.revoking(...args),
        lost: (range) => receiver.lost(range),
        trouble: (error) => receiver.trouble(error),
        receive(batch) {
          const before = gathered.get(batch.partition);
          const all = { ...batch, records: [...(before?.records ?? []), ...batch.records] };
          gathered.set(batch.partition, all);
          if (all.records.length < size) return undefined;
          gathered.delete(batch.partition);
          return receiver.receive(all);
        },
      });
    },
  });
}

describe('handlers of one group', () => {
  test('that are slow leave places for their neighbours', async () => {
    const { bus, during, until, clock } = world({ concurrency: 4 });
    const quick: number[] = [];
    bus.handle(CHANGED, { id: 'slow' }, () => new Promise<void>((resolve) => clock.timer(20_000, resolve)));
    bus.handle(CHANGED, { id: 'quick' }, () => void quick.push(clock.monotonic()));
    await during(bus.start());
    await during(Promise.all(Array.from({ length: 50 }, (_, n) => bus.send(CHANGED, event(n)))));
    const sentAt = clock.monotonic();
    await until(() => quick.length === 50);
    expect(clock.monotonic() - sentAt).toBeLessThan(1_000);
    await during(bus.close());
  });

  test('never run more than "concurrency" at once', async () => {
    const { bus, during, until, clock } = world({ concurrency: 4 });
    let running = 0;
    let most = 0;
    let ended = 0;
    const handle = async () => {
      most = Math.max(most, ++running);
      await new Promise<void>((resolve) => clock.timer(10, resolve));
      running--;
      ended++;
    };
    for (const id of ['one', 'two', 'three']) bus.handle(CHANGED, { id }, handle);
    await during(bus.start());
    await during(Promise.all(Array.from({ length: 30 }, (_, n) => bus.send(CHANGED, event(n)))));
    await until(() => ended === 90);
    expect(most).toBe(4);
    await during(bus.close());
  });

  test('that answered while their process was stopped have answered, though their time was over before anybody looked', async () => {
    const { bus, during, until, clock, life, stored } = world({ timeoutMs: 100, retry: exponential({ attempts: 1 }) });
    let started = 0;
    let ended = 0;
    bus.handle(CHANGED, { id: 'view' }, async () => {
      started++;
      await new Promise<void>((resolve) => life.clock.timer(120, resolve));
      ended++;
    });
    await during(bus.start());
    await during(Promise.all(Array.from({ length: 20 }, (_, n) => bus.send(CHANGED, event(n)))));
    await until(() => started === 20);
    life.freeze();
    await clock.advance(5_000);
    life.thaw();
    await until(() => ended === 20 && bus.status().consumers[0]!.inFlight === 0);
    expect(stored(dead)).toEqual([]);
    await during(bus.close());
  });
});

describe('the breaker', () => {
  test('is not opened by one event that fails again and again, however many attempts it has', async () => {
    const { bus, during, until, stored } = world({ retry: exponential({ attempts: 30, maxMs: 1_000 }) });
    const paused = heard<PausedFact>(signals.paused);
    bus.handle(CHANGED, { id: 'view' }, () => {
      throw new Error('poison');
    });
    await during(bus.start());
    await during(bus.send(CHANGED, event(1)));
    await until(() => stored(dead).length === 1);
    expect(paused).toEqual([]);
    await during(bus.close());
  });

  test('keeps no event that its policy gave up on by name', async () => {
    const { bus, during, until, stored } = world({
      breakerAfter: 5,
      retry: ({ error }) => (error instanceof RangeError ? { action: 'dead' } : { action: 'retry', afterMs: 1 }),
    });
    bus.handle(CHANGED, { id: 'view' }, () => {
      throw new RangeError('of no use');
    });
    await during(bus.start());
    await during(Promise.all(Array.from({ length: 30 }, (_, n) => bus.send(CHANGED, event(n)))));
    await until(() => stored(dead).length === 30);
    expect(bus.status().consumers[0]!.brokenHandlers).toEqual([]);
    await during(bus.close());
  });

  test('opened by an outage, it makes no dead letter of it, also of events whose attempts have run out', async () => {
    const { bus, during, until, clock, stored } = world({ retry: exponential({ attempts: 1 }), breakerAfter: 5 });
    let isAway = true;
    let handled = 0;
    bus.handle(CHANGED, { id: 'view' }, () => {
      if (isAway) throw new Error('away');
      handled++;
    });
    await during(bus.start());
    await during(Promise.all(Array.from({ length: 100 }, (_, n) => bus.send(CHANGED, event(n)))));
    await clock.advance(600_000);
    expect(stored(dead).length).toBe(4);
    isAway = false;
    await until(() => handled === 96);
    await during(bus.close());
  });
});

describe('waits', () => {
  test('that many records share are said once, and once when the last is over; the status counts them', async () => {
    const { bus, broker, during, until } = world({ retry: exponential({ attempts: 1 }) });
    let isFull = true;
    Object.assign(broker.faults, {
      publish: ({ topic }: { topic: string }) => (topic === dead && isFull ? 'refused' : undefined),
    });
    const paused = heard<PausedFact>(signals.paused);
    const resumed = heard<PausedFact>(signals.resumed);
    bus.handle(CHANGED, { id: 'view' }, () => {
      throw new Error('poison');
    });
    await during(bus.start());
    await during(Promise.all(Array.from({ length: 10 }, (_, n) => bus.send(CHANGED, event(n)))));
    await until(() => bus.status().consumers[0]!.waiting[0]?.records === 10);
    expect(bus.status().consumers[0]!.waiting).toMatchObject([{ reason: 'dead-letter', handler: 'view', records: 10 }]);
    isFull = false;
    await until(() => bus.status().consumers[0]!.waiting.length === 0);
    expect(paused).toMatchObject([{ reason: 'dead-letter', handler: 'view' }]);
    expect(resumed).toMatchObject([{ reason: 'dead-letter', handler: 'view' }]);
    await during(bus.close());
  });

  test('are over when their partition leaves', async () => {
    const { bus, broker, during, until } = world({ retry: exponential({ attempts: 1 }), stopTimeoutMs: 1_000 });
    Object.assign(broker.faults, {
      publish: ({ topic }: { topic: string }) => (topic === dead ? 'refused' : undefined),
    });
    const resumed = heard<PausedFact>(signals.resumed);
    bus.handle(CHANGED, { id: 'view' }, () => {
      throw new Error('poison');
    });
    await during(bus.start());
    await during(bus.send(CHANGED, event(1)));
    await until(() => bus.status().consumers[0]!.waiting.length === 1);
    await during(bus.close());
    expect(resumed).toHaveLength(1);
  });
});

describe('a bus that is used out of turn', () => {
  test('a handler paused before the start waits from the start', async () => {
    const { bus, during, until, clock } = world();
    const seen = { one: 0, two: 0 };
    bus.handle(CHANGED, { id: 'one' }, () => void seen.one++);
    bus.handle(CHANGED, { id: 'two' }, () => void seen.two++);
    bus.pause('one');
    await during(bus.start());
    await during(bus.send(CHANGED, event(1)));
    await until(() => seen.two === 1);
    await clock.advance(5_000);
    expect(seen.one).toBe(0);
    expect(bus.status().consumers[0]!.pausedHandlers).toEqual(['one']);
    bus.resume('one');
    await until(() => seen.one === 1);
    await during(bus.close());
  });

  test('a kill switch for a handler that does not exist says which ones do', () => {
    const { bus } = world();
    bus.handle(CHANGED, { id: 'view' }, () => {});
    expect(() => bus.pause('veiw')).toThrow('No handler of bus "default" has the id "veiw"; there are: view.');
    expect(() => bus.resume('veiw')).toThrow(BusError);
  });

  test('closed before it was opened, it opens nothing any more', async () => {
    let isOpened = false;
    const watched = (transport: Transport): Transport => ({
      ...transport,
      open: async () => {
        isOpened = true;
        await transport.open();
      },
    });
    const { bus, during, failure } = world({ wrap: watched });
    const closing = bus.close();
    expect(await failure(bus.send(CHANGED, event(1)))).toMatchObject({ code: 'BUS_CLOSED' });
    expect(await failure(bus.start())).toMatchObject({ code: 'BUS_CLOSED' });
    await during(closing);
    expect(isOpened).toBe(false);
    expect(bus.status().state).toBe('closed');
  });

  test('stopped before it was opened, it still sends', async () => {
    const { bus, during } = world();
    await during(bus.stop());
    expect((await during(bus.send(CHANGED, event(1)))).records).toHaveLength(1);
    await during(bus.close());
  });

  test('two definitions of one event type are refused wherever they meet', async () => {
    const { bus, during, failure } = world();
    const other = defineEvent({ type: CHANGED.type, data: { course_key: schema.courseKey() } });
    expect(() => bus.define(other)).toThrow(/another definition of "org.example.course.changed.v1"/);
    bus.handle(other, { id: 'view' }, () => {});
    expect(await during(failure(bus.start()))).toMatchObject({ code: 'BUS_CONFIG_INVALID' });
  });

  test.each(['', 'a\nb', 'x'.repeat(201), undefined, 5])('the handler id %j is refused', async (id) => {
    const { bus, during, failure } = world();
    bus.handle(CHANGED, { id: id as string }, () => {});
    expect(await during(failure(bus.start()))).toMatchObject({ code: 'BUS_CONFIG_INVALID' });
  });

  test('stopped or closed, it does not start again, and says so', async () => {
    const { bus, during, failure } = world();
    bus.handle(CHANGED, { id: 'view' }, () => {});
    await during(bus.start());
    await during(bus.stop());
    expect(await failure(bus.start())).toMatchObject({ code: 'BUS_CLOSED' });
    await during(bus.close());
    expect(await failure(bus.start())).toMatchObject({ code: 'BUS_CLOSED' });
    expect(await failure(bus.open())).toMatchObject({ code: 'BUS_CLOSED' });
  });

  test('a start that failed may be tried again', async () => {
    let tries = 0;
    const half = (transport: Transport): Transport => ({
      ...transport,
      async subscribe(options, receiver) {
        if (options.group === 'two' && tries++ === 0) throw new BusError('BUS_TRANSPORT_UNAVAILABLE', 'away');
        return transport.subscribe(options, receiver);
      },
    });
    const { bus, during, failure, until } = world({ wrap: half });
    const seen = { one: 0, two: 0 };
    bus.handle(CHANGED, { id: 'a', group: 'one' }, () => void seen.one++);
    bus.handle(CHANGED, { id: 'b', group: 'two' }, () => void seen.two++);
    expect(await during(failure(bus.start()))).toMatchObject({ code: 'BUS_TRANSPORT_UNAVAILABLE' });
    expect(bus.status()).toMatchObject({ state: 'open', consumers: [] });
    await during(bus.send(CHANGED, event(1)));
    expect(seen).toEqual({ one: 0, two: 0 });
    await during(bus.start());
    await until(() => seen.one === 1 && seen.two === 1);
    await during(bus.close());
  });

  test('an option that is left undefined inside another has its default', async () => {
    const { bus, during, until } = world({ maxInFlight: { records: undefined as never }, buffer: {} });
    let handled = 0;
    bus.handle(CHANGED, { id: 'view' }, () => void handled++);
    await during(bus.start());
    await during(bus.send(CHANGED, event(1)));
    await until(() => handled === 1);
    await during(bus.close());
  });

  test.each([{ concurrency: 1.5 }, { breakerAfter: 2.5 }, { maxInFlight: { records: 0.5 } }])(
    '%j is no count and is refused',
    (options) => {
      expect(() => world(options)).toThrow(/must be an integer of at least 1/);
    },
  );

  test('names whose dead letters would have too long a topic are refused', () => {
    const { bus } = world();
    bus.handle(CHANGED, { id: 'view', topic: 't'.repeat(150), group: 'g'.repeat(150) }, () => {});
    expect(bus.problems()).toEqual([expect.stringMatching(/-dead-g+" is refused/)]);
  });

  test('a receiver that connects twice hears twice, and once when one of them disconnects', async () => {
    const { bus, during } = world();
    let told = 0;
    const receiver = () => void told++;
    const disconnect = bus.connect(CHANGED, receiver);
    bus.connect(CHANGED, receiver);
    await during(bus.send(CHANGED, event(1)));
    expect(told).toBe(2);
    disconnect();
    await during(bus.send(CHANGED, event(1)));
    expect(told).toBe(3);
  });

  test('a partition that is assigned again without having left begins anew: what ran before counts for nothing', async () => {
    let again = () => {};
    const twice = (transport: Transport): Transport => ({
      ...transport,
      subscribe(options, receiver) {
        again = () => receiver.assigned([{ topic: 'courses', partition: 0 }]);
        return transport.subscribe(options, receiver);
      },
    });
    const { bus, during, until, clock } = world({ wrap: twice });
    const finish: (() => void)[] = [];
    const handled = heard(signals.handled);
    bus.handle(CHANGED, { id: 'view' }, () => new Promise<void>((resolve) => finish.push(resolve)));
    await during(bus.start());
    await during(bus.send(CHANGED, event(1)));
    await until(() => finish.length === 1);
    again();
    finish[0]!();
    await clock.advance(5_000);
    expect(handled).toEqual([]);
    expect(bus.status().consumers[0]!.inFlight).toBe(0);
    await during(bus.close());
  });

  test('a receiver that fails is heard of', async () => {
    const { bus, during } = world();
    const failures = heard(signals.receiverFailed);
    bus.connect(CHANGED, () => {
      throw new Error('one');
    });
    bus.connect(CHANGED, async () => {
      throw new Error('two');
    });
    await during(bus.send(CHANGED, event(1)));
    expect(failures.map(({ error }) => (error as Error).message)).toEqual(['one', 'two']);
  });

  test('the correlation of a chain of events is where it began, and the cause the one before', async () => {
    const { bus, during, until } = world();
    const headers: Record<string, string>[] = [];
    bus.handle(CHANGED, { id: 'view' }, async ({ revision }, context) => {
      headers.push(context.headers);
      if (revision < 3) await bus.send(CHANGED, event(1, revision + 1));
    });
    await during(bus.start());
    const { event: first } = await during(bus.send(CHANGED, event(1, 1)));
    await until(() => headers.length === 3);
    expect(headers.map(({ correlationid }) => correlationid)).toEqual([undefined, first.id, first.id]);
    expect(headers[2]!['causationid']).not.toBe(first.id);
    await during(bus.close());
  });

  test('when one group cannot start, those that could are stopped', async () => {
    let stops = 0;
    const half = (transport: Transport): Transport => ({
      ...transport,
      async subscribe(options, receiver) {
        if (options.group === 'refused') throw new BusError('BUS_TRANSPORT_REFUSED', 'Not allowed.');
        const subscription = await transport.subscribe(options, receiver);
        await new Promise<void>((resolve) => clock.timer(1_000, resolve));
        return { ...subscription, stop: () => subscription.stop().then(() => void stops++) };
      },
    });
    const { bus, clock, during, failure } = world({ wrap: half });
    bus.handle(CHANGED, { id: 'a', group: 'slow' }, () => {});
    bus.handle(ARCHIVED, { id: 'b', group: 'refused' }, () => {});
    expect(await during(failure(bus.start()))).toMatchObject({ code: 'BUS_TRANSPORT_REFUSED' });
    expect(stops).toBe(1);
    await during(bus.close());
  });
});
