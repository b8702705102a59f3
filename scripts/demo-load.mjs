/**
 * `npm run demo:load`: writes courses into Studio as fast as it answers, and compares two catalogues that follow: one by a scheduled job that
 * loads everything each time, one by events.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { portOf, urlOf } from './addresses.mjs';
import { UsageError, runCommand } from './command.mjs';
import { progressBar } from './demo/progress.mjs';
import { Staleness } from './demo/staleness.mjs';
import { root, setUp } from './setup.mjs';

const HELP = `npm run demo:load [-- --courses 10000]

Creates courses in Studio, then edits them, and prints how a catalogue kept in step by a scheduled full job compares with
one kept in step by events. Uses Studio and Catalog where they run (STUDIO_PORT, CATALOG_PORT), else starts both for the
time of the demonstration, on files that are removed afterwards.

  --courses <n>      courses to create, 10000
  --edits <n>        edits after that, a fifth of the courses; most of them of few courses, as in life
  --concurrency <n>  requests at once, 16
  --interval <s>     seconds between two runs of the job, 15
  --flaky <share>    share of its runs that fail half-way, 0
  --help             this text`;

const SETTLE_WITHIN_MS = 60_000;
const SUBJECTS = ['Physics', 'History', 'Chemistry', 'Law', 'Music', 'Statistics', 'Philosophy', 'Spanish'];

/** @typedef {{ studio: string, catalog: string, courses: number, edits: number, concurrency: number, intervalMs: number, flaky: number }} Options */

await runCommand(
  HELP,
  {
    options: {
      courses: { type: 'string', default: '10000' },
      edits: { type: 'string' },
      concurrency: { type: 'string', default: '16' },
      interval: { type: 'string', default: '15' },
      flaky: { type: 'string', default: '0' },
    },
  },
  ({ values }) => {
    const courses = integer('--courses', values.courses, 1);
    return run({
      studio: urlOf(portOf('STUDIO_PORT', 3001, { least: 1 })),
      catalog: urlOf(portOf('CATALOG_PORT', 3002, { least: 1 })),
      courses,
      edits: integer('--edits', values.edits ?? String(Math.ceil(courses / 5)), 0),
      concurrency: integer('--concurrency', values.concurrency, 1),
      intervalMs: integer('--interval', values.interval, 1) * 1_000,
      flaky: share('--flaky', values.flaky),
    });
  },
);

/** @param {string} name @param {string} text @param {number} least */
function integer(name, text, least) {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= least) return value;
  throw new UsageError(`${name} must be an integer of at least ${least}, got "${text}".`);
}

/** @param {string} name @param {string} text */
function share(name, text) {
  const value = Number(text);
  if (text !== '' && value >= 0 && value < 1) return value;
  throw new UsageError(`${name} must be a number from 0 to below 1, got "${text}".`);
}

/** @param {Options} options */
async function run(options) {
  await setUp();
  const samples = (await areReady([options.studio, options.catalog])) ? undefined : await startSamples();
  try {
    await compare(options);
  } finally {
    await samples?.stop();
  }
}

/** @param {Options} options */
async function compare({ studio, catalog, courses, edits, concurrency, intervalMs, flaky }) {
  // Needs an installed package, so not before the set-up.
  const [{ startFullJob }, { watchCatalog }] = await Promise.all([
    import('./demo/full-job.mjs'),
    import('./demo/catalog-feed.mjs'),
  ]);
  const byJob = new Staleness();
  const byEvents = new Staleness();
  const handledBefore = await handled(catalog);
  const feed = await watchCatalog({ catalog, shows: (key, time) => byEvents.shows(key, time) });
  const job = startFullJob({ studio, intervalMs, flaky, shows: (key, time) => byJob.shows(key, time) });
  /** @param {{ course_key: string, updated_at: string }} course */
  const edited = ({ course_key, updated_at }) => {
    byJob.edited(course_key, updated_at);
    byEvents.edited(course_key, updated_at);
  };

  const keys = Array.from({ length: courses }, (_, n) => `course-v1:Load+C${String(n).padStart(6, '0')}+2026`);
  try {
    await drive('creating courses', studio, keys, concurrency, edited);
    await drive(
      'editing courses',
      studio,
      Array.from({ length: edits }, () => mostlyTheFirst(keys)),
      concurrency,
      edited,
    );
    await settle(byEvents, byJob, feed, job.figures, intervalMs);

    const events = (await handled(catalog)) - handledBefore;
    printTable(courses + edits, { byJob, byEvents, job: job.figures, events });
  } finally {
    feed.stop();
    await job.stop();
  }
}

/**
 * Writes the courses through Studio's API, some at once.
 *
 * @param {string} what
 * @param {string} studio
 * @param {readonly string[]} keys
 * @param {number} concurrency
 * @param {(course: { course_key: string, updated_at: string }) => void} edited
 */
async function drive(what, studio, keys, concurrency, edited) {
  const bar = progressBar(what, keys.length);
  let next = 0;
  const author = async () => {
    for (let n = next++; n < keys.length; n = next++) {
      edited(await put(`${studio}/api/courses/${keys[n]}`, n));
      bar.add();
    }
  };
  await Promise.all(Array.from({ length: concurrency }, author)).finally(() => bar.end());
}

/** @param {string} url @param {number} n @returns {Promise<{ course_key: string, updated_at: string }>} */
async function put(url, n) {
  const response = await fetch(url, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      name: `${SUBJECTS[n % SUBJECTS.length]} ${n}`,
      start: new Date(Date.UTC(2026, 0, 1 + (n % 365))).toISOString(),
      end: new Date(Date.UTC(2027, 0, 1 + (n % 365))).toISOString(),
      pacing: n % 2 === 0 ? 'self' : 'instructor',
    }),
  });
  if (!response.ok) throw new Error(`Studio answered ${response.status}: ${await response.text()}`);
  return /** @type {any} */ (await response.json());
}

/** @param {readonly string[]} keys @returns {string} */
function mostlyTheFirst(keys) {
  return /** @type {string} */ (keys[Math.floor(Math.random() ** 3 * keys.length)]);
}

/**
 * Until both have what was written; the job as long as it may take to succeed once more.
 *
 * @param {Staleness} byEvents
 * @param {Staleness} byJob
 * @param {{ load: () => Promise<void> }} feed
 * @param {{ runs: number }} job
 * @param {number} intervalMs
 */
async function settle(byEvents, byJob, feed, job, intervalMs) {
  process.stderr.write('waiting until both catalogues have everything\n');
  await until(() => byEvents.missing === 0, SETTLE_WITHIN_MS);
  await feed.load();
  await until(() => byJob.missing === 0, SETTLE_WITHIN_MS + 4 * intervalMs);
}

/** @param {() => boolean} isSo @param {number} ms */
async function until(isSo, ms) {
  for (const deadline = Date.now() + ms; !isSo() && Date.now() < deadline;) await sleep(50);
}

/**
 * @param {number} edits
 * @param {{ byJob: Staleness, byEvents: Staleness, events: number, job: { runs: number, failed: number, requests: number, rows: number, bytes: number } }} results
 */
function printTable(edits, { byJob, byEvents, job, events }) {
  const count = (/** @type {number} */ n) => n.toLocaleString('en');
  const rows = [
    ['', 'full job', 'events'],
    ['stale for, half of the edits', duration(byJob.quantile(0.5)), duration(byEvents.quantile(0.5))],
    ['stale for, 99 of 100', duration(byJob.quantile(0.99)), duration(byEvents.quantile(0.99))],
    ['stale for, longest', duration(byJob.quantile(1)), duration(byEvents.quantile(1))],
    ['runs (failed)', `${count(job.runs)} (${count(job.failed)})`, '–'],
    ['requests to Studio', count(job.requests), '0'],
    ['rows moved', count(job.rows), count(events)],
    ['megabytes read from Studio', (job.bytes / 1e6).toFixed(1), '0'],
    ['states it never showed', count(byJob.skipped), count(byEvents.skipped)],
    ['edits missing at the end', count(byJob.missing), count(byEvents.missing)],
  ];
  console.log(`\n${count(edits)} edits`);
  for (const [what = '', before = '', after = ''] of rows) {
    console.log(`${what.padEnd(30)}${before.padStart(14)}${after.padStart(14)}`);
  }
}

/** @param {number | undefined} ms */
function duration(ms) {
  if (ms === undefined) return '–';
  return ms < 1_000 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`;
}

/** @param {string} catalog */
async function handled(catalog) {
  const stats = /** @type {any} */ (await (await fetch(`${catalog}/api/stats`)).json());
  return stats.handled;
}

/** @param {string[]} urls */
async function areReady(urls) {
  const answers = await Promise.all(
    urls.map((url) =>
      fetch(`${url}/health/ready`).then(
        (response) => response.ok,
        () => false,
      ),
    ),
  );
  return answers.every(Boolean);
}

/** `npm start` on files of its own; ends with this process, also when that is killed. */
async function startSamples() {
  console.log('Studio and Catalog are not running: starting both');
  const state = mkdtempSync(join(tmpdir(), 'event-bus-demo-'));
  const child = spawn(process.execPath, [join(root, 'scripts', 'start.mjs')], {
    env: { ...process.env, EVENT_BUS_PATH: state },
    detached: true, // Ctrl-C reaches us only
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const stop = async () => {
    child.kill('SIGTERM');
    await ended;
    rmSync(state, { recursive: true, force: true });
  };
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => void stop().then(() => process.exit(130)));
  const lines = createInterface({ input: /** @type {import('node:stream').Readable} */ (child.stdout) });
  const ready = new Promise((resolve) => lines.on('line', (line) => line.startsWith('ready') && resolve(true)));
  if (await Promise.race([ready, ended.then(() => false)])) return { stop };
  await stop();
  throw new Error('Studio and Catalog did not start.');
}
