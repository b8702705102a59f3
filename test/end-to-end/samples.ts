/** Studio and Catalog as processes of their own, each test on a bus and databases of its own. */
import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';

export const root = fileURLToPath(new URL('../..', import.meta.url));

export type Env = Readonly<Record<string, string>>;

/** What a bus needs in the environment, fresh for each test. */
export type BusEnv = () => Env;

export const embeddedBus: BusEnv = () => ({ EVENT_BUS: 'embedded' });

export interface Sample {
  readonly url: string;
  readonly pid: number;
  /** What it wrote to standard output and error. */
  readonly lines: readonly string[];
  get<T = any>(path: string): Promise<{ status: number; headers: Headers; body: T }>;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
  /** SIGTERM; resolves to how it ended. */
  stop(): Promise<string>;
}

export interface Stage {
  readonly path: string;
  readonly env: Env;
  studio(env?: Env): Promise<Sample>;
  catalog(env?: Env): Promise<Sample>;
}

/** A folder for the state of one test; everything started on it ends with the test. */
export function stage(bus: BusEnv, extra: Env = {}): Stage {
  const path = mkdtempSync(join(tmpdir(), 'event-bus-samples-'));
  const env = { ...bus(), ...extra, EVENT_BUS_PATH: path, LOG_FORMAT: 'json' };
  const samples: Sample[] = [];
  onTestFinished(async ({ task }) => {
    if (task.result?.state === 'fail') for (const { lines } of samples) console.error(lines.slice(-20).join('\n'));
    // A killed member would stay in its group, and hold up the next test, until its session ends.
    await Promise.all(
      samples.map((sample) => Promise.race([sample.stop(), sleep(STOP_MS, undefined, { ref: false })])),
    );
    await Promise.all(samples.map((sample) => sample.kill()));
    rmSync(path, { recursive: true, force: true });
  });
  const start = async (name: 'studio' | 'catalog', own: Env = {}) => {
    const sample = await startSample(name, { ...env, ...own });
    samples.push(sample);
    await ready(sample);
    return sample;
  };
  return { path, env, studio: (own) => start('studio', own), catalog: (own) => start('catalog', own) };
}

async function startSample(name: 'studio' | 'catalog', env: Env): Promise<Sample> {
  const variable = `${name.toUpperCase()}_PORT`;
  const port = env[variable] ?? String(await freePort());
  const child = spawn(process.execPath, ['--enable-source-maps', join(root, 'apps', name, 'dist/main.js')], {
    env: { ...process.env, ...env, [variable]: port },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  const url = `http://127.0.0.1:${port}`;
  const ended = endOf(child);
  return {
    url,
    pid: child.pid!,
    lines: linesOf(child),
    async get(path) {
      const response = await fetch(url + path);
      return { status: response.status, headers: response.headers, body: (await response.json()) as any };
    },
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
    stop() {
      child.kill('SIGTERM');
      return ended;
    },
  };
}

export function endOf(child: ChildProcess): Promise<string> {
  return once(child, 'exit').then(([code, signal]) => String(signal ?? code));
}

export function linesOf(child: ChildProcess): string[] {
  const lines: string[] = [];
  for (const output of [child.stdout!, child.stderr!])
    createInterface({ input: output }).on('line', (line) => lines.push(line));
  return lines;
}

/** Polls until `check` stops throwing; fails with its last error. */
export async function eventually<T>(check: () => T | Promise<T>, withinMs = 30_000): Promise<T> {
  for (const deadline = Date.now() + withinMs; ; await sleep(20)) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
  }
}

async function ready(sample: Sample): Promise<void> {
  await eventually(async () => {
    const { body } = await sample.get<{ status: string }>('/health/ready');
    if (body.status !== 'ok') throw new Error(`not ready: ${JSON.stringify(body)}\n${sample.lines.join('\n')}`);
  }, 60_000);
}

const STOP_MS = 10_000;

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** A topic prefix that no other test has, for buses whose servers are shared. */
export const freshPrefix = () => `e2e-${randomUUID().slice(0, 8)}`;
