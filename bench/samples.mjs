/** Studio and Catalog as their users have them: how soon they are there, how soon a change is seen, and what it costs to wait for one. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { root } from '../scripts/setup.mjs';
import { freshFolder, runBenchmark } from './benchmark.mjs';
import { atMost, decimals, inTurns, median, percent, printTable, quantile, spread, timed } from './figures.mjs';

const PARTS = { seen, idle, start, first };
await runBenchmark(
  {
    name: 'samples',
    title: 'Studio and Catalog on the embedded log',
    parts: {
      seen: 'from the PUT to Studio until Catalog answers with it',
      idle: 'what the services cost while nothing happens',
      start: 'npm start until ready, nothing to install or compile',
      first: 'npm start until ready in a fresh clone; installs from the registry',
    },
  },
  async ({ parts, quick }) => {
    for (const part of parts) await PARTS[part](quick);
  },
);

async function seen(quick) {
  const samples = await startSamples();
  const count = quick ? 20 : 200;
  const fromPut = [];
  const fromAnswer = [];
  await change(samples, 0); // warms up
  for (let n = 1; n <= count; n++) {
    const { answered, shown } = await change(samples, n);
    fromPut.push(shown);
    fromAnswer.push(shown - answered);
    await sleep(20);
  }
  await samples.stop();

  const ms = decimals(2);
  console.log(`\nseen: ${count} changes of 20 courses, one after the other; Catalog is asked until it has the change`);
  printTable(
    ['ms', 'median', 'p99', 'longest', ''],
    [
      [
        'from the PUT',
        ms(median(fromPut)),
        ms(quantile(fromPut, 0.99)),
        ms(Math.max(...fromPut)),
        `${atMost(median(fromPut), 10)}; longest ${atMost(Math.max(...fromPut), 100)}`,
      ],
      ['from its answer', ms(median(fromAnswer)), ms(quantile(fromAnswer, 0.99)), ms(Math.max(...fromAnswer))],
    ],
  );
}

/** Milliseconds from the PUT until its answer, and until Catalog shows it. */
async function change({ studio, catalog }, n) {
  const key = `course-v1:Bench+C${n % 20}+2026`;
  const body = JSON.stringify({ name: `Course ${n}`, start: '2026-02-01T00:00:00Z', pacing: 'self' });
  const startedAt = performance.now();
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch(`${studio.url}/api/courses/${key}`, { method: 'PUT', headers, body });
  const { updated_at } = await answer.json();
  if (!answer.ok) throw new Error(`Studio answered ${answer.status}`);
  const answered = performance.now() - startedAt;
  for (;;) {
    const { eventTime } = await (await fetch(`${catalog.url}/api/courses/${key}`)).json();
    const shown = performance.now() - startedAt;
    if (eventTime === updated_at) return { answered, shown };
    if (shown > 30_000) throw new Error(`Catalog did not show ${key} within 30 s`);
  }
}

async function idle(quick) {
  const samples = await startSamples();
  await sleep(3_000);
  const shares = { studio: [], catalog: [] };
  for (let part = 0; part < (quick ? 2 : 10); part++) {
    const before = await costs(samples);
    const ms = await timed(() => sleep(3_000));
    const after = await costs(samples);
    for (const name of ['studio', 'catalog']) shares[name].push((after[name] - before[name]) / 1_000 / ms);
  }
  await samples.stop();

  console.log(`\nidle: of one core, in parts of 3 s`);
  printTable(
    ['', 'median', ''],
    [
      ['catalog', spread(shares.catalog, percent), atMost(median(shares.catalog), 0.02, percent)],
      ['studio', spread(shares.studio, percent), ''],
    ],
  );
}

async function costs({ studio, catalog }) {
  return { studio: await studio.cpuUs(), catalog: await catalog.cpuUs() };
}

async function start(quick) {
  const { warm: seconds } = await inTurns(quick ? 1 : 5, { warm: () => secondsToReady(root) });
  console.log('\nstart: npm start until ready');
  printTable(['', 's', ''], [['installed and compiled', spread(seconds, decimals(1)), atMost(median(seconds), 8)]]);
}

async function first() {
  const clone = join(freshFolder(), 'clone');
  execFileSync('git', ['clone', '--quiet', root, clone]);
  const seconds = await secondsToReady(clone);
  console.log('\nfirst: npm start until ready');
  printTable(['', 's', ''], [['in a fresh clone of the commit', seconds.toFixed(1), atMost(seconds, 120)]]);
}

async function secondsToReady(folder) {
  const [STUDIO_PORT, CATALOG_PORT] = [String(await freePort()), String(await freePort())];
  const startedAt = performance.now();
  const child = spawn('npm', ['start'], {
    cwd: folder,
    env: { ...process.env, EVENT_BUS: 'embedded', EVENT_BUS_PATH: freshFolder(), STUDIO_PORT, CATALOG_PORT },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const ended = once(child, 'exit');
  const lines = createInterface({ input: child.stdout });
  const ready = new Promise((resolve) => lines.on('line', (line) => line.startsWith('ready') && resolve(true)));
  const isReady = await Promise.race([ready, ended.then(() => false)]);
  const seconds = (performance.now() - startedAt) / 1_000;
  child.kill('SIGTERM');
  await ended;
  if (!isReady) throw new Error(`npm start ended in ${folder}`);
  return seconds;
}

/** Both services as processes of this one, on files of their own. */
async function startSamples() {
  const path = freshFolder();
  const [studio, catalog] = await Promise.all([startSample('studio', path), startSample('catalog', path)]);
  return { studio, catalog, stop: () => Promise.all([studio.stop(), catalog.stop()]) };
}

async function startSample(name, path) {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const cpu = new URL('samples/processor-time.mjs', import.meta.url).href;
  const child = spawn(process.execPath, ['--import', cpu, join(root, 'apps', name, 'dist/main.js')], {
    env: {
      ...process.env,
      EVENT_BUS: 'embedded',
      EVENT_BUS_PATH: path,
      HOST: '127.0.0.1',
      [`${name.toUpperCase()}_PORT`]: String(port),
      DATABASE_URL: '',
    },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const ended = once(child, 'exit');
  await Promise.race([isReady(url), ended.then(() => Promise.reject(new Error(`${name} ended`)))]);
  return {
    url,
    async cpuUs() {
      child.send('');
      const [{ user, system }] = await once(child, 'message');
      return user + system;
    },
    async stop() {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

async function isReady(url) {
  for (;;) {
    const answer = await fetch(`${url}/health/ready`).then(
      (response) => response.json(),
      () => undefined,
    );
    if (answer?.status === 'ok') return;
    await sleep(50);
  }
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}
