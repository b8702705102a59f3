/**
 * `npm test [-- <part> …]`: all tests, each part doing its own set-up. Prints what was skipped and why, and ends with one line of counts.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root, setUp } from './setup.mjs';

const PARTS = {
  unit: 'pure code beside its source, import rules, docs',
  simulation: 'the core under thousands of orders of events, from seeds',
  conformance: 'the promises of a transport, on the simulated and the embedded one',
  embedded: 'the embedded log under several processes, kills and full disks',
  'end-to-end': 'Studio and Catalog as their users see them, in a browser too',
  packages: 'packed libraries in an app of their own, and the supported versions of Nest',
  kafka: "a real Kafka and registry, and Open edX's own packages on the other end",
};

const asked = process.argv.slice(2);
if (asked.includes('--help') || asked.some((part) => !(part in PARTS))) {
  const unknown = asked.find((part) => !(part in PARTS) && part !== '--help');
  if (unknown !== undefined) console.error(`There is no part "${unknown}".`);
  console.log(
    `npm test [-- <part> …]\n\n${Object.entries(PARTS)
      .map(([part, what]) => `  ${part.padEnd(13)}${what}`)
      .join('\n')}`,
  );
  process.exit(unknown === undefined ? 0 : 2);
}

setUp();
const reports = mkdtempSync(join(tmpdir(), 'event-bus-test-'));
const total = { passed: 0, failed: 0, skipped: 0 };
/** @type {string[]} */
const skips = [];
/** @type {string[]} */
const failures = [];
for (const part of asked.length > 0 ? asked : Object.keys(PARTS)) runPart(part);
rmSync(reports, { recursive: true, force: true });

if (skips.length > 0) console.log(`\nskipped:\n${[...new Set(skips)].map((skip) => `  ${skip}`).join('\n')}`);
if (failures.length > 0) console.log(`\nfailed:\n${failures.map((failure) => `  ${failure}`).join('\n')}`);
console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0;

/** @param {string} part */
function runPart(part) {
  const startedAt = Date.now();
  console.log(`\n── ${part}: ${PARTS[/** @type {keyof typeof PARTS} */ (part)]}`);
  const report = join(reports, `${part}.json`);
  const args = [
    'node_modules/vitest/vitest.mjs',
    'run',
    '--project',
    part,
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${report}`,
  ];
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
  const before = total.failed;
  count(part, report);
  // A run that dies, or fails outside a test, must not count as green.
  if (status !== 0 && total.failed === before) {
    total.failed++;
    failures.push(`${part}: the run ended with exit code ${status}`);
  }
  console.log(`── ${part} done in ${((Date.now() - startedAt) / 1000).toFixed(0)} s`);
}

/** @param {string} part @param {string} report */
function count(part, report) {
  /** @type {{ testResults: { name: string, status: string, message?: string, assertionResults: { status: string, fullName: string, failureMessages?: string[] }[] }[] }} */
  let json;
  try {
    json = JSON.parse(readFileSync(report, 'utf8'));
  } catch {
    return;
  }
  for (const file of json.testResults) {
    if (file.status === 'failed' && file.assertionResults.every((test) => test.status !== 'failed')) {
      total.failed++;
      failures.push(`${part}: ${file.name.replace(root, '.')}: ${file.message ?? 'failed outside its tests'}`);
    }
    for (const test of file.assertionResults) {
      if (test.status === 'passed') total.passed++;
      else if (test.status === 'failed') {
        total.failed++;
        failures.push(`${part}: ${test.fullName}${why(test.failureMessages)}`);
      } else {
        total.skipped++;
        skips.push(`${part}: ${test.fullName}`);
      }
    }
  }
}

/**
 * What a test says of its failure, below its name: in a long log the place where it happened is far above.
 * @param {string[]} [messages]
 */
function why(messages = []) {
  const lines = messages.join('\n').split('\n').slice(0, 20);
  return lines.map((line) => `\n    ${line.slice(0, 400)}`).join('');
}
