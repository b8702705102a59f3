import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as core from '@event-bus/core';
import { fileHistory } from '@event-bus/testing';
import { expect, test } from 'vitest';
import { STATES, simulate, type Simulation, type State } from './world.js';

/**
 * `SIMULATION_SEED=7` runs one seed; `SIMULATION_SEEDS=1000` more fresh ones. By default: the seeds that failed once, 200 that are
 * always the same, and 100 that nobody has tried.
 */
const KEPT = fileURLToPath(new URL('./seeds.json', import.meta.url));
const one = process.env['SIMULATION_SEED'];
const fresh = Number(process.env['SIMULATION_SEEDS'] ?? 100);
const kept = JSON.parse(readFileSync(KEPT, 'utf8')) as number[];
const first = 1_000 + (Math.floor(Date.now() / 1_000) % 1_000_000) * 100;
const seeds = one === undefined ? [...kept, ...range(1, 200), ...range(first, fresh)] : [Number(one)];

test(
  `the promises hold in ${seeds.length} worlds, and every dangerous state was reached`,
  async () => {
    const reached = new Map<State, number>(STATES.map((state) => [state, 0]));
    const failed: Simulation[] = [];
    let steps = 0;
    for (const seed of seeds) {
      const simulation = await simulate(seed, core);
      steps += simulation.steps;
      for (const state of simulation.reached) reached.set(state, reached.get(state)! + 1);
      if (simulation.verdicts.length > 0) failed.push(simulation);
      if (failed.length >= 5) break;
    }
    console.log(
      `${seeds.length} seeds, ${steps} steps; worlds that reached\n${[...reached].map(([state, worlds]) => `  ${worlds} ${state}`).join('\n')}`,
    );

    keep(failed.map(({ seed }) => seed));
    expect(failed.map(report).join('\n')).toBe('');
    if (seeds.length < 300) return;
    expect([...reached].filter(([, worlds]) => worlds === 0).map(([state]) => state)).toEqual([]);
  },
  60_000 + 2_000 * seeds.length,
);

test('the same seed gives the same history', async () => {
  for (const seed of [4, 10, 27]) {
    const [once, twice] = [await simulate(seed, core), await simulate(seed, core)];
    expect(once.history.length).toBeGreaterThan(100);
    expect(JSON.stringify(twice.history)).toBe(JSON.stringify(once.history));
  }
});

/** Seeds that failed run first from now on, for ever. */
function keep(seedsThatFailed: readonly number[]): void {
  const all = [...new Set([...kept, ...seedsThatFailed])];
  if (all.length > kept.length) writeFileSync(KEPT, `[${all.join(', ')}]\n`);
}

/** What went wrong, where the history is, and one command to see it again. */
function report({ seed, verdicts, history }: Simulation): string {
  const path = join(mkdtempSync(join(tmpdir(), 'simulation-')), `${seed}.jsonl`);
  const file = fileHistory(path);
  for (const line of history) file.write(line);
  file.close();
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim();
  const found = verdicts.slice(0, 5).map(({ verdict, text }) => `    ${verdict}: ${text}`);
  const again = `SIMULATION_SEED=${seed} npx vitest run test/simulation/simulation.test.ts`;
  return [`seed ${seed} at ${commit}, ${verdicts.length} verdicts, history in ${path}`, ...found, `  ${again}`].join(
    '\n',
  );
}

function range(from: number, count: number): number[] {
  return Array.from({ length: count }, (_, n) => from + n);
}
