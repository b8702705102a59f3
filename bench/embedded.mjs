/**
 * The embedded log beside raw LMDB: the same frames, the same batches, the same settings, one process, taking turns. Trust the ratios.
 *
 *   npm run bench -- embedded, or after a build: node bench/embedded.mjs [publish] [scan] [wake] [idle] [flat]
 */
import { fork } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { open } from 'lmdb';
import { embedded } from '../libs/embedded/dist/index.js';
import { encodeFrames } from '../libs/embedded/dist/frame.js';

const PARTITIONS = 8;
const BATCH = 1_000;
// Two to warm up. A disk is moody: with ten rounds the ratio moved by a tenth from run to run.
const ROUNDS = 42;
const HEADERS = [
  'ce_id',
  'ce_type',
  'ce_minorversion',
  'ce_source',
  'ce_sourcehost',
  'ce_time',
  'ce_sourcelib',
  'content-type',
];
const VALUES = [
  '0f6d7f4c-0000-11f0-8000-0242ac120002',
  'org.openedx.content_authoring.course.catalog_info.changed.v1',
  '0',
  'openedx/studio/web',
  'studio-7d9f',
  '2026-01-02T03:04:05.678901+00:00',
  '0.1.0',
  'application/avro',
];

const directories = [];
const fresh = () =>
  directories[directories.push(mkdtempSync(join(process.env.BENCH_DIR ?? tmpdir(), 'event-bus-bench-'))) - 1];
const now = () => Number(process.hrtime.bigint()) / 1e6;
const median = (numbers) => [...numbers].sort((a, b) => a - b)[numbers.length >> 1];
const percentile = (numbers, p) =>
  [...numbers].sort((a, b) => a - b)[Math.min(numbers.length - 1, Math.floor(numbers.length * p))];
const perSecond = (count, ms) => Math.round((count / ms) * 1_000);
const text = (rate) => `${Math.round(rate / 1_000)} k/s`.padStart(10);

/** About 400 bytes with headers, as an event on this bus has them. */
function makeRecords(count, keys) {
  const headers = HEADERS.map((name, i) => [name, Buffer.from(VALUES[i])]);
  const value = Buffer.alloc(80, 'v');
  return Array.from({ length: count }, (_, i) => ({
    key: Buffer.from(`course-v1:edX+Demo+${i % keys}`),
    value,
    headers,
  }));
}

async function opened(options) {
  const log = embedded({ partitions: PARTITIONS, ...options });
  await log.open();
  await log.ensureTopic('course');
  return log;
}

function openRaw(path) {
  const root = open({ path, overlappingSync: false, noSubdir: false, maxDbs: 16, mapSize: 16 * 2 ** 20 });
  const keyEncoder = {
    writeKey(key, target, at) {
      target.writeUInt32BE(1, at);
      target.writeUInt32BE(key.partition, at + 4);
      target.writeUInt32BE(0, at + 8);
      return target.writeUInt32BE(key.offset, at + 12);
    },
    readKey: (source, at) => source.readUInt32BE(at + 12),
  };
  const encoder = {
    encode: (bytes) => bytes,
    decode(bytes, length) {
      const copy = Buffer.allocUnsafe(length);
      copy.set(bytes.subarray(0, length));
      return copy;
    },
  };
  return { root, log: root.openDB({ name: 'log', keyEncoder, encoder }) };
}

async function publishRate() {
  const ours = await opened({ path: fresh() });
  const raw = openRaw(fresh());
  const records = makeRecords(BATCH, 1_000);
  const frames = encodeFrames(records);
  const next = Array.from({ length: PARTITIONS }, () => 0);
  const rates = { ours: [], raw: [] };
  for (let round = 0; round < ROUNDS; round++) {
    let start = now();
    for (let i = 0; i < 20; i++) await ours.publish('course', records);
    rates.ours.push(perSecond(20 * BATCH, now() - start));
    start = now();
    for (let i = 0; i < 20; i++) {
      await raw.root.transaction(() => {
        for (let j = 0; j < BATCH; j++)
          void raw.log.put({ partition: j % PARTITIONS, offset: next[j % PARTITIONS]++ }, frames[j]);
      });
    }
    rates.raw.push(perSecond(20 * BATCH, now() - start));
  }
  for (const each of [rates.ours, rates.raw]) each.splice(0, 2);
  const ratio = median(rates.ours.map((rate, i) => rate / rates.raw[i]));
  console.log(
    `publish, ${BATCH} a batch, frames of ${frames[0].length} bytes   ours ${text(median(rates.ours))}   raw ${text(median(rates.raw))}   ratio ${ratio.toFixed(2)}   (want >= 0.60 and >= 100 k/s)`,
  );

  const singles = [];
  for (let i = 0; i < 500; i++) {
    const start = now();
    await ours.publish('course', [records[i]]);
    singles.push(now() - start);
  }
  console.log(
    `publish, one awaited at a time            p50 ${percentile(singles, 0.5).toFixed(2)} ms   p99 ${percentile(singles, 0.99).toFixed(2)} ms`,
  );
  const start = now();
  for (let i = 0; i < 20; i++) await Promise.all(records.map((record) => ours.publish('course', [record])));
  console.log(`publish, single calls, 1 000 in flight       ${text(perSecond(20 * BATCH, now() - start))}`);
  await raw.root.close();
  await ours.close();
}

/** `cost` is that of an event behind the first batch: to join a group costs the same before ten thousand events and before a million. */
async function consumed(log, group, count) {
  let seen = 0;
  let before;
  let first;
  let done;
  const all = new Promise((resolve) => (done = resolve));
  const start = now();
  const subscription = await log.subscribe(
    { topics: ['course'], group },
    {
      assigned() {},
      receive({ records }) {
        before ??= process.cpuUsage();
        first ??= records.length;
        seen += records.length;
        if (seen === count) done(spent(before) / (count - first));
      },
      revoking: async () => {},
      lost() {},
      trouble() {},
    },
  );
  const cost = await all;
  const ms = now() - start;
  await subscription.stop();
  return { ms, cost };
}

async function scanRate() {
  await scanRateOf('events, 8 headers', makeRecords(BATCH, 1_000));
  await scanRateOf(
    'plain, no headers',
    makeRecords(BATCH, 1_000).map(({ key }) => ({ key, value: Buffer.alloc(400, 'v'), headers: [] })),
  );
}

async function scanRateOf(kind, records) {
  const count = 200_000;
  const log = await opened({ path: fresh() });
  const raw = openRaw(fresh());
  const frames = encodeFrames(records);
  for (let i = 0; i < count / BATCH; i++) {
    await log.publish('course', records);
    const put = (frame, j) =>
      void raw.log.put({ partition: j % PARTITIONS, offset: (i * BATCH + j - (j % PARTITIONS)) / PARTITIONS }, frame);
    await raw.root.transaction(() => frames.forEach(put));
  }
  const rates = { subscribe: [], read: [], raw: [] };
  const costs = [];
  for (let round = 0; round < 7; round++) {
    const { ms, cost } = await consumed(log, `group-${round}`, count);
    rates.subscribe.push(perSecond(count, ms));
    costs.push(cost);
    let start = now();
    let seen = 0;
    for await (const record of log.read({ topic: 'course' })) seen += record.partition >= 0 ? 1 : 0;
    rates.read.push(perSecond(seen, now() - start));
    start = now();
    seen = 0;
    for (const { value } of raw.log.getRange({})) seen += value.length > 0 ? 1 : 0;
    rates.raw.push(perSecond(seen, now() - start));
  }
  const best = (numbers) => text(Math.max(...numbers));
  console.log(
    `subscribe, ${kind}, empty receiver   median ${text(median(rates.subscribe))}   best ${best(rates.subscribe)}   ${median(costs).toFixed(2)} us of processor each   raw scan, best ${best(rates.raw)}   (want >= 300 k/s)`,
  );
  console.log(`read, ${kind}                        median ${text(median(rates.read))}   best ${best(rates.read)}`);
  await raw.root.close();
  await log.close();
}

const reader = (path, task) => fork(fileURLToPath(import.meta.url), ['reader', path, task], { stdio: 'inherit' });
const heard = (child) => new Promise((resolve) => child.once('message', resolve));

async function wakeUp() {
  const path = fresh();
  const log = await opened({ path });
  const child = reader(path, 'wake');
  await heard(child);
  const values = [];
  for (let i = 0; i < 500; i++) {
    const answer = heard(child);
    const sent = now();
    await log.publish('course', [{ key: Buffer.from(`k${i}`), value: Buffer.from('v'), headers: [] }]);
    values.push((await answer) - sent);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  console.log(
    `publish to another process, flush included  p50 ${percentile(values, 0.5).toFixed(2)} ms   p99 ${percentile(values, 0.99).toFixed(2)} ms   (want p50 <= 5 ms)`,
  );
  child.disconnect();
  await log.close();
}

async function idle() {
  const path = fresh();
  const log = await opened({ path });
  await log.close();
  const child = reader(path, 'idle');
  const share = await heard(child);
  console.log(`an idle subscriber, 8 partitions            ${(share * 100).toFixed(2)} % of one core   (want <= 1 %)`);
  child.disconnect();
}

/** What one event costs, publishing and consuming, as the log and its keys grow: processor time, which other processes do not blur. */
async function flat() {
  const rows = [];
  const log = await opened({ path: fresh() });
  const batch = makeRecords(BATCH, 1_000);
  await publishCost(log, batch, 50);
  await medianConsumeCost(log, 'warm', 50 * BATCH);
  let stored = 50 * BATCH;
  for (const backlog of [100_000, 1_000_000]) {
    if (stored === 50 * BATCH) rows.push(['backlog 10000', ...(await smallBacklog(batch))]);
    await publishCost(log, batch, (backlog - stored) / BATCH);
    const publish = await publishCost(log, batch, 50);
    stored = backlog + 50 * BATCH;
    rows.push([`backlog ${backlog}`, publish, await medianConsumeCost(log, `group-${backlog}`, stored)]);
  }
  await log.close();
  for (const keys of [100, 1_000, 10_000, 100_000]) {
    const other = await opened({ path: fresh() });
    const all = makeRecords(100_000, keys);
    await publishCost(other, all.slice(0, BATCH), 20);
    const publish = await publishCost(other, all, 100);
    rows.push([`keys ${keys}`, publish, await medianConsumeCost(other, 'group', 120 * BATCH)]);
    await other.close();
  }
  console.log('\ncost of one event, in microseconds of processor   publish   consume');
  for (const [name, publish, consume] of rows) {
    console.log(`${name.padEnd(49)} ${publish.toFixed(2).padStart(7)} ${consume.toFixed(2).padStart(9)}`);
  }
  const spread = (part, column) => {
    const values = rows.filter(([name]) => name.startsWith(part)).map((row) => row[column]);
    return (Math.max(...values) / Math.min(...values)).toFixed(2);
  };
  console.log(
    `spread over backlog ${spread('backlog', 1)} / ${spread('backlog', 2)}, over keys ${spread('keys', 1)} / ${spread('keys', 2)}   (want <= 1.3)`,
  );
}

// A small backlog is made and read several times: a single pass takes a few hundredths of a second.
async function smallBacklog(batch) {
  const publish = [];
  const consume = [];
  for (let i = 0; i < 10; i++) {
    const log = await opened({ path: fresh() });
    publish.push(await publishCost(log, batch, 10));
    for (let j = 0; j < 3; j++) consume.push((await consumed(log, `group-${j}`, 10 * BATCH)).cost);
    await log.close();
  }
  return [median(publish), median(consume)];
}

/** The median over tens of batches: a neighbour on the machine costs one of them, not all. */
async function publishCost(log, records, batches) {
  const costs = [];
  for (let i = 0; i < batches; i += 10) {
    const before = process.cpuUsage();
    for (let j = i; j < i + 10; j++) {
      const at = (j * BATCH) % records.length;
      await log.publish('course', records.slice(at, at + BATCH));
    }
    costs.push(spent(before) / (10 * BATCH));
  }
  return median(costs);
}

async function medianConsumeCost(log, group, count) {
  const costs = [];
  for (let i = 0; i < 5; i++) costs.push((await consumed(log, `${group}-${i}`, count)).cost);
  return median(costs);
}

function spent(before) {
  const { user, system } = process.cpuUsage(before);
  return user + system;
}

async function beReader(path, task) {
  const log = await opened({ path });
  await log.subscribe(
    { topics: ['course'], group: 'catalog', from: 'latest' },
    {
      assigned() {},
      receive: ({ records }) => records.length > 0 && task === 'wake' && void process.send(now()),
      revoking: async () => {},
      lost() {},
      trouble() {},
    },
  );
  process.on('disconnect', () => log.close());
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  if (task === 'wake') return process.send('ready');
  const before = process.cpuUsage();
  const start = now();
  await new Promise((resolve) => setTimeout(resolve, 10_000));
  const { user, system } = process.cpuUsage(before);
  process.send((user + system) / 1_000 / (now() - start));
}

if (process.argv[2] === 'reader') await beReader(process.argv[3], process.argv[4]);
else {
  const parts = { publish: publishRate, scan: scanRate, wake: wakeUp, idle, flat };
  const wanted = process.argv.slice(2);
  try {
    for (const [name, part] of Object.entries(parts)) if (wanted.length === 0 || wanted.includes(name)) await part();
  } finally {
    for (const directory of directories) rmSync(directory, { recursive: true, force: true });
  }
}
