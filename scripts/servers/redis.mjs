import { spawnSync } from 'node:child_process';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromEnvironment } from './environment.mjs';
import { MissingError, orMissing } from './missing.mjs';
import { freePorts } from './ports.mjs';
import { retryTakenPorts, startServerGroup } from './server-group.mjs';

/**
 * @typedef {object} RedisOptions
 * @property {boolean} [own] Start one even where REDIS_URL names one: for tests that kill it. Default false.
 * @property {readonly string[]} [args] more arguments of redis-server, such as `--maxmemory`, `64mb`
 * @property {(line: string) => void} [log] progress; default: standard error
 */

/**
 * Redis: the one that REDIS_URL names, else the installed redis-server, with an append-only file that is flushed at
 * each write. It ends with this process, also when that is killed, and keeps its data over `kill` and `restart`.
 *
 * @typedef {import('./server-group.mjs').ServerGroup & {
 *   source: 'environment' | 'installed',
 *   env: { REDIS_URL: string },
 *   missing?: undefined,
 * }} Redis
 *
 * @param {RedisOptions} [options]
 * @returns {Promise<Redis | import('./missing.mjs').Missing>}
 */
export function startRedis(options = {}) {
  return orMissing(() => start({ own: false, args: [], log: console.error, ...options }));
}

/** @param {Required<RedisOptions>} options */
async function start({ own, args, log }) {
  const given = own ? undefined : fromEnvironment('REDIS_URL');
  if (given) return given;
  return retryTakenPorts(() => startInstalled(args, log));
}

/**
 * @param {readonly string[]} args
 * @param {(line: string) => void} log
 */
async function startInstalled(args, log) {
  if (spawnSync('redis-server', ['--version']).status !== 0) {
    throw new MissingError('Redis is not installed. Install it: apt-get install redis-server, or brew install redis.');
  }
  const data = await mkdtemp(join(tmpdir(), 'event-bus-redis-'));
  const [port = 0] = await freePorts(1);
  const group = await startServerGroup({
    name: 'redis',
    temporary: data,
    log,
    servers: [
      {
        name: 'redis',
        command: 'redis-server',
        args: ['--bind', '127.0.0.1', '--port', `${port}`, '--dir', data, ...DURABLE, ...args],
        endSignal: 'KILL',
        isReady: (output) => output.includes('Ready to accept connections'),
      },
    ],
  });
  return { source: /** @type {const} */ ('installed'), env: { REDIS_URL: `redis://127.0.0.1:${port}` }, ...group };
}

const DURABLE = ['--save', '', '--appendonly', 'yes', '--appendfsync', 'always'];
