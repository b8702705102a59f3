import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, test } from 'vitest';
import { once } from './cache.mjs';

const cache = (process.env.EVENT_BUS_SERVERS = mkdtempSync(join(tmpdir(), 'event-bus-cache-')));
afterAll(() => rmSync(cache, { recursive: true }));

const CACHE = JSON.stringify(new URL('./cache.mjs', import.meta.url).href);

/** @param {string} make the body of the function that fills the folder */
function inAnotherProcess(make) {
  const program = `
    import { appendFileSync, writeFileSync } from 'node:fs';
    const { once } = await import(${CACHE});
    await once(process.argv[1], () => {}, async (folder) => { ${make} });`;
  return {
    /** @param {string} name */
    run(name) {
      const child = spawn(process.execPath, ['--input-type=module', '-e', program, name], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const wrote = new Promise((resolve) => child.stdout.once('data', resolve));
      return { child, wrote, ended: new Promise((resolve) => child.once('exit', resolve)) };
    },
  };
}

test('processes that want the same folder make it once', async () => {
  const made = join(cache, 'made');
  const maker = inAnotherProcess(`
    appendFileSync(${JSON.stringify(made)}, 'made ');
    await new Promise((resolve) => setTimeout(resolve, 300));
    writeFileSync(folder + '/content', 'all of it');`);

  await Promise.all([1, 2, 3, 4].map(() => maker.run('shared').ended));

  assert.equal(readFileSync(made, 'utf8'), 'made ');
  assert.equal(readFileSync(join(cache, 'shared/content'), 'utf8'), 'all of it');
});

test('a process killed while it made a folder leaves neither a half folder nor a lock that holds', async () => {
  const stuck = inAnotherProcess(`
    writeFileSync(folder + '/content', 'half');
    console.log('half');
    await new Promise((resolve) => setTimeout(resolve, 60_000));`).run('interrupted');
  await stuck.wrote;
  stuck.child.kill('SIGKILL');
  await stuck.ended;

  const folder = await once(
    'interrupted',
    () => {},
    async (draft) => writeFileSync(join(draft, 'content'), 'whole'),
  );

  assert.equal(readFileSync(join(folder, 'content'), 'utf8'), 'whole');
  assert.deepEqual(
    readdirSync(cache).filter((name) => /draft|lock/.test(name)),
    [],
  );
});

test('a folder whose making failed is made again', async () => {
  const failing = once(
    'failed',
    () => {},
    () => Promise.reject(new Error('no network')),
  );
  await assert.rejects(failing, /no network/);

  const folder = await once(
    'failed',
    () => {},
    async (draft) => writeFileSync(join(draft, 'content'), 'whole'),
  );

  assert.deepEqual(readdirSync(folder), ['content']);
});
