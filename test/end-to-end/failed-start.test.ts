import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { endOf, linesOf, root, type Env } from './samples.js';

test.each(['studio', 'catalog'])('a %s that cannot start says why, once', async (name) => {
  const port = await takenPort();
  const variable = `${name.toUpperCase()}_PORT`;

  const noDatabase = await run(name, { [variable]: '0', DATABASE_URL: 'postgres://127.0.0.1:1/x' });
  const noPort = await run(name, { [variable]: port });

  expect(noDatabase).toEqual([expect.stringMatching(/^\w+ did not start\. .*DATABASE_URL.*ECONNREFUSED/)]);
  expect(noPort.filter((line) => line.includes(port))).toEqual([
    expect.stringMatching(`^\\w+ did not start\\. Port ${port} is in use.*${variable}`),
  ]);
});

/** What it wrote until it ended. */
async function run(name: string, env: Env): Promise<string[]> {
  const path = mkdtempSync(join(tmpdir(), 'event-bus-start-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  const child = spawn(process.execPath, [join(root, 'apps', name, 'dist/main.js')], {
    env: { ...process.env, ...env, EVENT_BUS_PATH: path, LOG_FORMAT: 'json' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const lines = linesOf(child);
  expect(await endOf(child)).toBe('1');
  return lines;
}

async function takenPort(): Promise<string> {
  const server = createServer().listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  return String((server.address() as AddressInfo).port);
}
