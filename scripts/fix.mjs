/** `npm run fix`: all that a machine may correct. */
import { spawnSync } from 'node:child_process';
import { root, setUp } from './setup.mjs';

setUp();
for (const args of [
  ['node_modules/oxlint/bin/oxlint', '--type-aware', '--tsconfig', 'tsconfig.test.json', '--fix'],
  ['node_modules/prettier/bin/prettier.cjs', '--write', '.', '--log-level', 'warn'],
]) {
  if (spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' }).status !== 0) process.exitCode = 1;
}
