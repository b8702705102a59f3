import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { root } from './setup.mjs';

/** @type {Record<string, string>} */
const scripts = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).scripts;
const commands = Object.entries(scripts).flatMap(([name, command]) => {
  const [, file] = /(scripts\/\S+\.mjs)/.exec(command) ?? [];
  return file === undefined ? [] : [{ name, file }];
});

test.each(commands)('npm run $name explains itself, and refuses an option that it does not have', ({ name, file }) => {
  const help = run(file, '--help');
  expect(help).toMatchObject({ status: 0, stderr: '' });
  expect(help.stdout).toMatch(new RegExp(`^.*npm (run )?${name}\\b`, 'm'));

  expect(run(file, '--bogus')).toMatchObject({
    status: 2,
    stdout: '',
    stderr: "Unknown option '--bogus'. See --help.\n",
  });
});

test.each([
  ['scripts/start.mjs', 'There is no service "toString". See --help.\n'],
  ['scripts/test.mjs', 'There is no part "toString". See --help.\n'],
])('%s has nothing that is called toString', (file, stderr) => {
  expect(run(file, 'toString')).toMatchObject({ status: 2, stdout: '', stderr });
});

test('an option that npm has kept for itself is told, not ignored', () => {
  expect(run('scripts/start.mjs', { npm_config_bus: 'kafka' })).toMatchObject({
    status: 2,
    stderr: 'npm has kept --bus for itself: write npm start -- --bus <name>. See --help.\n',
  });
});

/** @param {string} file @param {string | Record<string, string>} argumentOrEnv */
function run(file, argumentOrEnv) {
  const [args, env] = typeof argumentOrEnv === 'string' ? [[argumentOrEnv], {}] : [[], argumentOrEnv];
  return spawnSync(process.execPath, [join(root, file), ...args], {
    env: { ...process.env, ...env },
    encoding: 'utf8',
    timeout: 15_000,
  });
}
