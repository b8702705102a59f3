/** `npm run check`: format, types, lint, unit tests, import rules, docs and conformance on the embedded log. Fast enough for before every commit. */
import { spawnSync } from 'node:child_process';
import { root, setUp } from './setup.mjs';

setUp();
const node = process.execPath;
/** @type {[name: string, args: string[]][]} */
const steps = [
  ['format', ['node_modules/prettier/bin/prettier.cjs', '--check', '.', '--log-level', 'warn']],
  ['types', ['node_modules/typescript/bin/tsc', '--noEmit', '-p', 'tsconfig.test.json']],
  ['types of scripts', ['node_modules/typescript/bin/tsc', '--noEmit', '-p', 'scripts/tsconfig.json']],
  ['lint', ['node_modules/oxlint/bin/oxlint', '--type-aware', '--tsconfig', 'tsconfig.test.json']],
  [
    'unit tests, import rules, docs, conformance',
    ['node_modules/vitest/vitest.mjs', 'run', '--project', 'unit', '--project', 'conformance', '--reporter=dot'],
  ],
];
const failed = steps.filter(([name, args]) => {
  const startedAt = Date.now();
  console.log(`── ${name}`);
  const { status } = spawnSync(node, args, { cwd: root, stdio: 'inherit' });
  console.log(`   ${status === 0 ? 'ok' : 'FAILED'} in ${((Date.now() - startedAt) / 1000).toFixed(1)} s`);
  return status !== 0;
});
if (failed.length > 0)
  console.error(`\nfailed: ${failed.map(([name]) => name).join(', ')}. \`npm run fix\` mends what a machine may.`);
process.exitCode = failed.length > 0 ? 1 : 0;
