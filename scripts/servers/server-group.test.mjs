import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, test } from 'vitest';
import { freePorts } from './ports.mjs';
import { StartError, retryTakenPorts, startServerGroup } from './server-group.mjs';

const cache = (process.env.EVENT_BUS_SERVERS = mkdtempSync(join(tmpdir(), 'event-bus-cache-')));
afterAll(() => rmSync(cache, { recursive: true }));

/**
 * A server that is quick to start: it accepts connections, and says so.
 *
 * @param {string} name
 * @param {number} port
 * @returns {import('./server-group.mjs').ServerSpec}
 */
const accepting = (name, port) => ({
  name,
  command: process.execPath,
  args: [
    '-e',
    `require('node:net').createServer((s) => s.end('hello')).listen(${port}, '127.0.0.1', () => console.log('accepting'))`,
  ],
  endSignal: 'KILL',
  isReady: (output) => output.includes('accepting'),
});

async function setup(servers = 1) {
  const ports = await freePorts(servers);
  const data = mkdtempSync(join(tmpdir(), 'event-bus-data-'));
  const specs = ports.map((port, index) => accepting(`server-${index + 1}`, port));
  const group = await startServerGroup({ name: 'test', temporary: data, log: () => {}, servers: specs });
  return { ports, data, group };
}

test('stop ends every server and removes data and logs', async () => {
  const { ports, data, group } = await setup(2);
  assert.deepEqual(await Promise.all(ports.map(answers)), [true, true]);

  await group.stop();

  assert.deepEqual(await Promise.all(ports.map(answers)), [false, false]);
  assert.deepEqual([existsSync(data), existsSync(group.logs ?? '')], [false, false]);
});

test('a killed server comes back on its port, and the others stay', async ({ onTestFinished }) => {
  const { ports, group } = await setup(2);
  onTestFinished(() => group.stop());

  await group.kill(2);
  assert.deepEqual(await Promise.all(ports.map(answers)), [true, false]);

  await group.restart(2);
  assert.deepEqual(await Promise.all(ports.map(answers)), [true, true]);
});

test('a paused server answers nothing until it is resumed', async ({ onTestFinished }) => {
  const { ports, group } = await setup();
  onTestFinished(() => group.stop());

  await group.pause();
  assert.equal(await answers(ports[0]), false);

  await group.resume();
  assert.equal(await answers(ports[0]), true);
});

test('servers go when the process that started them is killed, also a paused one', async () => {
  const ports = await freePorts(2);
  const data = mkdtempSync(join(tmpdir(), 'event-bus-data-'));
  const program = `
    import { startServerGroup } from ${JSON.stringify(new URL('./server-group.mjs', import.meta.url).href)};
    const isReady = (output) => output.includes('accepting');
    const servers = ${JSON.stringify(ports.map((port) => accepting(`server-${port}`, port)))}.map((spec) => ({ ...spec, isReady }));
    const group = await startServerGroup({ name: 'test', temporary: ${JSON.stringify(data)}, log: () => {}, servers });
    await group.pause(2);
    console.log(group.pid(1), group.pid(2));
    setInterval(() => {}, 1000);`;
  const parent = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const pids = String(await new Promise((resolve) => parent.stdout.once('data', resolve)))
    .split(' ')
    .map(Number);
  assert.equal(await answers(ports[0]), true);

  parent.kill('SIGKILL');

  await eventually(() => !existsSync(data) && pids.every((pid) => !isAlive(pid)));
});

test('a server that does not start says why and where its log is', async () => {
  const failing = { ...accepting('broken', 0), args: ['-e', 'console.error("no such setting"); process.exit(3)'] };

  const start = startServerGroup({ name: 'test', temporary: undefined, log: () => {}, servers: [failing] });

  await assert.rejects(start, (error) => {
    assert.ok(error instanceof StartError);
    assert.match(
      error.message,
      /^broken ended with code 3\. Its log is .*broken\.log and ends with:\nno such setting$/,
    );
    return existsSync(/log is (.*\.log)/.exec(error.message)?.[1] ?? '');
  });
});

test('a server that could not be run again is not there, and nobody else is ended in its place', async ({
  onTestFinished,
}) => {
  const [port = 0] = await freePorts(1);
  const spec = accepting('lost', port);
  const group = await startServerGroup({ name: 'test', temporary: undefined, log: () => {}, servers: [spec] });
  onTestFinished(() => group.stop());
  spec.command = '/no/such/command';

  await assert.rejects(group.restart(), /could not be run/);

  assert.equal(group.pid(), undefined); // and not 0, which is the process group of this test
  await group.kill();
});

test('when somebody else was quicker to take a port, the start is tried again', async () => {
  const { ports, group: other } = await setup();
  const tried = [ports[0] ?? 0, ...(await freePorts(1))];
  let attempt = 0;

  const group = await retryTakenPorts(() => {
    const servers = [accepting('late', tried[attempt++] ?? 0)];
    return startServerGroup({ name: 'test', temporary: undefined, log: () => {}, servers });
  });

  assert.equal(attempt, 2);
  await Promise.all([group.stop(), other.stop()]);
});

/** @param {number | undefined} port */
function answers(port = 0) {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    const answer = (/** @type {boolean} */ is) => () => (resolve(is), socket.destroy());
    socket.once('data', answer(true)).once('error', answer(false)).setTimeout(500, answer(false));
  });
}

/** @param {number} pid */
function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return !isZombie(pid);
  } catch {
    return false;
  }
}

/**
 * In a container without an init process nobody collects the orphans.
 *
 * @param {number} pid
 */
const isZombie = (pid) => existsSync('/proc') && /\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));

/** @param {() => boolean} condition */
async function eventually(condition) {
  for (const deadline = Date.now() + 15_000; !condition(); await sleep(20)) {
    assert.ok(Date.now() < deadline, 'it did not become true within 15 s');
  }
}
