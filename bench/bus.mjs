/**
 * The whole bus on the embedded log: what one event costs from `send` to the handler, Avro written and read, and how that moves with
 * backlog, keys and handlers. Trust the ratios.
 *
 *   npm run bench -- bus, or after a build: node bench/bus.mjs [send] [consume] [latency] [flat]
 */
import { fork } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createBus } from '../libs/core/dist/index.js';
import { embedded } from '../libs/embedded/dist/index.js';
import { COURSE_CATALOG_INFO_CHANGED } from '../libs/openedx/dist/index.js';

const TOPIC = 'course-catalog-info-changed';
const ROUTES = { [COURSE_CATALOG_INFO_CHANGED.type]: { [TOPIC]: { keyField: 'catalog_info.course_key' } } };
const parts = process.argv.slice(2).filter((arg) => !arg.startsWith('-'));
const asked = (part) => parts.length === 0 || parts.includes(part);

const directories = [];
const fresh = () =>
  directories[directories.push(mkdtempSync(join(process.env.BENCH_DIR ?? tmpdir(), 'event-bus-bench-'))) - 1];
const percentile = (numbers, p) =>
  numbers.toSorted((a, b) => a - b)[Math.min(numbers.length - 1, Math.floor(numbers.length * p))];
const k = (perSecond) => `${(perSecond / 1_000).toFixed(1)} k/s`.padStart(10);

function course(n) {
  return {
    catalog_info: {
      course_key: `course-v1:edX+Demo+${n}`,
      name: `A course about something, number ${n}`,
      schedule_data: { start: '2026-01-02T03:04:05.678901+00:00', pacing: 'self' },
      hidden: false,
      invitation_only: false,
    },
  };
}

const makeBus = (path, options = {}) =>
  createBus({
    service: 'bench',
    transport: embedded({ path }),
    routes: ROUTES,
    events: [COURSE_CATALOG_INFO_CHANGED],
    ...options,
  });

/** Sends `count` events over `keys` keys, `inFlight` at a time. Answers events per second and processor time per event. */
async function send(bus, count, keys, inFlight = 1_000) {
  const cpu = process.cpuUsage();
  const startedAt = performance.now();
  for (let n = 0; n < count; n += inFlight) {
    await Promise.all(
      Array.from({ length: Math.min(inFlight, count - n) }, (_, i) =>
        bus.send(COURSE_CATALOG_INFO_CHANGED, course((n + i) % keys)),
      ),
    );
  }
  return rates(count, startedAt, cpu);
}

/** Handles everything that is in the log, in a group of its own. */
async function consume(path, count, { handlers = 1, handle = async () => {} } = {}) {
  const bus = makeBus(path);
  let handled = 0;
  let finish;
  const all = new Promise((resolve) => (finish = resolve));
  const group = `bench-${Math.random().toString(36).slice(2)}`;
  for (let h = 0; h < handlers; h++) {
    bus.handle(COURSE_CATALOG_INFO_CHANGED, { id: `handler-${h}`, group }, async (data, context) => {
      await handle(data, context);
      if (++handled === count * handlers) finish();
    });
  }
  const cpu = process.cpuUsage();
  const startedAt = performance.now();
  await bus.start();
  await all;
  const result = rates(count * handlers, startedAt, cpu);
  await bus.close();
  return result;
}

function rates(count, startedAt, cpu) {
  const ms = performance.now() - startedAt;
  const { user, system } = process.cpuUsage(cpu);
  return { perSecond: (count / ms) * 1_000, cpuUs: (user + system) / count };
}

/** The median run of several: one of them always meets something else on the machine. */
async function middle(runs, run) {
  const results = [];
  for (let i = 0; i < runs; i++) results.push(await run());
  return results.toSorted((a, b) => a.perSecond - b.perSecond)[runs >> 1];
}

async function filled(count, keys) {
  const path = fresh();
  const bus = makeBus(path);
  await bus.open();
  await send(bus, count, keys);
  await bus.close();
  return path;
}

const line = (what, { perSecond, cpuUs }, ratio) =>
  console.log(
    `  ${what.padEnd(44)}${k(perSecond)}   ${cpuUs.toFixed(1).padStart(6)} µs cpu${ratio === undefined ? '' : `   ${ratio.toFixed(2)}x`}`,
  );

if (process.send !== undefined) await child();
else await main();

async function main() {
  try {
    if (asked('send')) await benchSend();
    if (asked('consume')) await benchConsume();
    if (asked('latency')) await benchLatency();
    if (asked('flat')) await benchFlat();
  } finally {
    for (const path of directories) rmSync(path, { recursive: true, force: true });
  }
}

async function benchSend() {
  console.log('send: validated, encoded, flushed to disk');
  const bus = makeBus(fresh());
  await bus.open();
  await send(bus, 20_000, 1_000);
  line('1 000 concurrent sends', await middle(5, () => send(bus, 30_000, 1_000)));
  line('100 concurrent sends', await middle(3, () => send(bus, 10_000, 1_000, 100)));
  line('one awaited at a time', await middle(3, () => send(bus, 500, 1_000, 1)));
  await bus.close();
}

async function benchConsume() {
  console.log('consume: read, decoded, handled by a handler that does nothing');
  const path = await filled(100_000, 1_000);
  await consume(path, 100_000);
  line('100 000 events, 1 000 keys', await middle(5, () => consume(path, 100_000)));
}

/** Two processes: send here, handle there. */
async function benchLatency() {
  console.log('send in one process to handler in another, 200 events a second');
  const path = fresh();
  const bus = makeBus(path);
  await bus.open();
  const other = fork(fileURLToPath(import.meta.url), [path], { stdio: 'inherit' });
  await new Promise((resolve) => other.once('message', resolve));
  const sentAt = new Map();
  const delays = [];
  let seen;
  other.on('message', ({ id, at }) => {
    delays.push(at - sentAt.get(id));
    if (delays.length === 1_000) seen();
  });
  const all = new Promise((resolve) => (seen = resolve));
  for (let n = 0; n < 1_000; n++) {
    const at = performance.timeOrigin + performance.now();
    void bus.send(COURSE_CATALOG_INFO_CHANGED, course(n), { headers: { bench: String(n) } });
    sentAt.set(String(n), at);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await all;
  other.disconnect();
  await bus.close();
  console.log(
    `  p50 ${percentile(delays, 0.5).toFixed(2)} ms, p99 ${percentile(delays, 0.99).toFixed(2)} ms, flush included`,
  );
}

async function child() {
  const bus = makeBus(process.argv[2]);
  bus.handle(COURSE_CATALOG_INFO_CHANGED, { id: 'latency' }, (_, context) => {
    process.send({ id: context.headers.bench, at: performance.timeOrigin + performance.now() });
  });
  await bus.start();
  process.send('ready');
  process.once('disconnect', () => void bus.close());
}

async function benchFlat() {
  console.log('cost of an event as the world grows: ratio to the smallest of its row, processor time');
  const row = async (what, sizes, measure) => {
    let first;
    for (const size of sizes) {
      const result = await measure(size);
      first ??= result.cpuUs;
      line(`${what} ${size.toLocaleString('en')}`, result, result.cpuUs / first);
    }
  };
  await row('backlog', [10_000, 100_000, 1_000_000], async (backlog) => consume(await filled(backlog, 1_000), backlog));
  await row('keys', [100, 1_000, 10_000, 100_000], async (keys) => {
    const path = await filled(200_000, keys);
    return middle(3, () => consume(path, 200_000));
  });
  const path = await filled(20_000, 1_000);
  await row('handlers (per delivery)', [1, 5, 50], (handlers) => middle(3, () => consume(path, 20_000, { handlers })));
}
