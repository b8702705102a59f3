/**
 * The whole bus on the embedded log: what one event costs from `send` to the handler, Avro written and read, beside the log by itself with
 * the same records; and how that moves with backlog, keys and handlers.
 */
import { embedded } from '../libs/embedded/dist/index.js';
import { freshFolder, runBenchmark } from './benchmark.mjs';
import { TOPIC, busOn, course, event } from './bus/course.mjs';
import { receiver } from './embedded/log.mjs';
import {
  atLeast,
  decimals,
  inTurns,
  measured,
  median,
  printGrowth,
  printTable,
  rateCells,
  rateOf,
  ratesOf,
  ratioOfMedians,
  ratios,
  spread,
  stopwatch,
  thousands,
  timed,
  waits,
} from './figures.mjs';
import { startOther } from './other-process.mjs';

const READER = new URL('bus/reader.mjs', import.meta.url);
const BATCH = 1_000;

const PARTS = { send, consume, latency, flat };
await runBenchmark(
  {
    name: 'bus',
    title: 'the whole bus on the embedded log, beside the log by itself',
    parts: {
      send: 'validated, encoded, flushed to disk',
      consume: 'read, decoded, handled by a handler that does nothing',
      latency: 'send in one process until the handler in another',
      flat: 'what an event costs as backlog, keys and handlers grow',
    },
  },
  async ({ parts, quick }) => {
    for (const part of parts) await PARTS[part](quick);
  },
);

async function send(quick) {
  const count = quick ? 5_000 : 30_000;
  const bus = busOn(freshFolder());
  await bus.open();
  const path = freshFolder();
  await fill(path, count, 1_000);
  const log = await openLog(freshFolder());
  const records = await recordsOf(path);
  await sendAll(bus, 20_000, 1_000);
  await log.publish(TOPIC, records);

  const {
    bus: ours,
    few,
    log: alone,
  } = await inTurns(quick ? 2 : 7, {
    bus: () => measured(count, () => sendAll(bus, count, 1_000)),
    few: () => measured(count, () => sendAll(bus, count, 1_000, 100)),
    log: () =>
      measured(count, async () => {
        for (let i = 0; i < count; i += BATCH) await log.publish(TOPIC, records.slice(i, i + BATCH));
      }),
  });
  const awaited = await inTurns(quick ? 50 : 500, {
    bus: (n) => timed(() => bus.send(event, course(n))),
    log: (n) => timed(() => log.publish(TOPIC, [records[n]])),
  });

  console.log(
    `\nsend: ${count} events over 1000 keys, validated, encoded, flushed to disk; the log: the same records in batches`,
  );
  printTable(
    ['', 'the bus', 'µs CPU each', 'the log alone', 'µs CPU each', 'of the log'],
    [
      [
        '1000 sends in flight',
        ...rateCells(ours),
        ...rateCells(alone),
        spread(ratios(ratesOf(ours), ratesOf(alone)), decimals(2)),
      ],
      ['100 sends in flight', ...rateCells(few), '', '', ''],
      [
        'one awaited at a time, ms',
        waits(awaited.bus),
        '',
        waits(awaited.log),
        '',
        ratioOfMedians(awaited.bus, awaited.log),
      ],
    ],
  );
  await log.close();
  await bus.close();
}

async function consume(quick) {
  const count = quick ? 10_000 : 100_000;
  const path = freshFolder();
  await fill(path, count, 1_000);
  const log = await openLog(path);
  await consumed(path, count);
  await received(log, 'warm', count);

  const { bus, log: alone } = await inTurns(quick ? 2 : 7, {
    bus: () => consumed(path, count),
    log: (round) => received(log, `alone-${round}`, count),
  });

  console.log(
    `\nconsume: ${count} events over 1000 keys, behind the first ${BATCH}; the log: a receiver that does nothing`,
  );
  printTable(
    ['', 'the bus', 'µs CPU each', 'the log alone', 'µs CPU each', 'of the log', ''],
    [
      [
        'a handler that does nothing',
        ...rateCells(bus),
        ...rateCells(alone),
        spread(ratios(ratesOf(bus), ratesOf(alone)), decimals(2)),
        atLeast(median(ratesOf(bus)), 80_000, thousands),
      ],
    ],
  );
  await log.close();
}

async function latency(quick) {
  const [busPath, logPath] = [freshFolder(), freshFolder()];
  const bus = busOn(busPath);
  await bus.open();
  await bus.send(event, course(0));
  const [record] = await recordsOf(busPath);
  const log = await openLog(logPath);
  const readers = { bus: await startOther(READER, 'bus', busPath), log: await startOther(READER, 'log', logPath) };
  const delays = await inTurns(quick ? 50 : 500, {
    bus: (n) => readers.bus.arrival(() => bus.send(event, course(n))),
    log: () => readers.log.arrival(() => log.publish(TOPIC, [record])),
  });
  console.log(
    '\nlatency: send in one process until the handler in another, flush included; the log: publish until received',
  );
  printTable(
    ['', 'the bus', 'the log alone', 'of the log'],
    [['ms', waits(delays.bus), waits(delays.log), ratioOfMedians(delays.bus, delays.log)]],
  );
  for (const reader of Object.values(readers)) reader.end();
  await log.close();
  await bus.close();
}

async function flat(quick) {
  const rounds = quick ? 2 : 5;
  await fill(freshFolder(), 20_000, 1_000); // warms up
  console.log(
    '\nflat: what an event costs, in µs of processor; handling behind the first thousand, all sizes in turns',
  );

  const backlogs = quick ? [10_000, 50_000] : [10_000, 100_000, 1_000_000];
  const ofBacklogs = await worldsOf(backlogs, (count) => ({ count }));
  await handleInTurns(rounds, ofBacklogs);
  printGrowth('backlog', ['send', 'handle'], ofBacklogs);

  const keys = quick ? [100, 10_000] : [100, 1_000, 10_000, 100_000];
  const ofKeys = await worldsOf(keys, (keys) => ({ count: quick ? 20_000 : 200_000, keys }));
  await handleInTurns(rounds, ofKeys);
  printGrowth('keys', ['send', 'handle'], ofKeys);

  const ofHandlers = await worldsOf([1, 5, 50], (handlers) => ({ count: 20_000, handlers }));
  await handleInTurns(rounds, ofHandlers);
  printGrowth('handlers, each delivery', ['handle'], ofHandlers, { fromFirst: true });
}

/** A filled log for each size, and what the last sends to it cost. */
async function worldsOf(sizes, optionsOf) {
  const worlds = [];
  for (const size of sizes) {
    const world = { size, path: freshFolder(), keys: 1_000, handlers: 1, handle: [], ...optionsOf(size) };
    worlds.push({ ...world, send: await fill(world.path, world.count, world.keys) });
  }
  return worlds;
}

/** Small worlds are read more than once a turn: a single pass of ten thousand takes a tenth of a second. */
async function handleInTurns(rounds, worlds) {
  await consumed(worlds[0].path, worlds[0].count); // warms up
  for (let round = 0; round < rounds; round++) {
    for (const { path, count, handlers, handle } of worlds) {
      const passes = Math.max(1, Math.round(100_000 / (count * handlers)));
      for (let pass = 0; pass < passes; pass++) handle.push((await consumed(path, count, handlers)).cpuUs);
    }
  }
}

// ---- the bus

/** Fills a log. Answers what a send cost, in µs of processor, for each of the last twenty thousands. */
async function fill(path, count, keys) {
  const bus = busOn(path);
  await bus.open();
  const costs = [];
  for (let n = 0; n < count; n += BATCH) {
    const stop = stopwatch();
    await sendAll(bus, BATCH, keys, BATCH, n);
    costs.push(stop().cpuUs / BATCH);
  }
  await bus.close();
  return costs.slice(-20);
}

/** Sends `count` events over `keys` keys, `inFlight` at a time. */
async function sendAll(bus, count, keys, inFlight = 1_000, from = 0) {
  for (let n = 0; n < count; n += inFlight) {
    const some = Math.min(inFlight, count - n);
    await Promise.all(Array.from({ length: some }, (_, i) => bus.send(event, course((from + n + i) % keys))));
  }
}

/** Handles everything that is in the log, in a group of its own. What is measured begins behind the first batch: joining is no part of it. */
async function consumed(path, count, handlers = 1) {
  const bus = busOn(path);
  const group = `bench-${Math.random().toString(36).slice(2)}`;
  const { handled, done } = behindFirst(count * handlers);
  for (let i = 0; i < handlers; i++) bus.handle(event, { id: `handler-${i}`, group }, () => handled(1));
  await bus.start();
  const result = await done;
  await bus.close();
  return result;
}

// ---- the log by itself

async function openLog(path) {
  const log = embedded({ path });
  await log.open();
  await log.ensureTopic(TOPIC);
  return log;
}

/** What is in a log, as the codec handed it over: headers that say the same in all records are the same bytes in all. */
async function recordsOf(path) {
  const log = await openLog(path);
  const same = new Map();
  const shared = ([name, bytes]) => {
    const text = `${name}: ${bytes}`;
    if (!same.has(text)) same.set(text, [name, bytes]);
    return same.get(text);
  };
  const records = [];
  for await (const { key, value, headers } of log.read({ topic: TOPIC }))
    records.push({ key, value, headers: headers.map(shared) });
  await log.close();
  return records;
}

async function received(log, group, count) {
  const { handled, done } = behindFirst(count);
  const subscription = await log.subscribe(
    { topics: [TOPIC], group },
    receiver(({ records }) => handled(records.length)),
  );
  const result = await done;
  await subscription.stop();
  return result;
}

// ---- figures

/** `done` resolves to the rate and cost of `count` deliveries but the first thousand. */
function behindFirst(count) {
  let seen = 0;
  let measuredFrom;
  let stop;
  let finish;
  const done = new Promise((resolve) => (finish = resolve));
  const handled = (some) => {
    seen += some;
    if (stop === undefined && seen >= BATCH) [stop, measuredFrom] = [stopwatch(), seen];
    else if (seen === count) finish(rateOf(count - measuredFrom, stop()));
  };
  return { handled, done };
}
