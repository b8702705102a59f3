import { BusError, type PublishOutcome } from '@event-bus/core';
import { expect, test } from 'vitest';
import type { KafkaProducer, Outcome, Part } from './kafkajs/client.js';
import { Entry, SendPipe } from './send-pipe.js';

/** A producer whose answers the test gives. Partition 9 has a broker of its own. */
function setup() {
  const calls: { readonly values: string[]; readonly answer: (...outcomes: Outcome[]) => void }[] = [];
  const producer: KafkaProducer = {
    open: async () => {},
    knownPartitions: () => 1,
    leaderOf: ({ partition }) => (partition === 9 ? 2 : 1),
    partitions: async () => 1,
    async append(parts: readonly Part[]) {
      // kafkajs awaits several times before it writes.
      for (let i = 0; i < 10; i++) await Promise.resolve();
      return new Promise((resolve) => {
        const values = parts.flatMap(({ records }) => records.map(({ value }) => Buffer.from(value!).toString()));
        calls.push({ values, answer: (...outcomes) => resolve(outcomes) });
      });
    },
    close: async () => {},
  };
  const pipe = new SendPipe(producer);
  const told: string[] = [];
  const add = (value: string, { partition = 0, deadlineMs = 60_000 } = {}): Promise<PublishOutcome> =>
    new Promise((settle) => {
      const record = { key: null, value: Buffer.from(value), headers: [] };
      const tell = (outcome: PublishOutcome) => {
        told.push(`${value} ${outcome.status}`);
        settle(outcome);
      };
      pipe.add('t', partition, new Entry(record, 1, performance.now() + deadlineMs, tell));
    });
  const call = async (index: number) => {
    await expect.poll(() => calls.length, { timeout: 5_000 }).toBeGreaterThan(index);
    return calls[index]!;
  };
  return { add, call, calls, pipe, told };
}

const stored = (baseOffset: string): Outcome => ({ status: 'stored', baseOffset });
const unknown: Outcome = { status: 'unknown', error: new BusError('BUS_TRANSPORT_UNAVAILABLE', 'away') };
const notNow: Outcome = { status: 'failed', error: new BusError('BUS_TRANSPORT_UNAVAILABLE', 'no leader') };
const refused: Outcome = {
  status: 'failed',
  error: new BusError('BUS_RECORD_TOO_LARGE', 'large'),
  oneMayBeToBlame: true,
};
const missing: Outcome = { status: 'failed', error: new BusError('BUS_TOPIC_MISSING', 'gone') };

test('what gathers while an append is under way goes with the next one', async () => {
  const { add, call } = setup();
  const first = add('a');
  (await call(0)).answer(stored('0'));
  const rest = [add('b'), add('c', { partition: 1 }), add('d')];

  const next = await call(1);
  expect(next.values).toEqual(['b', 'd', 'c']);
  next.answer(stored('1'), stored('0'));

  expect(await Promise.all([first, ...rest])).toEqual([
    { status: 'stored', partition: 0, offset: '0' },
    { status: 'stored', partition: 0, offset: '1' },
    { status: 'stored', partition: 1, offset: '0' },
    { status: 'stored', partition: 0, offset: '2' },
  ]);
});

test('the next append has begun before anybody is told of the last one', async () => {
  const { add, call, calls } = setup();
  let appendsWhenTold = 0;
  const first = add('a').then(() => (appendsWhenTold = calls.length));
  const opening = await call(0);
  const second = add('b');
  opening.answer(stored('0'));

  await first;
  expect(appendsWhenTold).toBe(2);
  calls[1]!.answer(stored('1'));
  expect(await second).toMatchObject({ status: 'stored', offset: '1' });
});

test('what is in doubt is sent again before anything newer, and other partitions do not wait', async () => {
  const { add, call } = setup();
  const doubted = add('a');
  const first = await call(0);
  const newer = add('b');
  const other = add('c', { partition: 1 });
  first.answer(unknown);

  const second = await call(1);
  expect(second.values).toEqual(['c']);
  second.answer(stored('0'));
  const third = await call(2);
  expect(third.values).toEqual(['a']);
  third.answer(stored('4'));
  const fourth = await call(3);
  expect(fourth.values).toEqual(['b']);
  fourth.answer(stored('5'));

  expect(await Promise.all([doubted, newer, other])).toMatchObject([{ offset: '4' }, { offset: '5' }, { offset: '0' }]);
});

test('records in doubt go again as they went, also when one of them is overdue, until all are', async () => {
  const { add, call, pipe, told } = setup();
  void add('a', { deadlineMs: 20 });
  void add('b', { deadlineMs: 700 });
  (await call(0)).answer(unknown);
  void add('c');

  const again = await call(1);
  expect(again.values).toEqual(['a', 'b']);
  await expect.poll(() => told, { timeout: 5_000 }).toEqual(['a unknown', 'b unknown']);
  again.answer(notNow);
  const newer = await call(2);
  expect(newer.values).toEqual(['c']);
  newer.answer(stored('7'));

  await pipe.idle();
  expect(told).toEqual(['a unknown', 'b unknown', 'c stored']);
});

test('what was not stored takes newer records along when it goes again', async () => {
  const { add, call } = setup();
  const first = add('a');
  (await call(0)).answer(notNow);
  const newer = add('b');

  const second = await call(1);
  expect(second.values).toEqual(['a', 'b']);
  second.answer(stored('3'));

  expect(await Promise.all([first, newer])).toMatchObject([{ offset: '3' }, { offset: '4' }]);
});

test('a broker that is silent holds up its own partitions only', async () => {
  const { add, call, calls } = setup();
  const silent = add('a', { partition: 9 });
  const other = add('b');
  expect([(await call(0)).values, (await call(1)).values]).toEqual([['a'], ['b']]);

  calls[1]!.answer(stored('0'));
  await other;
  const next = add('c');
  const waiting = add('d', { partition: 9 });
  const third = await call(2);
  expect(third.values).toEqual(['c']);
  third.answer(stored('1'));
  await next;

  expect(calls.length).toBe(3);
  calls[0]!.answer(stored('0'));
  (await call(3)).answer(stored('1'));
  expect(await Promise.all([silent, waiting])).toMatchObject([{ offset: '0' }, { offset: '1' }]);
});

test('an append without an answer is unknown at its deadline, and its partition stays shut until the answer', async () => {
  const { add, call, calls, pipe, told } = setup();
  const silent = add('a', { deadlineMs: 100 });
  const first = await call(0);

  expect(await silent).toMatchObject({ status: 'unknown', error: { code: 'BUS_TRANSPORT_UNAVAILABLE' } });
  const newer = add('b');
  await new Promise((resolve) => setTimeout(resolve, 600));
  expect(calls.length).toBe(1);

  first.answer(unknown);
  const second = await call(1);
  expect(second.values).toEqual(['b']);
  second.answer(stored('9'));
  expect(await newer).toMatchObject({ status: 'stored' });
  await pipe.idle();
  expect(told).toEqual(['a unknown', 'b stored']);
});

test('what waited until its deadline is not stored, unless it was in doubt before', async () => {
  const { add, call } = setup();
  const doubted = add('a', { deadlineMs: 2_000 });
  const first = await call(0);
  const waiting = add('b', { deadlineMs: 100 });

  expect(await waiting).toMatchObject({ status: 'not-stored' });
  first.answer(unknown);
  (await call(1)).answer(unknown);
  expect(await doubted).toMatchObject({ status: 'unknown' });
});

test('of a refused batch only what is refused alone is refused', async () => {
  const { add, call } = setup();
  const all = [add('a'), add('b'), add('c')];
  (await call(0)).answer(refused);
  for (const [index, outcome] of [stored('0'), refused, stored('1')].entries()) (await call(index + 1)).answer(outcome);

  expect(await Promise.all(all)).toMatchObject([
    { status: 'stored', offset: '0' },
    { status: 'not-stored', error: { code: 'BUS_RECORD_TOO_LARGE' } },
    { status: 'stored', offset: '1' },
  ]);
});

test('what is refused whoever is in it, is refused at once', async () => {
  const { add, call, pipe } = setup();
  const all = [add('a'), add('b')];
  (await call(0)).answer(missing);

  expect(await Promise.all(all)).toMatchObject([
    { status: 'not-stored', error: { code: 'BUS_TOPIC_MISSING' } },
    { status: 'not-stored', error: { code: 'BUS_TOPIC_MISSING' } },
  ]);
  await pipe.idle();
});

test('a send that comes while a retry is waited for leaves the immediates of the process alone', async () => {
  const { add, call } = setup();
  const doubted = add('a');
  (await call(0)).answer(unknown);
  await new Promise((resolve) => setImmediate(resolve));

  const newer = add('b', { partition: 1 });

  await new Promise((resolve) => setImmediate(resolve));
  (await call(1)).answer(stored('0'));
  (await call(2)).answer(stored('0'));
  await Promise.all([doubted, newer]);
});
