import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { networkInterfaces } from 'node:os';
import { expect, onTestFinished, test } from 'vitest';
import { BODY, keyOf, put } from './authors.js';
import { blocks, page } from '../docs/pages.js';
import { eventually } from './samples.js';
import { gone, start } from './started.js';

test('npm start says ready, where and what to try; SIGTERM ends everything', async () => {
  const run = await start('npm', ['start']);
  const { ready, pids } = await run.isReady();
  expect(ready.slice(1)).toEqual([
    expect.stringContaining(run.studio.url.replace('127.0.0.1', 'localhost')),
    expect.stringContaining(run.catalog.url.replace('127.0.0.1', 'localhost')),
    expect.stringMatching(/^try: curl -X PUT .*\/api\/courses\/course-v1:/),
  ]);
  expect((await put(run.studio, keyOf(1), BODY)).status).toBe(201);
  await eventually(async () => {
    expect((await fetch(`${run.catalog.url}/api/courses/${keyOf(1)}`)).status).toBe(200);
  });

  run.process.kill('SIGTERM');
  expect(await run.ended).toMatch(/^(0|143|SIGTERM)$/);
  await gone(pids);
});

test('what npm start and the first curl say is what the pages show', async () => {
  const run = await start('npm', ['start']);
  const { ready } = await run.isReady();
  const said = ready.map(withoutNumbers);
  expect(linesFrom('README.md', 'ready after').map(withoutNumbers)).toEqual(said);
  expect(linesFrom('docs/start.md', 'ready after').map(withoutNumbers)).toEqual(said.slice(0, 3));

  const key = 'course-v1:edX+Demo+2026';
  const [stored, , , seen] = linesFrom('docs/start.md', '{"course_key"').map(asPattern);
  expect(JSON.stringify((await put(run.studio, key, BODY)).body)).toMatch(stored!);
  await eventually(async () => {
    expect(await (await fetch(`${run.catalog.url}/api/courses/${key}`)).text()).toMatch(seen!);
  });
});

/** A block of a page, from the line that begins so. */
function linesFrom(path: string, beginning: string): string[] {
  for (const { code } of blocks(page(path))) {
    const lines = code.trimEnd().split('\n');
    const at = lines.findIndex((line) => line.startsWith(beginning));
    if (at >= 0) return lines.slice(at);
  }
  throw new Error(`${path} shows nothing that begins with ${beginning}`);
}

const withoutNumbers = (line: string) => line.replaceAll(/(?<=localhost:|after )\d+(\.\d+)?/g, 'N');

/** Numbers and times may be others; an ellipsis stands for anything. */
function asPattern(line: string): RegExp {
  const parts = line.split(/ … |\d+/).map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${parts.join('.*')}$`);
}

test('the services of a start script that is killed stop by themselves', async () => {
  const run = await start(process.execPath, ['scripts/start.mjs']);
  const { pids } = await run.isReady();
  expect(pids).toHaveLength(2);
  run.process.kill('SIGKILL');
  await gone(pids);
});

test('when one service dies the other is stopped, and the exit code says so', async () => {
  const run = await start(process.execPath, ['scripts/start.mjs']);
  const { pids } = await run.isReady();
  process.kill(pids[0]!, 'SIGKILL');
  expect(await run.ended).toBe('1');
  expect(run.lines.join('\n')).toMatch(/(studio|catalog) ended with SIGKILL; stopping/);
  await gone(pids);
});

test('a service that does not stop is killed, and the exit code says so', async () => {
  const run = await start(process.execPath, ['scripts/start.mjs', 'catalog']);
  const { pids } = await run.isReady();
  process.kill(pids[0]!, 'SIGSTOP');

  run.process.kill('SIGTERM');

  expect(await run.ended).toBe('1');
  expect(run.lines.at(-1)).toBe('catalog did not stop within 30 s and was killed');
  await gone(pids);
});

test('npm run catalog starts that one alone', async () => {
  const run = await start('npm', ['run', 'catalog']);
  const { pids, ready } = await run.isReady();
  expect(pids).toHaveLength(1);
  expect(ready.join('\n')).toContain(`try: curl ${run.catalog.url.replace('127.0.0.1', 'localhost')}/api/courses`);
  run.process.kill('SIGTERM');
  await run.ended;
  await gone(pids);
});

test('on another address and ports of its own choice it says where', async () => {
  const hasIPv6 = Object.values(networkInterfaces()).some((all) => all!.some(({ address }) => address === '::1'));
  const [HOST, shown] = hasIPv6 ? ['::1', '[::1]'] : ['127.0.0.2', '127.0.0.2'];
  const run = await start(process.execPath, ['scripts/start.mjs'], {
    env: { HOST, STUDIO_PORT: '0', CATALOG_PORT: '0' },
  });

  const { ready } = await run.isReady();

  for (const line of ready.slice(1, 3)) {
    const [url] = /http:\S+/.exec(line)!;
    expect(url.startsWith(`http://${shown}:`)).toBe(true);
    expect((await fetch(`${url}/health/ready`)).status).toBe(200);
  }
});

test('a port that is none is refused, with its variable', async () => {
  const run = await start(process.execPath, ['scripts/start.mjs'], { env: { STUDIO_PORT: 'abc' } });
  expect(await run.ended).toBe('2');
  expect(run.lines).toEqual(['STUDIO_PORT must be a port between 0 and 65535, got "abc". See --help.']);
});

test('a bus that does not exist is refused, with those that do', async () => {
  const run = await start(process.execPath, ['scripts/start.mjs', '--bus', 'pigeon']);
  expect(await run.ended).toBe('2');
  expect(run.lines).toEqual(['--bus must be one of embedded, kafka, got "pigeon". See --help.']);
});

test('a port in use is named, with the variable that changes it', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  const CATALOG_PORT = String((server.address() as AddressInfo).port);
  const run = await start(process.execPath, ['scripts/start.mjs'], { env: { CATALOG_PORT } });
  expect(await run.ended).toBe('1');
  expect(run.lines.join('\n')).toMatch(/Port \d+ is in use.*CATALOG_PORT/);
});
