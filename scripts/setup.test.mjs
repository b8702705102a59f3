import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, onTestFinished, test, vi } from 'vitest';
import { root } from './setup.mjs';

test('a fresh clone is installed and compiled, once', { timeout: 60_000 }, () => {
  const clone = freshClone();

  const first = clone.setUp();
  expect(first.status).toBe(0);
  // What the tutorial shows is what newcomers see.
  const shown = readFileSync(join(root, 'docs/start.md'), 'utf8').match(/^set-up: .*$/gm) ?? [];
  expect(first.lines).toEqual(shown.map(withoutNumbers));
  expect(clone.setUp()).toEqual({ status: 0, lines: [] });
});

test('a build that failed is tried again until it succeeds', { timeout: 60_000 }, () => {
  const clone = freshClone();
  clone.write('libs/greeting/src/index.ts', 'export const greeting: number = "hello";\n');

  for (const attempt of [1, 2]) {
    const { status, lines } = clone.setUp();
    expect(status, `attempt ${attempt}`).toBe(1);
    expect(lines.at(-1)).toBe('set-up: tsc -b ended with exit code N.');
  }
  clone.write('libs/greeting/src/index.ts', 'export const greeting: string = "hello";\n');
  expect(clone.setUp().status).toBe(0);
  expect(clone.setUp().lines).toEqual([]);
});

test('a set-up that is interrupted says so, and leaves nothing running', async () => {
  const clone = freshClone();
  clone.write('bin/npm', '#!/bin/sh\necho $$ > npm.pid\nexec sleep 600\n');
  clone.write(
    'scripts/start.mjs',
    `import { setUp } from './setup.mjs';
     const interrupted = new AbortController();
     process.on('SIGTERM', () => interrupted.abort());
     await setUp({ signal: interrupted.signal });`,
  );
  const child = spawn(process.execPath, [join(clone.folder, 'scripts/start.mjs')], clone.options);
  const said = text(child.stderr);
  await vi.waitUntil(() => existsSync(join(clone.folder, 'npm.pid')), 20_000);
  const npm = Number(readFileSync(join(clone.folder, 'npm.pid'), 'utf8'));

  child.kill('SIGTERM');

  expect(await once(child, 'exit')).toEqual([130, null]);
  expect(await said).toBe('set-up: installing packages (once)\nset-up: interrupted\n');
  expect(() => process.kill(npm, 0)).toThrow('ESRCH');
});

/** A workspace of one library that has the real script, and an npm that installs nothing but the compiler. */
function freshClone() {
  const folder = mkdtempSync(join(tmpdir(), 'event-bus-set-up-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  /** @param {string} path @param {string} text */
  const write = (path, text) => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  };
  cpSync(join(root, 'scripts/setup.mjs'), join(folder, 'scripts/setup.mjs'));
  mkdirSync(join(folder, 'apps'));
  write('package.json', '{ "type": "module" }');
  write('package-lock.json', '{}');
  write(
    'tsconfig.base.json',
    '{ "compilerOptions": { "composite": true, "types": [], "lib": ["es5"], "skipLibCheck": true, "module": "nodenext" } }',
  );
  write('tsconfig.json', '{ "files": [], "references": [{ "path": "libs/greeting" }] }');
  write(
    'libs/greeting/tsconfig.json',
    '{ "extends": "../../tsconfig.base.json", "include": ["src"], "compilerOptions": { "rootDir": "src", "outDir": "dist", "tsBuildInfoFile": "dist/.tsbuildinfo" } }',
  );
  write('libs/greeting/src/index.ts', 'export const greeting = "hello";\n');
  write(
    'bin/npm',
    `#!/bin/sh\nmkdir node_modules && ln -s '${join(root, 'node_modules/typescript')}' node_modules/ && touch node_modules/.package-lock.json\n`,
  );
  chmodSync(join(folder, 'bin/npm'), 0o755);
  const options = {
    cwd: folder,
    env: { ...process.env, PATH: `${join(folder, 'bin')}${delimiter}${process.env.PATH}` },
  };
  return {
    folder,
    options,
    write,
    /** How the script ended, and what it said; numbers as N. */
    setUp() {
      const script = join(folder, 'scripts/setup.mjs');
      const { status, stderr } = spawnSync(process.execPath, [script], { ...options, encoding: 'utf8' });
      const lines = stderr.split('\n').filter((line) => line !== '');
      return { status, lines: lines.map(withoutNumbers) };
    },
  };
}

/** @param {string} line */
function withoutNumbers(line) {
  return line.replaceAll(/\d+(\.\d+)?/g, 'N');
}
