import { spawnSync } from 'node:child_process';
import { runCommand } from './command.mjs';
import { root, setUp } from './setup.mjs';

const HELP = `npm run fix

Corrects all that a machine may: what lint can mend, and the format of every file.

  --help  this text`;

await runCommand(HELP, {}, async () => {
  await setUp();
  for (const args of [
    ['node_modules/oxlint/bin/oxlint', '--type-aware', '--tsconfig', 'tsconfig.test.json', '--fix'],
    ['node_modules/prettier/bin/prettier.cjs', '--write', '.', '--log-level', 'warn'],
  ]) {
    if (spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' }).status !== 0) process.exitCode = 1;
  }
});
