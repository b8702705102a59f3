import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { logFolder } from './cache.mjs';

/**
 * @typedef {object} ServerSpec How one server process is run.
 * @property {string} name also of its log file
 * @property {string} command
 * @property {readonly string[]} args
 * @property {Record<string, string>} [env] added to this process's own
 * @property {{ uid: number, gid: number } | undefined} [user] run as this user
 * @property {string} [cwd]
 * @property {'INT' | 'KILL'} endSignal what ends it at `stop`; KILL where nothing of it is kept
 * @property {(output: string) => boolean | Promise<boolean>} isReady asked until true, with what this run has written
 */

/**
 * @typedef {object} ServerGroup Server processes that live no longer than this one. Servers are counted from 1.
 * @property {string | undefined} logs where their logs are, as far as they are ours
 * @property {(n?: number) => number | undefined} pid of the running process
 * @property {(options?: { keepLogs?: boolean }) => Promise<void>} stop Ends all and removes data and logs; `keepLogs`
 *   (after a failure) leaves the logs. May be called more than once.
 * @property {(n?: number) => Promise<void>} kill SIGKILL; resolves when the process is gone. Ports and data stay.
 * @property {(n?: number) => Promise<void>} restart SIGTERM (after 20 s SIGKILL) if it runs, then start on the same
 *   ports and data; resolves when it is ready again. Where several servers need each other to be ready, call it for
 *   them at once.
 * @property {(n?: number) => Promise<void>} pause SIGSTOP: sockets stay open, nothing answers.
 * @property {(n?: number) => Promise<void>} resume SIGCONT
 */

/** A server that ended, or was not ready in time, while it was started. */
export class StartError extends Error {
  /**
   * @param {string} message
   * @param {string} output
   */
  constructor(message, output) {
    super(message);
    /** Somebody else was quicker to take one of the ports: worth another try on others. */
    this.isPortTaken = /already in use|BindException/.test(output);
  }
}

/**
 * Starts the servers at once and resolves when all are ready. When one fails all are ended and the logs stay.
 *
 * @param {object} options
 * @param {string} options.name
 * @param {readonly ServerSpec[]} options.servers
 * @param {string | undefined} options.temporary a folder that goes when the servers go, however that happens
 * @param {(line: string) => void} options.log
 * @returns {Promise<ServerGroup>}
 */
export async function startServerGroup({ name, servers, temporary, log }) {
  const logs = await logFolder(name);
  const guard = openGuard(temporary === undefined ? ['true'] : ['rm', '-rf', temporary]);
  const all = servers.map((spec) => server(spec, join(logs, `${spec.name}.log`), guard));
  const one = (n = 1) => {
    const found = all[n - 1];
    if (!found) throw new RangeError(`There is no server ${n} in ${name}: it has ${all.length}, counted from 1.`);
    return found;
  };
  try {
    await Promise.all(all.map((each) => each.start()));
  } catch (error) {
    await guard.close();
    if (error instanceof StartError && error.isPortTaken) rmSync(logs, { recursive: true, force: true });
    throw error;
  }
  return {
    logs,
    pid: (n) => one(n).pid(),
    async stop({ keepLogs = false } = {}) {
      await guard.close();
      if (keepLogs) log(`logs of ${name}: ${logs}`);
      else rmSync(logs, { recursive: true, force: true });
    },
    kill: async (n) => one(n).end('SIGKILL'),
    async restart(n) {
      await one(n).end('SIGTERM');
      await one(n).start();
    },
    pause: async (n) => one(n).signal('SIGSTOP'),
    resume: async (n) => one(n).signal('SIGCONT'),
  };
}

/**
 * Calls `start` again when another process took one of the ports that it had found free.
 *
 * @template T
 * @param {() => Promise<T>} start
 * @returns {Promise<T>}
 */
export async function retryTakenPorts(start) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await start();
    } catch (error) {
      if (attempt === 3 || !(error instanceof StartError && error.isPortTaken)) throw error;
    }
  }
}

const START_TIMEOUT_MS = 180_000; // seconds on an idle machine; a build beside it takes its share
const TERM_TIMEOUT_MS = 20_000;

/**
 * @param {ServerSpec} spec
 * @param {string} logFile
 * @param {ReturnType<typeof openGuard>} guard
 */
function server(spec, logFile, guard) {
  /** @type {{ pid: number, ended: Promise<string> } | undefined} */
  let current;

  function run() {
    const output = openSync(logFile, 'a');
    const child = spawn(spec.command, spec.args, {
      detached: true, // a process group of its own: Ctrl-C reaches us only, and the guard ends it whole
      stdio: ['ignore', output, output],
      env: { ...process.env, ...spec.env },
      ...spec.user,
      cwd: spec.cwd,
    });
    closeSync(output);
    const { pid } = child;
    const ended = new Promise((resolve) => {
      child.once('error', (error) => resolve(`could not be run: ${error.message}`));
      child.once('exit', (code, signal) => resolve(`ended with ${signal ?? `code ${code}`}`));
    });
    current = undefined;
    if (pid === undefined) return ended;
    current = { pid, ended };
    guard.watch(pid, spec.endSignal);
    void ended.then(() => {
      guard.drop(pid);
      if (current?.pid === pid) current = undefined;
    });
    return ended;
  }

  return {
    pid: () => current?.pid,

    async start() {
      const before = sizeOf(logFile);
      const ended = run();
      let end = '';
      void ended.then((how) => (end = how));
      for (const deadline = Date.now() + START_TIMEOUT_MS; ;) {
        const output = textAfter(logFile, before);
        if (end || Date.now() > deadline) throw startError(spec.name, end, output, logFile);
        if (await spec.isReady(output)) return;
        await Promise.race([sleep(50), ended]);
      }
    },

    /** @param {'SIGTERM' | 'SIGKILL'} how */
    async end(how) {
      if (!current) return;
      const { ended } = current;
      const deadline = new AbortController();
      this.signal(how);
      this.signal('SIGCONT');
      const late = sleep(TERM_TIMEOUT_MS, undefined, { signal: deadline.signal }).then(
        () => this.signal('SIGKILL'),
        () => {},
      );
      await Promise.race([ended, late.then(() => ended)]);
      deadline.abort();
    },

    /** @param {NodeJS.Signals} name */
    signal(name) {
      if (current) process.kill(-current.pid, name);
    },
  };
}

/**
 * @param {string} name
 * @param {string} end
 * @param {string} output
 * @param {string} logFile
 */
function startError(name, end, output, logFile) {
  const what = end || `was not ready after ${START_TIMEOUT_MS / 1000} s`;
  const last = output.trimEnd().split('\n').slice(-15).join('\n');
  return new StartError(`${name} ${what}. Its log is ${logFile} and ends with:\n${last}`, output);
}

/** @param {string} file */
const sizeOf = (file) => readFileSync(file, { flag: 'a+' }).length;

/**
 * @param {string} file
 * @param {number} offset
 */
const textAfter = (file, offset) => readFileSync(file).subarray(offset).toString();

/**
 * A small shell process that ends what we started when we are gone (guard.sh), also after a SIGKILL of ours.
 *
 * @param {readonly string[]} cleanUp the command it runs last
 */
export function openGuard(cleanUp) {
  const script = join(dirname(fileURLToPath(import.meta.url)), 'guard.sh');
  const shell = spawn('sh', [script, ...cleanUp], { detached: true, cwd: '/', stdio: ['pipe', 'ignore', 'ignore'] });
  const ended = new Promise((resolve) => shell.once('exit', resolve));
  shell.unref();
  /** @type {import('node:net').Socket} */ (shell.stdin).unref().on('error', () => {});
  return {
    /**
     * @param {number} pid
     * @param {'INT' | 'KILL'} signal
     */
    watch: (pid, signal) => void shell.stdin.write(`watch ${pid} ${signal}\n`),
    /** @param {number} pid */
    drop: (pid) => void (shell.stdin.writable && shell.stdin.write(`drop ${pid}\n`)),
    /** Ends all that is watched, cleans up, and resolves when that is done. */
    async close() {
      shell.ref();
      shell.stdin.end();
      await ended;
    },
  };
}
