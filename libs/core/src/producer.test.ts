import { jsonCodec } from '@event-bus/testing';
import { describe, expect, onTestFinished, test } from 'vitest';
import { ARCHIVED, CHANGED, courseKey, world, type WorldOptions } from './world.test.fixture.js';
import {
  BusError,
  defineEvent,
  exponential,
  signals,
  type Codec,
  type SendFailedFact,
  type StoredRecord,
  type Transport,
} from './index.js';

const event = (n: number, revision = 1) => ({ course_key: courseKey(n), revision });
const dataOf = (record: StoredRecord) => JSON.parse(Buffer.from(record.value!).toString()) as { revision: number };
const never = new Promise<never>(() => {});

/** A codec whose schema for the given revisions never comes. */
const stuckCodec = (revisions: readonly number[]) => (): Codec => {
  const codec = jsonCodec();
  return {
    ...codec,
    encode: (definition, envelope, route, headers) =>
      revisions.includes((envelope.data as { revision: number }).revision)
        ? never
        : codec.encode(definition, envelope, route, headers),
  };
};

describe('what is stored', () => {
  test('is the data as it was when send was called, also when it had to wait for room', async () => {
    const { bus, broker, during, transport } = world({ buffer: { records: 1 } });
    await during(bus.open());
    transport.cut();
    const first = bus.send(CHANGED, event(1));
    const data = event(1, 2);
    const second = bus.send(CHANGED, data);
    data.revision = 99;
    transport.mend();
    await during(Promise.all([first, second]));
    expect(broker.records('courses').map((record) => dataOf(record).revision)).toEqual([1, 2]);
  });

  test('comes before what a local receiver sends in answer', async () => {
    const { bus, stored, during, until } = world();
    await during(bus.open());
    bus.connect(CHANGED, (data) => bus.send(ARCHIVED, { course_key: data.course_key }));
    bus.connect(CHANGED, (data) => void ((data as { revision: number }).revision = 99));
    await during(bus.send(CHANGED, event(1)));
    await until(() => stored('courses').length === 2);
    const types = stored('courses').map(({ headers }) => String(headers.find(([name]) => name === 'ce_type')![1]));
    expect(types).toEqual([CHANGED.type, ARCHIVED.type]);
    expect(dataOf(stored('courses')[0]!).revision).toBe(1);
  });

  test('keeps the order of the calls across the moment in which the bus opens', async () => {
    const codec = (): Codec => ({ ...jsonCodec(), prepare: async () => void sendWhenOpen() });
    const { bus, during, until, stored } = world({ broker: { codec } });
    let isWatching = false;
    async function sendWhenOpen(): Promise<void> {
      if (isWatching) return;
      isWatching = true;
      while (bus.status().state === 'new') await Promise.resolve();
      void bus.send(CHANGED, event(1, 3));
    }
    await during(Promise.all([bus.send(CHANGED, event(1, 1)), bus.send(CHANGED, event(1, 2))]));
    await until(() => stored('courses').length === 3);
    expect(stored('courses').map((record) => dataOf(record).revision)).toEqual([1, 2, 3]);
  });
});

describe('before the bus is open', () => {
  /** Opens when told to. */
  function closed(options: WorldOptions = {}) {
    let open = () => {};
    const opened = new Promise<void>((resolve) => (open = resolve));
    const wrap = (transport: Transport): Transport => ({
      ...transport,
      open: () => opened.then(() => transport.open()),
    });
    return { ...world({ ...options, wrap }), open };
  }

  test('a send takes the data as it is, and waits in its order', async () => {
    const { bus, open, during, clock, stored } = closed();
    const data = event(1, 1);
    const sends = [bus.send(CHANGED, data), bus.send(CHANGED, event(1, 2))];
    data.revision = 99;
    await clock.advance(100);
    open();
    await during(Promise.all([...sends, bus.send(CHANGED, event(1, 3))]));
    expect(stored('courses').map((record) => dataOf(record).revision)).toEqual([1, 2, 3]);
  });

  test('a wrong event is refused at once, and so is one without a route', async () => {
    const { bus, failure } = closed();
    const wrong = failure(bus.send(CHANGED, { course_key: 'none' } as never));
    expect(await wrong).toMatchObject({ code: 'BUS_EVENT_INVALID', details: { outcome: 'not-stored' } });
    const stray = defineEvent({ type: 'org.example.stray.v1', data: {} });
    expect(await failure(bus.send(stray, {}))).toMatchObject({ code: 'BUS_EVENT_TYPE_UNKNOWN' });
  });

  test('deadlines and signals count, and nothing of what was given up is stored', async () => {
    const { bus, open, during, clock, failure, stored } = closed();
    const { signal, abort } = bound(new AbortController());
    const late = failure(bus.send(CHANGED, event(1), { deadlineMs: 1_000 }));
    const aborted = failure(bus.send(CHANGED, event(2), { signal }));
    abort();
    expect(await aborted).toMatchObject({ code: 'BUS_INTERRUPTED', details: { outcome: 'not-stored' } });
    expect(await during(late)).toMatchObject({ code: 'BUS_BUFFER_FULL', details: { outcome: 'not-stored' } });
    open();
    await clock.advance(1_000);
    expect(stored('courses')).toEqual([]);
  });

  test('the buffer is bounded in records and in bytes', async () => {
    const few = closed({ buffer: { records: 10 } });
    const sends = Array.from({ length: 11 }, (_, n) => few.failure(few.bus.send(CHANGED, event(n))));
    expect(await sends[10]).toMatchObject({ code: 'BUS_BUFFER_FULL' });
    expect(few.bus.status().buffered.records).toBe(10);

    const small = closed({ buffer: { bytes: 100_000 } });
    const note = 'x'.repeat(60_000);
    const large = [1, 2, 3].map((n) => small.failure(small.bus.send(CHANGED, { ...event(n), note })));
    expect(await large[2]).toMatchObject({ code: 'BUS_BUFFER_FULL' });
    expect(small.bus.status().buffered.bytes).toBeGreaterThan(120_000);
  });

  test('an opening that fails refuses what waits for it, and the next send tries again', async () => {
    let tries = 0;
    const wrap = (transport: Transport): Transport => ({
      ...transport,
      async open() {
        if (tries++ === 0) throw new BusError('BUS_TRANSPORT_UNAVAILABLE', 'away');
        await transport.open();
      },
    });
    const { bus, during, failure } = world({ wrap });
    const refused = await failure(bus.send(CHANGED, event(1)));
    expect(refused).toMatchObject({ code: 'BUS_TRANSPORT_UNAVAILABLE', details: { outcome: 'not-stored' } });
    expect((await during(bus.send(CHANGED, event(1)))).records).toHaveLength(1);
  });
});

describe('while a schema is fetched', () => {
  const slow = (arrived: Promise<void>) => (): Codec => {
    const json = jsonCodec();
    let isThere = false;
    void arrived.then(() => (isThere = true));
    const encode: Codec['encode'] = (...args) =>
      isThere ? json.encode(...args) : arrived.then(() => json.encode(...args));
    return { ...json, encode };
  };

  test('what is to be stored is the data as it was, and counts as what it takes', async () => {
    let arrive = () => {};
    const { bus, during, stored } = world({
      broker: { codec: slow(new Promise((resolve) => (arrive = resolve))) },
    });
    await during(bus.open());
    const data = { ...event(1, 1), note: 'x'.repeat(10_000) };
    const sent = bus.send(CHANGED, data);
    data.revision = 99;
    expect(bus.status().buffered.bytes).toBeGreaterThan(10_000);
    arrive();
    await during(sent);
    expect(dataOf(stored('courses')[0]!).revision).toBe(1);
    expect(bus.status().buffered).toEqual({ records: 0, bytes: 0 });
  });
});

describe('a line', () => {
  test('gives the room of an expired send back at once', async () => {
    const { bus, clock, during, transport, failure } = world({ buffer: { records: 1 } });
    await during(bus.open());
    transport.cut();
    const outcomes: string[] = [];
    const send = (revision: number, deadlineMs: number) => {
      const sent = bus.send(CHANGED, event(1, revision), { deadlineMs });
      void sent.then(() => outcomes.push(`${revision} stored`)).catch(() => outcomes.push(`${revision} refused`));
      return failure(sent);
    };
    void send(1, 60_000);
    const expired = send(2, 1_000);
    await during(expired);
    expect(bus.status().buffered.records).toBe(1);
    const waiting = send(3, 60_000);
    await clock.advance(10);
    expect(outcomes).toEqual(['2 refused']);
    transport.mend();
    expect(await during(waiting)).toBeUndefined();
    expect(outcomes).toEqual(['2 refused', '1 stored', '3 stored']);
    expect(bus.status().buffered).toEqual({ records: 0, bytes: 0 });
  });

  test('holds no memory of sends that ended in it', async () => {
    const { bus, clock, during, transport } = world({ buffer: { records: 100 } });
    await during(bus.open());
    transport.cut();
    void bus.send(CHANGED, event(1), { deadlineMs: 500_000 }).catch(() => {});
    let refused = 0;
    for (let round = 0; round < 50; round++) {
      for (let n = 0; n < 150; n++) bus.send(CHANGED, event(n), { deadlineMs: 1_000 }).catch(() => refused++);
      await clock.advance(2_000);
    }
    expect(refused).toBe(7_500);
    const { records } = bus.status().buffered;
    // What was handed over before the cut is the transport's until it answers.
    expect(records).toBeLessThanOrEqual(100);
  });

  test('goes on when the schema at its head does not come, and so does close', async () => {
    const { bus, during, failure, stored } = world({ broker: { codec: stuckCodec([1]) } });
    await during(bus.open());
    const stuck = failure(bus.send(CHANGED, event(1, 1), { deadlineMs: 2_000 }));
    const next = bus.send(CHANGED, event(1, 2));
    await during(next);
    expect(await stuck).toMatchObject({ code: 'BUS_BUFFER_FULL', details: { outcome: 'not-stored' } });
    expect(stored('courses').map((record) => dataOf(record).revision)).toEqual([2]);
    const last = failure(bus.send(CHANGED, event(1, 1), { deadlineMs: 2_000 }));
    await during(bus.close());
    expect(await last).toMatchObject({ details: { outcome: 'not-stored' } });
  });

  test('keeps its order while the schema at its head is fetched', async () => {
    let arrive = () => {};
    const arrived = new Promise<void>((resolve) => (arrive = resolve));
    const codec = (): Codec => {
      const json = jsonCodec();
      const encode: Codec['encode'] = (definition, envelope, route, headers) => {
        const record = json.encode(definition, envelope, route, headers);
        return (envelope.data as { revision: number }).revision === 1 ? arrived.then(() => record) : record;
      };
      return { ...json, encode };
    };
    const { bus, clock, during, stored } = world({ broker: { codec } });
    await during(bus.open());
    const sent = Promise.all([1, 2, 3].map((revision) => bus.send(CHANGED, event(1, revision))));
    await clock.advance(1_000);
    expect(stored('courses')).toEqual([]);
    arrive();
    await during(sent);
    expect(stored('courses').map((record) => dataOf(record).revision)).toEqual([1, 2, 3]);
  });

  test('of a busy topic does not starve another', async () => {
    const { bus, broker, during } = world({
      buffer: { records: 5 },
      routes: {
        [CHANGED.type]: { busy: { keyField: 'course_key' } },
        [ARCHIVED.type]: { calm: { keyField: 'course_key' } },
      },
    });
    Object.assign(broker.faults, { latencyMs: () => 1 });
    await during(bus.open());
    const order: string[] = [];
    const busy = async (worker: number) => {
      for (let n = 0; n < 20; n++) await bus.send(CHANGED, event(worker, n)).then(() => order.push('busy'));
    };
    const calm = async () => {
      for (let n = 0; n < 3; n++) await bus.send(ARCHIVED, { course_key: courseKey(n) }).then(() => order.push('calm'));
    };
    // Five are handed over and three wait at any time: the room that is given back is never enough for all.
    await during(Promise.all([...[1, 2, 3, 4, 5, 6, 7, 8].map(busy), calm()]));
    expect(order.lastIndexOf('calm')).toBeLessThan(60);
  });
});

describe('the buffer', () => {
  const routes = {
    [CHANGED.type]: { away: { keyField: 'course_key' } },
    [ARCHIVED.type]: { calm: { keyField: 'course_key' } },
  };
  /** Nobody answers for the topic "away". */
  const half = (transport: Transport): Transport => ({
    ...transport,
    publish: (topic, records, options) =>
      topic === 'away' ? new Promise(() => {}) : transport.publish(topic, records, options),
  });

  test('keeps room for other topics when one of them is not answered', async () => {
    const { bus, clock, during, failure } = world({ buffer: { records: 100 }, routes, wrap: half });
    await during(bus.open());
    await during(bus.send(ARCHIVED, { course_key: courseKey(1) }));
    const stuck = Array.from({ length: 300 }, (_, n) => failure(bus.send(CHANGED, event(n), { deadlineMs: 60_000 })));
    for (let n = 0; n < 300; n++) {
      const sent = bus.send(ARCHIVED, { course_key: courseKey(n) }, { deadlineMs: 1_000 });
      await clock.advance(10);
      expect((await sent).records).toHaveLength(1);
    }
    expect(await stuck[299]).toMatchObject({ code: 'BUS_BUFFER_FULL' });
    expect(bus.status().buffered.records).toBe(160);
    await clock.advance(70_000);
    expect(await Promise.all(stuck)).not.toContain(undefined);
    expect(bus.status().buffered.records).toBe(80);
  });

  test('keeps room in bytes as well', async () => {
    const { bus, clock, during, failure } = world({ buffer: { bytes: 100_000 }, routes, wrap: half });
    await during(bus.open());
    await during(bus.send(ARCHIVED, { course_key: courseKey(1) }));
    const note = 'x'.repeat(9_000);
    for (let n = 0; n < 30; n++) void failure(bus.send(CHANGED, { ...event(n), note }));
    const sent = Promise.all([1, 2, 3].map((n) => bus.send(ARCHIVED, { course_key: courseKey(n) })));
    await clock.advance(10);
    expect(await sent).toHaveLength(3);
    expect(bus.status().buffered.bytes).toBeLessThan(180_000);
  });

  test('waits past the deadline for a transport that knows how a record ended', async () => {
    const late = (transport: Transport): Transport => ({
      ...transport,
      publish: (_topic, _records, { deadlineMs } = {}) =>
        new Promise((resolve) => {
          const error = new BusError('BUS_TRANSPORT_UNAVAILABLE', 'never taken');
          clock.timer(deadlineMs! + 250, () => resolve([{ status: 'not-stored', error }]));
        }),
    });
    const { bus, clock, during, failure } = world({ wrap: late });
    await during(bus.open());
    const sent = failure(bus.send(CHANGED, event(1), { deadlineMs: 500 }));
    expect(await during(sent)).toMatchObject({ message: 'never taken', details: { outcome: 'not-stored' } });
  });

  test('has room for a large record in the end, however many small ones of other topics come', async () => {
    const { bus, broker, clock, during } = world({
      buffer: { bytes: 20_000 },
      routes: {
        [CHANGED.type]: { large: { keyField: 'course_key' } },
        [ARCHIVED.type]: { small: { keyField: 'course_key' } },
      },
    });
    Object.assign(broker.faults, { latencyMs: () => 1 });
    await during(bus.open());
    let isOver = false;
    const small = async () => {
      const pause = () => new Promise<void>((resolve) => clock.timer(1, resolve));
      while (!isOver) await bus.send(ARCHIVED, { course_key: courseKey(1) }).catch(pause);
    };
    const busy = Promise.all(Array.from({ length: 40 }, small));
    await clock.advance(50);
    const large = bus.send(CHANGED, { ...event(1), note: 'x'.repeat(15_000) }, { deadlineMs: 1_000 });
    expect((await during(large.finally(() => (isOver = true)))).records).toHaveLength(1);
    await during(busy);
  });

  test('is not fooled by a transport that settles twice', async () => {
    const twice = (transport: Transport): Transport => ({
      ...transport,
      publishOne(topic, record, deadlineMs, settle) {
        transport.publish(topic, [record], { deadlineMs }).then(
          ([outcome]) => (settle(outcome!), settle(outcome!)),
          (error) => settle({ status: 'not-stored', error }),
        );
      },
    });
    const { bus, during } = world({ wrap: twice });
    await during(Promise.all([1, 2, 3].map((n) => bus.send(CHANGED, event(n)))));
    expect(bus.status().buffered).toEqual({ records: 0, bytes: 0 });
  });

  test('is bounded in bytes too, for what is handed over and for what waits', async () => {
    const { bus, during, transport, failure } = world({ buffer: { bytes: 3_000 } });
    await during(bus.open());
    transport.cut();
    const note = 'x'.repeat(2_000);
    const sends = [1, 2, 3, 4].map((n) => failure(bus.send(CHANGED, { ...event(n), note }, { deadlineMs: 5_000 })));
    expect(await sends[3]).toMatchObject({ code: 'BUS_BUFFER_FULL', details: { outcome: 'not-stored' } });
    expect(bus.status().buffered.records).toBe(3);
    transport.mend();
    expect(await during(Promise.all(sends.slice(0, 3)))).toEqual([undefined, undefined, undefined]);
    expect(bus.status().buffered).toEqual({ records: 0, bytes: 0 });
  });

  test('takes a record larger than itself when it is empty', async () => {
    const { bus, during } = world({ buffer: { bytes: 10 } });
    expect((await during(bus.send(CHANGED, event(1)))).records).toHaveLength(1);
  });

  test('a record over the limit of the transport is refused, and those behind it go on', async () => {
    const { bus, during, failure, stored } = world({ broker: { maxRecordBytes: 20_000 } });
    await during(bus.open());
    const large = failure(bus.send(CHANGED, { ...event(1), note: 'x'.repeat(15_000) }));
    await during(bus.send(CHANGED, event(1, 2)));
    expect(await large).toMatchObject({ code: 'BUS_RECORD_TOO_LARGE', details: { maxRecordBytes: 20_000 - 8 * 1024 } });
    expect(stored('courses')).toHaveLength(1);
  });

  test('the largest event that may be sent may become a dead letter', async () => {
    const { bus, during, failure, stored, until } = world({
      broker: { maxRecordBytes: 20_000 },
      retry: exponential({ attempts: 1 }),
    });
    bus.handle(CHANGED, { id: 'view' }, () => {
      throw new Error('é'.repeat(2_000));
    });
    await during(bus.start());
    let size = 20_000;
    const sized = () => bus.send(CHANGED, { ...event(1), note: 'x'.repeat(size) });
    while ((await during(failure(sized()))) !== undefined) size -= 1;
    await until(() => stored('courses-dead-catalog').length === 1);
    await during(bus.close());
  });
});

describe('giving up', () => {
  test('an aborted send says whether its record may be stored', async () => {
    const { bus, during, transport, failure } = world({ buffer: { records: 1 } });
    await during(bus.open());
    transport.cut();
    const { signal, abort } = bound(new AbortController());
    const handed = failure(bus.send(CHANGED, event(1), { signal }));
    const waiting = failure(bus.send(CHANGED, event(2), { signal }));
    abort();
    expect(await handed).toMatchObject({ code: 'BUS_INTERRUPTED', details: { outcome: 'unknown' } });
    expect(await waiting).toMatchObject({ code: 'BUS_INTERRUPTED', details: { outcome: 'not-stored' } });
    const late = failure(bus.send(CHANGED, event(3), { signal }));
    expect(await late).toMatchObject({ code: 'BUS_INTERRUPTED', details: { outcome: 'not-stored' } });
  });

  test('when one route fails and another does not, the error says what is stored', async () => {
    const { bus, broker, during, failure, stored } = world({
      routes: { [CHANGED.type]: { courses: { keyField: 'course_key' }, audit: {} } },
      events: [CHANGED],
    });
    await during(bus.open());
    Object.assign(broker.faults, {
      publish: ({ topic }: { topic: string }) => (topic === 'audit' ? 'refused' : undefined),
    });
    const error = await during(failure(bus.send(CHANGED, event(1))));
    expect(stored('courses')).toHaveLength(1);
    expect(error).toMatchObject({
      code: 'BUS_TRANSPORT_UNAVAILABLE',
      details: {
        outcome: 'not-stored',
        stored: [{ topic: 'courses', partition: 0, offset: stored('courses')[0]!.offset }],
      },
    });
  });
});

describe('several routes', () => {
  const routes = { [CHANGED.type]: { courses: { keyField: 'course_key' }, audit: {} } };

  test('when one record may be stored the outcome is unknown, whatever came of the others', async () => {
    const { bus, broker, during, failure } = world({ routes, events: [CHANGED], sendDeadlineMs: 2_000 });
    await during(bus.open());
    Object.assign(broker.faults, {
      publish: ({ topic }: { topic: string }) => (topic === 'courses' ? 'refused' : 'unanswered'),
    });
    expect(await during(failure(bus.send(CHANGED, event(1))))).toMatchObject({ details: { outcome: 'unknown' } });
  });

  test('a toggle that answers a promise is refused: it would always be on', async () => {
    const enabled = (async () => false) as never;
    const { bus, failure } = world({ routes: { [CHANGED.type]: { courses: { enabled } } }, events: [CHANGED] });
    expect(await failure(bus.send(CHANGED, event(1)))).toMatchObject({ code: 'BUS_CONFIG_INVALID' });
  });
});

describe('what a sender may say', () => {
  test.each([
    ['a deadline that is no number', { deadlineMs: NaN }],
    ['a deadline that never comes', { deadlineMs: Infinity }],
    ['a deadline in the past', { deadlineMs: -1 }],
    ['a header that is no text', { headers: { tenant: 5 as never } }],
    ['a header of the bus', { headers: { ce_id: '1' } }],
    ['a header of dead letters', { headers: { 'dead-reason': 'x' } }],
    ['a header with a line end', { headers: { 'a\nb': 'x' } }],
    ['a header named as the prototype', { headers: { ['__proto__']: 'x' } }],
    ['a time that is none', { time: 'yesterday' }],
    ['an invalid Date', { time: new Date(NaN) }],
    ['a day that does not exist', { time: '2026-02-30T00:00:00Z' }],
  ])('%s is refused before anything is stored or told', async (_, options) => {
    const { bus, during, failure, stored } = world();
    await during(bus.open());
    let told = 0;
    bus.connect(CHANGED, () => told++);
    const code = 'deadlineMs' in options ? 'BUS_CONFIG_INVALID' : 'BUS_EVENT_INVALID';
    expect(await failure(bus.send(CHANGED, event(1), options))).toMatchObject({ code });
    expect(stored('courses')).toEqual([]);
    expect(told).toBe(0);
  });

  test('a refused send is heard as one that failed', async () => {
    const { bus, failure } = world();
    const failures: SendFailedFact[] = [];
    onTestFinished(signals.sendFailed.subscribe((fact) => failures.push(fact)));
    const error = await failure(bus.send(CHANGED, { course_key: 'none' } as never));
    expect(failures).toEqual([expect.objectContaining({ eventType: CHANGED.type, event: undefined, error })]);
  });

  test('the time of a row keeps its microseconds and is written in UTC', async () => {
    const { bus, during } = world();
    const { event: metadata } = await during(bus.send(CHANGED, event(1), { time: '2026-01-02T03:04:05.678901+02:00' }));
    expect(metadata.time).toBe('2026-01-02T01:04:05.678901+00:00');
  });
});

function bound(controller: AbortController) {
  return { signal: controller.signal, abort: () => controller.abort() };
}
