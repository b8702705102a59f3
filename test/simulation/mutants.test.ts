import * as core from '@event-bus/core';
import { afterAll, expect, test } from 'vitest';
import { MUTANTS, forgetMutants, loadMutant } from './mutants.js';
import { simulate } from './world.js';

const SEEDS = 100;

afterAll(forgetMutants);

test.each(MUTANTS)('it is noticed when $name', async (mutant) => {
  const wrong = await loadMutant(mutant);
  for (let seed = 1; seed <= SEEDS; seed++) {
    const verdicts = await verdictsOf(seed, wrong);
    if (verdicts.length > 0) {
      console.log(`seed ${seed}: ${mutant.name}: ${verdicts.join(', ')}`);
      // What is noticed must be the mutant's doing.
      expect(await verdictsOf(seed, core)).toEqual([]);
      return;
    }
  }
  expect.fail(`${SEEDS} seeds did not notice it`);
});

test('a change that does not fit is refused', async () => {
  const edits = [{ file: 'tracker.ts', find: 'not there', replace: '' }];
  await expect(loadMutant({ name: 'nothing', edits })).rejects.toThrow(/fits 0 places/);
});

/** A mutant may also throw where the bus never does: that is noticed as well. */
async function verdictsOf(seed: number, from: typeof core): Promise<string[]> {
  try {
    const { verdicts } = await simulate(seed, from);
    return [...new Set(verdicts.map(({ verdict }) => verdict))];
  } catch (error) {
    return [`threw ${String(error)}`];
  }
}
