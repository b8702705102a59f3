/** The embedded log beside raw LMDB: the same frames, the same batches, the same settings, taking turns in one process. */
import { encodeFrames } from '../libs/embedded/dist/frame.js';
import { freshFolder, runBenchmark } from './benchmark.mjs';
import { PARTITIONS, TOPIC, openLog, receiver } from './embedded/log.mjs';
import { openRaw } from './embedded/raw.mjs';
import {
  atLeast,
  atMost,
  decimals,
  inTurns,
  measured,
  median,
  percent,
  printGrowth,
  printTable,
  rateCells,
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

const READER = new URL('embedded/reader.mjs', import.meta.url);
const BATCH = 1_000;
const SHARED = [
  ['ce_specversion', '1.0'],
  ['content-type', 'application/avro'],
  ['ce_datacontenttype', 'application/avro'],
  ['ce_type', 'org.openedx.content_authoring.course.catalog_info.changed.v1'],
  ['ce_source', 'openedx/studio/web'],
  ['ce_minorversion', '0'],
  ['sourcehost', 'studio-7d9f'],
  ['sourcelib', '0.1.0'],
].map(([name, value]) => [name, Buffer.from(value)]);

const PARTS = { publish, consume, wake, idle, flat };
await runBenchmark(
  {
    name: 'embedded',
    title: 'the embedded log beside raw LMDB',
    parts: {
      publish: 'batches, single calls, and one call after the other; all flushed to disk',
      consume: 'a group reads all that is there, beside a scan',
      wake: 'publish here until received in another process',
      idle: 'what a subscriber costs while nothing happens',
      flat: 'what an event costs as backlog and keys grow',
    },
  },
  async ({ parts, quick }) => {
    for (const part of parts) await PARTS[part](quick);
  },
);

/**
 * About 500 bytes with headers, as an event on this bus has them. As the codec makes them: what differs from event to event (key, value,
 * id, time) has bytes of its own, the other headers are the same bytes in all.
 */
function makeRecords(count, keys = 1_000) {
  return Array.from({ length: count }, (_, i) => {
    const nth = String(i).padStart(8, '0');
    return {
      key: Buffer.from(`course-v1:edX+Demo+${i % keys}`),
      value: Buffer.alloc(80, nth),
      headers: [
        ...SHARED,
        ['ce_id', Buffer.from(`${nth}-eb32-11f1-8000-0242ac120002`)],
        ['ce_time', Buffer.from(`2026-01-02T03:04:05.${nth.slice(-6)}+00:00`)],
      ],
    };
  });
}

function inBatches(records) {
  return Array.from({ length: records.length / BATCH }, (_, i) => records.slice(i * BATCH, (i + 1) * BATCH));
}

async function publish(quick) {
  const log = await openLog(freshFolder());
  const raw = openRaw(freshFolder());
  const batches = inBatches(makeRecords(20 * BATCH));
  const frames = batches.map(encodeFrames);
  const each = (perBatch) => () =>
    measured(batches.length * BATCH, async () => {
      for (let i = 0; i < batches.length; i++) await perBatch(i);
    });
  // Two to warm up. A disk is moody: with ten rounds the ratio moved by a tenth from run to run.
  const rounds = quick ? 6 : 42;
  const results = await inTurns(rounds, {
    log: each((i) => log.publish(TOPIC, batches[i])),
    raw: each((i) => raw.append(frames[i], PARTITIONS)),
    singles: each((i) => Promise.all(batches[i].map((record) => log.publish(TOPIC, [record])))),
  });
  for (const each of Object.values(results)) each.splice(0, 2);
  const awaited = await inTurns(quick ? 50 : 500, {
    log: (i) => timed(() => log.publish(TOPIC, [batches[0][i]])),
    raw: (i) => timed(() => raw.append([frames[0][i]], PARTITIONS)),
  });

  const ofRaw = ratios(ratesOf(results.log), ratesOf(results.raw));
  console.log(`\npublish: ${(rounds - 2) * batches.length * BATCH} events of ${frames[0][0].length} bytes`);
  printTable(
    ['', 'the log', 'µs CPU each', 'raw LMDB', 'µs CPU each', 'of raw', ''],
    [
      [
        `batches of ${BATCH}`,
        ...rateCells(results.log),
        ...rateCells(results.raw),
        spread(ofRaw, decimals(2)),
        `${atLeast(median(ofRaw), 0.6)}; ${atLeast(median(ratesOf(results.log)), 100_000, thousands)}`,
      ],
      [`single calls, ${BATCH} in flight`, ...rateCells(results.singles)],
      [
        'one call after the other, ms',
        waits(awaited.log),
        '',
        waits(awaited.raw),
        '',
        ratioOfMedians(awaited.log, awaited.raw),
      ],
    ],
  );
  await raw.close();
  await log.close();
}

async function consume(quick) {
  const rows = [];
  const bare = ({ key }) => ({ key, value: Buffer.alloc(400, 'v'), headers: [] });
  const count = quick ? 20_000 : 200_000;
  for (const { kind, records } of [
    { kind: '10 headers', records: makeRecords(BATCH) },
    { kind: 'no headers', records: makeRecords(BATCH).map(bare) },
  ]) {
    const log = await openLog(freshFolder());
    const raw = openRaw(freshFolder());
    const frames = encodeFrames(records);
    for (let i = 0; i < count / BATCH; i++) {
      await log.publish(TOPIC, records);
      await raw.append(frames, PARTITIONS);
    }
    const costs = [];
    await consumed(log, 'warm', count);
    const rates = await inTurns(quick ? 2 : 7, {
      async subscribe(round) {
        const { ms, cost } = await consumed(log, `group-${round}`, count);
        costs.push(cost);
        return count / (ms / 1_000);
      },
      read: () => scanRate(log.read({ topic: TOPIC }), count),
      raw: () => scanRate(raw.scan(), count),
    });
    const ofRaw = (some) => spread(ratios(some, rates.raw), decimals(2));
    rows.push(
      [
        `subscribe, ${kind}`,
        spread(rates.subscribe, thousands),
        spread(rates.raw, thousands),
        ofRaw(rates.subscribe),
        spread(costs, decimals(2)),
        atLeast(median(rates.subscribe), 300_000, thousands),
      ],
      [`read, ${kind}`, spread(rates.read, thousands), '', ofRaw(rates.read), '', ''],
    );
    await raw.close();
    await log.close();
  }
  console.log(`\nconsume: ${count} events, a receiver that does nothing; joining the group included, but in the µs`);
  printTable(['', 'the log', 'raw scan', 'of raw', 'µs CPU each', ''], rows);
}

async function scanRate(values, count) {
  const stop = stopwatch();
  let seen = 0;
  for await (const value of values) seen += value === undefined ? 0 : 1;
  if (seen !== count) throw new Error(`${seen} of ${count} records were read`);
  return count / (stop().ms / 1_000);
}

/** `cost` is that of an event behind the first batch: to join a group costs the same before ten thousand events and before a million. */
async function consumed(log, group, count) {
  let seen = 0;
  let behindFirst;
  let first;
  let finish;
  const all = new Promise((resolve) => (finish = resolve));
  const stop = stopwatch();
  const subscription = await log.subscribe(
    { topics: [TOPIC], group },
    receiver(({ records }) => {
      behindFirst ??= stopwatch();
      first ??= records.length;
      seen += records.length;
      if (seen === count) finish(behindFirst().cpuUs / (count - first));
    }),
  );
  const cost = await all;
  const { ms } = stop();
  await subscription.stop();
  return { ms, cost };
}

async function wake(quick) {
  const [logPath, rawPath] = [freshFolder(), freshFolder()];
  const log = await openLog(logPath);
  const raw = openRaw(rawPath);
  const [logReader, rawReader] = [await startOther(READER, 'log', logPath), await startOther(READER, 'raw', rawPath)];
  const [record] = makeRecords(1);
  const [frame] = encodeFrames([record]);
  const delays = await inTurns(quick ? 50 : 500, {
    log: () => logReader.arrival(() => log.publish(TOPIC, [record])),
    raw: () => rawReader.arrival(async () => rawReader.tell(await raw.append([frame], PARTITIONS))),
  });
  console.log(
    '\nwake: publish here until another process has the record, flush included; raw: told through a pipe, by hand',
  );
  printTable(
    ['', 'the log', 'raw LMDB', 'of raw', ''],
    [
      [
        'ms',
        waits(delays.log),
        waits(delays.raw),
        ratioOfMedians(delays.log, delays.raw),
        atMost(median(delays.log), 5, (ms) => `${ms} ms`),
      ],
    ],
  );
  logReader.end();
  rawReader.end();
  await raw.close();
  await log.close();
}

async function idle(quick) {
  const path = freshFolder();
  const log = await openLog(path);
  await log.close();
  const other = await startOther(READER, 'idle', path, quick ? 3 : 20);
  const share = await other.heard();
  console.log(
    `\nidle: a subscriber of ${PARTITIONS} partitions takes ${percent(share)} of a core   ${atMost(share, 0.01, percent)}`,
  );
  other.end();
}

/** What one event costs, publishing and consuming, as the log and its keys grow: processor time, which other processes blur less. */
async function flat(quick) {
  console.log('\nflat: what an event costs, in µs of processor; consuming behind the first batch');
  printGrowth('backlog', ['publish', 'consume'], await ofBacklogs(quick ? [100_000] : [100_000, 1_000_000]));
  printGrowth('keys', ['publish', 'consume'], await ofKeys(quick ? [100, 10_000] : [100, 1_000, 10_000, 100_000]));
}

async function ofBacklogs(backlogs) {
  const log = await openLog(freshFolder());
  const batch = makeRecords(BATCH);
  await publishCosts(log, batch, 50);
  await consumeCosts(log, 'warm', 50 * BATCH);
  const worlds = [{ size: 10_000, ...(await smallBacklog(batch)) }];
  let stored = 50 * BATCH;
  for (const size of backlogs) {
    await publishCosts(log, batch, (size - stored) / BATCH);
    const publish = await publishCosts(log, batch, 50);
    stored = size + 50 * BATCH;
    worlds.push({ size, publish, consume: await consumeCosts(log, `group-${size}`, stored) });
  }
  await log.close();
  return worlds;
}

// A small backlog is made and read several times: a single pass takes a few hundredths of a second.
async function smallBacklog(batch) {
  const costs = { publish: [], consume: [] };
  for (let i = 0; i < 10; i++) {
    const log = await openLog(freshFolder());
    costs.publish.push(median(await publishCosts(log, batch, 10)));
    for (let j = 0; j < 3; j++) costs.consume.push((await consumed(log, `group-${j}`, 10 * BATCH)).cost);
    await log.close();
  }
  return costs;
}

async function ofKeys(sizes) {
  const worlds = [];
  for (const size of sizes) {
    const log = await openLog(freshFolder());
    const records = makeRecords(100_000, size);
    await publishCosts(log, records.slice(0, BATCH), 20);
    const publish = await publishCosts(log, records, 100);
    worlds.push({ size, publish, consume: await consumeCosts(log, 'group', 120 * BATCH) });
    await log.close();
  }
  return worlds;
}

/** One cost for each ten batches: a neighbour on the machine spoils one of them, not all. */
async function publishCosts(log, records, batches) {
  const costs = [];
  for (let i = 0; i < batches; i += 10) {
    const stop = stopwatch();
    for (let j = i; j < i + 10; j++) {
      const at = (j * BATCH) % records.length;
      await log.publish(TOPIC, records.slice(at, at + BATCH));
    }
    costs.push(stop().cpuUs / (10 * BATCH));
  }
  return costs;
}

async function consumeCosts(log, group, count) {
  const costs = [];
  for (let i = 0; i < 5; i++) costs.push((await consumed(log, `${group}-${i}`, count)).cost);
  return costs;
}
