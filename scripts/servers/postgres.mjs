import { execFile, execFileSync } from 'node:child_process';
import { chownSync, existsSync, readdirSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { fromEnvironment } from './environment.mjs';
import { MissingError, orMissing } from './missing.mjs';
import { freePorts } from './ports.mjs';
import { retryTakenPorts, startServerGroup } from './server-group.mjs';

/**
 * @typedef {object} PostgresOptions
 * @property {boolean} [own] Start one even where DATABASE_URL names one. Default false.
 * @property {readonly string[]} [settings] settings as `name=value`; the last of a name wins
 * @property {(line: string) => void} [log] progress; default: standard error
 */

/**
 * PostgreSQL: the one that DATABASE_URL names, else the installed one on an empty data folder, which trusts everybody on
 * 127.0.0.1. It ends with this process, also when that is killed, and keeps its data over `kill` and `restart`.
 *
 * @typedef {import('./server-group.mjs').ServerGroup & {
 *   source: 'environment' | 'installed',
 *   env: { DATABASE_URL: string },
 *   missing?: undefined,
 * }} Postgres
 *
 * @param {PostgresOptions} [options]
 * @returns {Promise<Postgres | import('./missing.mjs').Missing>}
 */
export function startPostgres(options = {}) {
  return orMissing(() => start({ own: false, settings: [], log: console.error, ...options }));
}

/** @param {Required<PostgresOptions>} options */
async function start({ own, settings, log }) {
  const given = own ? undefined : fromEnvironment('DATABASE_URL');
  if (given) return given;
  return retryTakenPorts(() => startInstalled(settings, log));
}

/**
 * @param {readonly string[]} settings
 * @param {(line: string) => void} log
 */
async function startInstalled(settings, log) {
  const bin = binaries();
  const user = ordinaryUser();
  const data = await mkdtemp(join(tmpdir(), 'event-bus-postgres-'));
  if (user) chownSync(data, user.uid, user.gid);
  const init = ['-D', data, '--username=postgres', '--auth=trust', '--encoding=UTF8', '--no-locale', '--no-sync'];
  await promisify(execFile)(join(bin, 'initdb'), init, { ...user, cwd: data });
  const [port = 0] = await freePorts(1);
  const all = [`port=${port}`, 'listen_addresses=127.0.0.1', 'unix_socket_directories=', ...settings];
  const group = await startServerGroup({
    name: 'postgres',
    temporary: data,
    log,
    servers: [
      {
        name: 'postgres',
        command: join(bin, 'postgres'),
        args: ['-D', data, ...all.flatMap((setting) => ['-c', setting])],
        user,
        cwd: data,
        endSignal: 'INT', // at KILL it would leave its shared memory behind
        isReady: (output) => output.includes('database system is ready to accept connections'),
      },
    ],
  });
  return {
    source: /** @type {const} */ ('installed'),
    env: { DATABASE_URL: `postgresql://postgres@127.0.0.1:${port}/postgres` },
    ...group,
  };
}

/** Debian keeps them off the path, by version. */
function binaries() {
  const debian = '/usr/lib/postgresql';
  const versions = existsSync(debian) ? readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : [];
  const folders = [
    ...versions.map((version) => join(debian, version, 'bin')),
    ...(process.env.PATH ?? '').split(delimiter),
  ];
  const found = folders.find((folder) => existsSync(join(folder, 'initdb')) && existsSync(join(folder, 'postgres')));
  if (found) return found;
  throw new MissingError(
    'PostgreSQL is not installed. Install it: apt-get install postgresql, or brew install postgresql.',
  );
}

/** PostgreSQL refuses to run as root. */
function ordinaryUser() {
  if (process.getuid?.() !== 0) return undefined;
  for (const name of ['postgres', 'nobody']) {
    try {
      const id = (/** @type {string} */ which) =>
        Number(execFileSync('id', [which, name], { stdio: ['ignore', 'pipe', 'ignore'] }));
      return { uid: id('-u'), gid: id('-g') };
    } catch {
      continue; // no such user
    }
  }
  throw new MissingError(
    'PostgreSQL refuses to run as root, and there is neither a user "postgres" nor "nobody" to run it as.',
  );
}
