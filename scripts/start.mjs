/**
 * `npm start`: Studio and Catalog, each in a process of its own, on one bus. `npm run studio` and `npm run catalog` start one of them.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { host, portOf, urlOf } from './addresses.mjs';
import { UsageError, runCommand } from './command.mjs';
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
  studio: { portName: 'STUDIO_PORT', defaultPort: 3001, does: 'edit a course' },
  catalog: { portName: 'CATALOG_PORT', defaultPort: 3002, does: 'see it arrive' },
};

/** @typedef {keyof typeof SERVICES} ServiceName */
/** @typedef {{ name: ServiceName, portName: string, port: number, does: string }} Service */
/** @typedef {Service & { child: import('node:child_process').ChildProcess, ended: Promise<string> }} Running */

await runCommand(HELP, { allowPositionals: true, options: { bus: { type: 'string' } } }, (args) =>
  run(readOptions(args)),
);

/** @param {{ values: { bus?: string }, positionals: string[] }} args */
function readOptions({ values, positionals }) {
  if (values.bus === undefined && process.env.npm_config_bus !== undefined)
    throw new UsageError('npm has kept --bus for itself: write npm start -- --bus <name>.');
  const bus = values.bus ?? (process.env.EVENT_BUS || 'embedded');
  const source = values.bus ? '--bus' : 'EVENT_BUS';
  if (!BUSES.includes(bus)) throw new UsageError(`${source} must be one of ${BUSES.join(', ')}, got "${bus}".`);
  const unknown = positionals.find((name) => !Object.hasOwn(SERVICES, name));
  if (unknown !== undefined) throw new UsageError(`There is no service "${unknown}".`);
  const names = /** @type {ServiceName[]} */ (positionals.length > 0 ? positionals : Object.keys(SERVICES));
  const services = [...new Set(names)].map((name) => {
    const { portName, defaultPort, does } = SERVICES[name];
    return { name, portName, port: portOf(portName, defaultPort), does };
  });
  return { bus, services };
}

/** @param {{ bus: string, services: Service[] }} options */
async function run({ bus, services: asked }) {
  const startedAt = Date.now();
  const signals = watchSignals();
  try {
    await setUp({ signal: signals.first });
    const services = [];
    for (const service of asked) services.push({ ...service, port: await freePort(service) });
    const servers = await serversOf(bus, signals.first);
    await runServices(bus, services, servers.env, signals, startedAt).finally(servers.stop);
  } finally {
    signals.close();
  }
}

/**
 * @param {string} bus
 * @param {Service[]} services
 * @param {Record<string, string>} env
 * @param {ReturnType<typeof watchSignals>} signals
 * @param {number} startedAt
 */
async function runServices(bus, services, env, signals, startedAt) {
  if (signals.first.aborted) return;
  const running = services.map((service) => startService(service, { EVENT_BUS: bus, ...env }));
  signals.onSecond(() => running.forEach(({ child }) => child.kill('SIGKILL')));
  const over = new AbortController();
  const ready = Promise.all(services.map((service) => waitUntilReady(service, over.signal)));
  const trouble = await Promise.race([
    once(signals.first, 'abort').then(() => undefined),
    ...running.map(({ name, ended }) => ended.then((how) => `${name} ${how}`)),
    ready
      .then(() => sayReady(services, bus, startedAt))
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

/** @param {Service} service */
async function freePort({ port, portName }) {
  const server = createServer();
  server.listen(port, host);
  await once(server, 'listening').catch((error) => {
    if (!['EADDRINUSE', 'EACCES'].includes(error.code))
      throw new Error(`Nothing can listen on ${host}: ${error.code}.`);
    const why = error.code === 'EADDRINUSE' ? 'is in use. Stop the program that has it, or' : 'is not for everybody:';
    throw new Error(`Port ${port} ${why} choose another port with ${portName}.`);
  });
  const free = /** @type {import('node:net').AddressInfo} */ (server.address()).port;
  server.close();
  await once(server, 'close');
  return free;
}

/** @param {string} bus @param {AbortSignal} interrupted */
async function serversOf(bus, interrupted) {
  if (bus !== 'kafka' || interrupted.aborted) return { env: {}, stop: async () => {} };
  const servers = await Promise.race([kafkaServers(), once(interrupted, 'abort').then(() => undefined)]);
  return servers ?? process.exit(130); // the guards end what has been started so far
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
 * @param {Service} service
 * @param {Record<string, string>} env
 * @returns {Running}
 */
function startService(service, env) {
  const { name, portName, port } = service;
  const child = spawn(process.execPath, ['--enable-source-maps', join(root, 'apps', name, 'dist', 'main.js')], {
    cwd: root,
    detached: true, // Ctrl-C reaches us only, and the service once
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'], // it stops when this end is closed, also by a SIGKILL of ours
    env: {
      ...process.env,
      LOG_FORMAT: process.env.LOG_FORMAT || (process.stdout.isTTY ? 'text' : 'json'),
      ...(process.stdout.isTTY && !process.env.NO_COLOR ? { FORCE_COLOR: '1' } : {}),
      ...env,
      [portName]: String(port),
      EVENT_BUS_PATH: process.env.EVENT_BUS_PATH ? resolve(process.env.EVENT_BUS_PATH) : join(root, '.data'),
    },
  });
  prefix(name, child.stdout, process.stdout);
  prefix(name, child.stderr, process.stderr);
  const ended = once(child, 'exit').then(
    ([code, signal]) => `ended with ${signal ?? `code ${code}`}`,
    (error) => `could not be started: ${error.message}`,
  );
  return { ...service, child, ended };
}

/**
 * @param {string} name
 * @param {import('node:stream').Readable | null} from
 * @param {NodeJS.WriteStream} to
 */
function prefix(name, from, to) {
  if (from) createInterface({ input: from }).on('line', (line) => to.write(`${name.padEnd(7)} │ ${line}\n`));
}

/**
 * @param {Service} service
 * @param {AbortSignal} signal
 */
async function waitUntilReady({ name, port }, signal) {
  const url = `${urlOf(port)}/health/ready`;
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
 * @param {Service[]} services
 * @param {string} bus
 * @param {number} startedAt
 */
function sayReady(services, bus, startedAt) {
  const url = (/** @type {number} */ port) => urlOf(port).replace('//127.0.0.1:', '//localhost:');
  const { name, port } = /** @type {Service} */ (services.find(({ name }) => name === 'studio') ?? services[0]);
  const course = '{"name":"Demonstration","start":"2026-02-01T00:00:00Z","pacing":"self"}';
  const lines = [
    `ready after ${((Date.now() - startedAt) / 1_000).toFixed(1)} s, bus: ${bus}`,
    ...services.map(({ name, port, does }) => `  ${name.padEnd(8)} ${url(port)}   ${does}`),
    name === 'studio'
      ? `try: curl -X PUT ${url(port)}/api/courses/course-v1:edX+Demo+2026 -H 'content-type: application/json' -d '${course}'`
      : `try: curl ${url(port)}/api/courses`,
  ];
  console.log(lines.join('\n'));
}

/** @param {Running} running */
async function stopService({ name, child, ended }) {
  child.kill('SIGTERM');
  const giveUp = setTimeout(() => {
    console.error(`${name} did not stop within ${STOP_WITHIN_MS / 1_000} s and was killed`);
    process.exitCode = 1;
    child.kill('SIGKILL');
  }, STOP_WITHIN_MS);
  await ended;
  clearTimeout(giveUp);
}
