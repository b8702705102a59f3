/** How figures are summed up and printed, the same in all benchmarks. */

export function quantile(numbers, share) {
  return numbers.toSorted((a, b) => a - b)[Math.min(numbers.length - 1, Math.floor(numbers.length * share))];
}

export const median = (numbers) => quantile(numbers, 0.5);

/** Median, lowest and highest: `0.61 (0.55–0.70)`. */
export function spread(numbers, format) {
  if (numbers.length === 1) return format(numbers[0]);
  return `${format(median(numbers))} (${format(Math.min(...numbers))}–${format(Math.max(...numbers))})`;
}

/** What is wanted, and whether it was reached: `met, want ≥ 0.60`. */
export const atLeast = (figure, want, format = String) => verdict(figure >= want, `≥ ${format(want)}`);
export const atMost = (figure, want, format = String) => verdict(figure <= want, `≤ ${format(want)}`);

const verdict = (isMet, want) => `${isMet ? 'met' : 'MISSED'}, want ${want}`;

export const whole = (number) => Math.round(number).toLocaleString('en');
export const decimals = (digits) => (number) => number.toFixed(digits);
export const thousands = (perSecond) => `${(perSecond / 1_000).toFixed(1)} k/s`;
export const times = (ratio) => `${ratio.toFixed(ratio < 10 ? 2 : 1)}×`;
export const percent = (share) => `${(share * 100).toFixed(2)} %`;

/** Rows of cells under heads, each column as wide as it needs to be: the first to the left, the others to the right. */
export function printTable(heads, rows) {
  const all = [heads, ...rows];
  const widths = heads.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)));
  for (const row of all) {
    const cells = row.map((cell, column) =>
      column === 0 ? cell.padEnd(widths[0]) : column === heads.length - 1 ? cell : cell.padStart(widths[column]),
    );
    console.log(`  ${cells.join('  ')}`.trimEnd());
  }
}

/**
 * What an event costs in µs of processor, in worlds that grow, and how far the dearest is from the cheapest; `fromFirst` where a larger
 * world may well be cheaper: from the smallest world.
 */
export function printGrowth(what, verbs, worlds, { want = 1.3, fromFirst = false } = {}) {
  console.log();
  printTable(
    [what, ...verbs],
    worlds.map((world) => [world.size.toLocaleString('en'), ...verbs.map((verb) => spread(world[verb], decimals(2)))]),
  );
  for (const verb of verbs) {
    const costs = worlds.map((world) => median(world[verb]));
    const growth = Math.max(...costs) / (fromFirst ? costs[0] : Math.min(...costs));
    const to = fromFirst ? 'first' : 'cheapest';
    console.log(`  ${verb}, dearest to ${to}: ${times(growth)}   ${atMost(growth, want, times)}`);
  }
}

/** Calls each contender once a round, so that what else runs on the machine meets all alike. Answers the results of each, by name. */
export async function inTurns(rounds, contenders) {
  const results = Object.fromEntries(Object.keys(contenders).map((name) => [name, []]));
  for (let round = 0; round < rounds; round++)
    for (const [name, run] of Object.entries(contenders)) results[name].push(await run(round));
  return results;
}

/** The ratio of each round by itself. */
export const ratios = (some, others) => some.map((value, round) => value / others[round]);

/** Wall time and processor time of this process. */
export function stopwatch() {
  const startedAt = performance.now();
  const cpu = process.cpuUsage();
  return () => {
    const ms = performance.now() - startedAt;
    const { user, system } = process.cpuUsage(cpu);
    return { ms, cpuUs: user + system };
  };
}

/** What one of `count` events took in `run`. */
export async function measured(count, run) {
  const stop = stopwatch();
  await run();
  return rateOf(count, stop());
}

export function rateOf(count, { ms, cpuUs }) {
  return { perSecond: count / (ms / 1_000), cpuUs: cpuUs / count };
}

export const ratesOf = (results) => results.map(({ perSecond }) => perSecond);

/** Two cells: events per second, µs of processor for each. */
export function rateCells(results) {
  const costs = results.map(({ cpuUs }) => cpuUs);
  return [spread(ratesOf(results), thousands), spread(costs, decimals(1))];
}

/** Milliseconds that `run` took. */
export async function timed(run) {
  const stop = stopwatch();
  await run();
  return stop().ms;
}

/** A cell about waiting. */
export function waits(ms) {
  return `p50 ${quantile(ms, 0.5).toFixed(2)} p99 ${quantile(ms, 0.99).toFixed(2)}`;
}

export const ratioOfMedians = (some, others) => decimals(2)(median(some) / median(others));
