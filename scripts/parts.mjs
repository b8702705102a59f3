import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from './setup.mjs';

/** What `npm test` runs, in this order. All but the first are projects of vitest.config.ts. */
export const PARTS = {
  static: 'format, types, lint',
  unit: 'pure code beside its source, import rules, docs',
  simulation: 'the core under thousands of orders of events, from seeds',
  conformance: 'the promises of a transport, on the simulated and the embedded one',
  embedded: 'the embedded log under several processes, kills and full disks',
  'end-to-end': 'Studio and Catalog as their users see them, in a browser too',
  packages: 'packed libraries in an app of their own, and the supported versions of Nest',
  kafka: "a real Kafka and registry, and Open edX's own packages on the other end",
};

/** @typedef {keyof typeof PARTS} Part */

/** @type {[name: string, program: string, ...args: string[]][]} */
const STATIC_CHECKS = [
  ['format', 'prettier/bin/prettier.cjs', '--check', '.', '--log-level', 'warn'],
  ['types', 'typescript/bin/tsc', '--noEmit', '-p', 'tsconfig.test.json'],
  ['types of scripts', 'typescript/bin/tsc', '--noEmit', '-p', 'scripts/tsconfig.json'],
  ['lint', 'oxlint/bin/oxlint', '--type-aware', '--tsconfig', 'tsconfig.test.json'],
];

/**
 * Runs the parts one after the other, prints what was skipped and why and what failed, and ends with one line of counts. The exit code
 * says whether all passed.
 *
 * @param {readonly Part[]} parts
 * @param {{ reporter?: 'default' | 'dot' }} [options]
 */
export function runParts(parts, { reporter = 'default' } = {}) {
  const results = parts.map((part) => {
    const startedAt = Date.now();
    console.log(`\n── ${part}: ${PARTS[part]}`);
    const result = part === 'static' ? runStatic() : runProject(part, reporter);
    console.log(`── ${part} done in ${((Date.now() - startedAt) / 1000).toFixed(0)} s`);
    return result;
  });
  const all = (/** @type {'failures' | 'skips'} */ what) =>
    results.flatMap((result, i) => result[what].map((text) => `${parts[i]}: ${text}`));
  const passed = results.reduce((sum, result) => sum + result.passed, 0);
  const [skips, failures] = [all('skips'), all('failures')];
  print('skipped', skips);
  print('failed', failures);
  console.log(`\n${passed} passed, ${failures.length} failed, ${skips.length} skipped`);
  process.exitCode = failures.length > 0 || passed === 0 ? 1 : 0;
}

/** @param {string} title @param {string[]} lines */
function print(title, lines) {
  if (lines.length > 0) console.log(`\n${title}:\n${[...new Set(lines)].map((line) => `  ${line}`).join('\n')}`);
}

/** @typedef {{ passed: number, failures: string[], skips: string[] }} Result `skips` say why in the names of the tests. */

/** @returns {Result} */
function runStatic() {
  const failures = STATIC_CHECKS.flatMap(([name, program, ...args]) => {
    console.log(`${name} …`);
    const { status } = run([join('node_modules', program), ...args]);
    return status === 0 ? [] : [`${name}, see above; \`npm run fix\` mends what a machine may`];
  });
  return { passed: STATIC_CHECKS.length - failures.length, failures, skips: [] };
}

/** @param {Part} part @param {string} reporter @returns {Result} */
function runProject(part, reporter) {
  const folder = mkdtempSync(join(tmpdir(), 'event-bus-test-'));
  const report = join(folder, 'report.json');
  const { status } = run([
    'node_modules/vitest/vitest.mjs',
    'run',
    '--project',
    part,
    `--reporter=${reporter}`,
    '--reporter=json',
    `--outputFile.json=${report}`,
  ]);
  const result = count(report);
  rmSync(folder, { recursive: true, force: true });
  // A run that dies, or fails outside a test, must not count as green.
  if (status !== 0 && result.failures.length === 0) result.failures.push(`the run ended with exit code ${status}`);
  return result;
}

/** @param {string[]} args */
function run(args) {
  return spawnSync(process.execPath, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
}

/** @param {string} report @returns {Result} */
function count(report) {
  /** @type {Result} */
  const result = { passed: 0, failures: [], skips: [] };
  /** @type {{ testResults: { name: string, status: string, message?: string, assertionResults: { status: string, fullName: string, failureMessages?: string[] }[] }[] }} */
  let json;
  try {
    json = JSON.parse(readFileSync(report, 'utf8'));
  } catch {
    return result;
  }
  for (const file of json.testResults) {
    if (file.status === 'failed' && file.assertionResults.every((test) => test.status !== 'failed'))
      result.failures.push(`${file.name.replace(root, '.')}: ${file.message ?? 'failed outside its tests'}`);
    for (const test of file.assertionResults) {
      if (test.status === 'passed') result.passed++;
      else if (test.status === 'failed') result.failures.push(`${test.fullName}${why(test.failureMessages)}`);
      else result.skips.push(test.fullName);
    }
  }
  return result;
}

/**
 * What a test says of its failure, below its name: in a long log the place where it happened is far above.
 * @param {string[]} [messages]
 */
function why(messages = []) {
  const lines = messages.join('\n').split('\n').slice(0, 20);
  return lines.map((line) => `\n    ${line.slice(0, 400)}`).join('');
}
