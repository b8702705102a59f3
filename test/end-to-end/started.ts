/** The commands that start the samples, as users type them. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { endOf, eventually, freePort, isAlive, linesOf, root, type Env } from './samples.js';

/** A start command, on ports and files of its own unless `env` says otherwise; it ends with the test. */
export async function start(command: string, args: string[], options: { env?: Env } = {}) {
  const path = mkdtempSync(join(tmpdir(), 'event-bus-start-'));
  const ports = { STUDIO_PORT: String(await freePort()), CATALOG_PORT: String(await freePort()) };
  const env = { EVENT_BUS_PATH: path, ...ports, ...options.env };
  const child = spawn(command, args, { cwd: root, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = endOf(child);
  const lines = linesOf(child);
  onTestFinished(async () => {
    const pids = pidsIn(lines);
    child.kill('SIGKILL');
    await eventually(() => expect(pids.filter(isAlive)).toEqual([]));
    rmSync(path, { recursive: true, force: true });
  });
  return {
    process: child as ChildProcess,
    lines,
    ended,
    studio: { url: `http://127.0.0.1:${env.STUDIO_PORT}` },
    catalog: { url: `http://127.0.0.1:${env.CATALOG_PORT}` },
    /** What was said from `ready` on, and the services' processes. */
    async isReady() {
      const from = await eventually(() => {
        const at = lines.findIndex((line) => line.startsWith('ready'));
        const end = lines.findIndex((line) => line.startsWith('try:'));
        if (at < 0 || end < 0) throw new Error(`not ready:\n${lines.join('\n')}`);
        return { at, end };
      }, 100_000);
      return { ready: lines.slice(from.at, from.end + 1), pids: pidsIn(lines) };
    },
  };
}

/** Each service's log lines say which process wrote them. */
function pidsIn(lines: readonly string[]): number[] {
  return [...new Set(lines.flatMap((line) => /"pid":(\d+)/.exec(line)?.[1] ?? []).map(Number))];
}

/** Resolves when the processes have ended. */
export async function gone(pids: readonly number[]): Promise<void> {
  await eventually(() => expect(pids.filter(isAlive)).toEqual([]));
}
