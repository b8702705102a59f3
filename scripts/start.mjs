/**
 * `npm start`: Studio and Catalog, each in a process of its own, on one bus. `npm run studio` and `npm run catalog` start one of them.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { root, setUp } from './setup.mjs';

const HELP = `npm start [-- --bus embedded|kafka]
npm run studio | npm run catalog   one of the two

Starts the samples and runs until Ctrl-C. What is missing is installed and compiled first.

  --bus <name>  embedded (default): a log on this machine, no server
                kafka: KAFKA_BROKERS and SCHEMA_REGISTRY_URL; where they are not set, both are started
  --help        this text

Environment:
  STUDIO_PORT, CATALOG_PORT  3001, 3002
  HOST                       address to listen on, 127.0.0.1
  EVENT_BUS                  as --bus
  EVENT_BUS_PATH             where logs and databases are kept, .data
  EVENT_BUS_TOPIC_PREFIX     put before each topic's name
  DATABASE_URL               PostgreSQL instead of a file for each service
  CATALOG_DB                 Catalog's file, when it is not to be shared with another Catalog
  LOG_FORMAT                 text (default in a terminal) or json`;

const BUSES = ['embedded', 'kafka'];
const READY_WITHIN_MS = 60_000;
const BETTER_WITHIN_MS = 20_000;
const STOP_WITHIN_MS = 30_000;
/** npm passes a Ctrl-C on, which the terminal has sent already: two this close are one. */
const ONE_SIGNAL_MS = 500;

const SERVICES = {
  studio: { portName: 'STUDIO_PORT', port: Number(process.env.STUDIO_PORT || 3001), does: 'edit a course' },
  catalog: { portName: 'CATALOG_PORT', port: Number(process.env.CATALOG_PORT || 3002), does: 'see it arrive' },
};

class UsageError extends Error {}

/** @typedef {keyof typeof SERVICES} Service */
/** @typedef {{ name: Service, process: import('node:child_process').ChildProcess, ended: Promise<string> }} Running */

try {
  const options = readOptions();
  if (options) await run(options);
} catch (error) {
  const { message } = /** @type {Error} */ (error);
  console.error(error instanceof UsageError ? `${message} See --help.` : message);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}

function readOptions() {
  const { values, positionals } = parse();
  if (values.help) return console.log(HELP);
  const bus = values.bus ?? (process.env.EVENT_BUS || 'embedded');
  const source = values.bus ? '--bus' : 'EVENT_BUS';
  if (!BUSES.includes(bus)) throw new UsageError(`${source} must be one of ${BUSES.join(', ')}, got "${bus}".`);
  const unknown = positionals.find((name) => !(name in SERVICES));
  if (unknown) throw new UsageError(`There is no service "${unknown}".`);
  const names = /** @type {Service[]} */ (positionals.length > 0 ? positionals : Object.keys(SERVICES));
  return { bus, names };
}

function parse() {
  try {
    return parseArgs({ allowPositionals: true, options: { bus: { type: 'string' }, help: { type: 'boolean' } } });
  } catch (error) {
    throw new UsageError(/** @type {Error} */ (error).message);
  }
}

/** @param {{ bus: string, names: Service[] }} options */
async function run(options) {
  const startedAt = Date.now();
  const signals = watchSignals();
  try {
    setUp();
    for (const name of options.names) await mustBeFree(SERVICES[name]);
    const servers = options.bus === 'kafka' ? await kafkaServers() : { env: {}, stop: async () => {} };
    await runServices(options, servers.env, signals, startedAt).finally(servers.stop);
  } finally {
    signals.close();
  }
}

/**
 * @param {{ bus: string, names: Service[] }} options
 * @param {Record<string, string>} env
 * @param {ReturnType<typeof watchSignals>} signals
 * @param {number} startedAt
 */
async function runServices({ bus, names }, env, signals, startedAt) {
  if (signals.first.aborted) return;
  const running = names.map((name) => startService(name, { EVENT_BUS: bus, ...env }));
  signals.onSecond(() => running.forEach(({ process }) => process.kill('SIGKILL')));
  const over = new AbortController();
  const ready = Promise.all(names.map((name) => waitUntilReady(name, over.signal)));
  const trouble = await Promise.race([
    once(signals.first, 'abort').then(() => undefined),
    ...running.map(({ name, ended }) => ended.then((how) => `${name} ${how}`)),
    ready
      .then(() => sayReady(names, bus, startedAt))
      .then(
        () => new Promise(() => {}),
        ({ message }) => message,
      ),
  ]);
  if (trouble) console.error(`${trouble}; stopping`);
  if (trouble) process.exitCode = 1;
  over.abort();
  await Promise.all(running.map(stopService));
}

/** The first signal asks to stop, the second to do it at once. */
function watchSignals() {
  const first = new AbortController();
  let firstAt = 0;
  /** @type {() => void} */
  let second = () => process.exit(130);
  const heard = () => {
    if (first.signal.aborted) return void (Date.now() - firstAt > ONE_SIGNAL_MS && second());
    firstAt = Date.now();
    console.log('stopping; once more to stop at once');
    first.abort();
  };
  const names = /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP']);
  names.forEach((name) => process.on(name, heard));
  process.on('disconnect', heard); // a program that started us over a line of its own, and is gone
  const orphaned = whenOrphaned(heard);
  return {
    first: first.signal,
    /** @param {() => void} act */
    onSecond(act) {
      second = () => {
        act();
        process.exitCode = 130;
      };
    },
    close() {
      clearInterval(orphaned);
      names.forEach((name) => process.off(name, heard));
      process.off('disconnect', heard);
      if (process.connected) process.disconnect();
    },
  };
}

/**
 * npm that is killed tells nobody. Somebody who starts us without npm may leave us alone on purpose.
 *
 * @param {() => void} act
 */
function whenOrphaned(act) {
  const parent = process.ppid;
  if (!process.env.npm_lifecycle_event) return undefined;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    act();
  }, 500);
  return timer.unref();
}

/** @param {(typeof SERVICES)[Service]} service */
async function mustBeFree({ port, portName }) {
  const server = createServer();
  server.listen(port, process.env.HOST || '127.0.0.1');
  await once(server, 'listening').catch((error) => {
    const why = error.code === 'EADDRINUSE' ? 'is in use' : `cannot be used (${error.code})`;
    throw new Error(`Port ${port} ${why}. Stop the program that has it, or choose another port with ${portName}.`);
  });
  server.close();
  await once(server, 'close');
}

/** Those that the environment names, else our own, which end with this process. */
async function kafkaServers() {
  const [{ startKafka }, { startRegistry }] = await Promise.all([
    import('./servers/kafka.mjs'),
    import('./servers/registry.mjs'),
  ]);
  if (!process.env.KAFKA_BROKERS || !process.env.SCHEMA_REGISTRY_URL)
    console.log('starting Kafka and a schema registry');
  const servers = await Promise.all([startKafka({ log: console.log }), startRegistry({ log: console.log })]);
  const missing = servers.flatMap((server) => ('missing' in server ? [server.missing] : []));
  const stop = async () => {
    await Promise.all(servers.flatMap((server) => ('stop' in server ? [server.stop()] : [])));
  };
  if (missing.length === 0)
    return { env: Object.assign({}, ...servers.map((server) => ('env' in server ? server.env : {}))), stop };
  await stop();
  throw new Error(missing.join('\n'));
}

/**
 * @param {Service} name
 * @param {Record<string, string>} env
 * @returns {Running}
 */
function startService(name, env) {
  const child = spawn(process.execPath, ['--enable-source-maps', join(root, 'apps', name, 'dist', 'main.js')], {
    cwd: root,
    detached: true, // Ctrl-C reaches us only, and the service once
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'], // it stops when this end is closed, also by a SIGKILL of ours
    env: {
      ...process.env,
      LOG_FORMAT: process.env.LOG_FORMAT || (process.stdout.isTTY ? 'text' : 'json'),
      ...(process.stdout.isTTY && !process.env.NO_COLOR ? { FORCE_COLOR: '1' } : {}),
      ...env,
      EVENT_BUS_PATH: process.env.EVENT_BUS_PATH ? resolve(process.env.EVENT_BUS_PATH) : join(root, '.data'),
    },
  });
  prefix(name, child.stdout, process.stdout);
  prefix(name, child.stderr, process.stderr);
  const ended = once(child, 'exit').then(
    ([code, signal]) => `ended with ${signal ?? `code ${code}`}`,
    (error) => `could not be started: ${error.message}`,
  );
  return { name, process: child, ended };
}

/**
 * @param {Service} name
 * @param {import('node:stream').Readable | null} from
 * @param {NodeJS.WriteStream} to
 */
function prefix(name, from, to) {
  if (from) createInterface({ input: from }).on('line', (line) => to.write(`${name.padEnd(7)} │ ${line}\n`));
}

/**
 * @param {Service} name
 * @param {AbortSignal} signal
 */
async function waitUntilReady(name, signal) {
  const url = `http://127.0.0.1:${SERVICES[name].port}/health/ready`;
  const startedAt = Date.now();
  for (let waitedMs = 0; waitedMs < READY_WITHIN_MS && !signal.aborted; waitedMs = Date.now() - startedAt) {
    const status = await health(url);
    // Degraded: it would work, but is still getting its partitions, or waits for the registry.
    if (status === 'ok' || (status === 'degraded' && waitedMs > BETTER_WITHIN_MS)) return;
    await sleep(50);
  }
  throw new Error(`${name} was not ready within ${READY_WITHIN_MS / 1_000} s: ${url} says why`);
}

/** @param {string} url @returns {Promise<string | undefined>} */
async function health(url) {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(2_000) });
    const { status } = /** @type {any} */ (await response.json());
    return response.ok ? status : undefined;
  } catch {
    return undefined;
  }
}

/**
 * @param {Service[]} names
 * @param {string} bus
 * @param {number} startedAt
 */
function sayReady(names, bus, startedAt) {
  const urls = names.map((name) => {
    const { port, does } = SERVICES[name];
    return `  ${name.padEnd(8)} http://localhost:${port}   ${does}`;
  });
  const studio = `http://localhost:${SERVICES.studio.port}/api/courses/course-v1:edX+Demo+2026`;
  const course = '{"name":"Demonstration","start":"2026-02-01T00:00:00Z","pacing":"self"}';
  const lines = [
    `ready after ${((Date.now() - startedAt) / 1_000).toFixed(1)} s, bus: ${bus}`,
    ...urls,
    names.includes('studio')
      ? `try: curl -X PUT ${studio} -H 'content-type: application/json' -d '${course}'`
      : `try: curl http://localhost:${SERVICES.catalog.port}/api/courses`,
  ];
  console.log(lines.join('\n'));
}

/** @param {Running} running */
async function stopService({ process, ended }) {
  process.kill('SIGTERM');
  const giveUp = setTimeout(() => process.kill('SIGKILL'), STOP_WITHIN_MS);
  await ended;
  clearTimeout(giveUp);
}
