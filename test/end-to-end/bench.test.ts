import { spawn } from 'node:child_process';
import { expect, test } from 'vitest';
import { endOf, linesOf, root } from './samples.js';

const [, list] = /\n\n((?: {2}\w+ .*\n)+)/.exec((await bench('--help')).lines.join('\n'))!;
const names = list!.match(/^ {2}\w+/gm)!.map((name) => name.trim());

test.each(names)(
  'npm run bench -- %s says what it measures, and refuses a part that it does not have',
  async (name) => {
    const help = await bench(name, '--help');
    expect(help.end).toBe('0');
    expect(help.lines[0]).toBe(`npm run bench -- ${name} [options]`);

    const typo = await bench(name, '--only', 'typo');
    expect(typo.end).toBe('2');
    expect(typo.lines).toEqual([`${name} has no part "typo". See --help.`]);
  },
);

test('a benchmark prints what it ran on, its figures, what is wanted and whether it was reached', async () => {
  const { end, lines } = await bench('embedded', '--quick', '--only', 'publish');
  expect(end, lines.join('\n')).toBe('0');
  expect(lines.join('\n')).toMatch(/Node \d+.*, commit \w+/);
  expect(lines.find((line) => line.includes('batches of 1000'))).toMatch(/k\/s.*k\/s.*(met|MISSED), want ≥ 0.6/);
});

async function bench(...args: string[]): Promise<{ end: string; lines: readonly string[] }> {
  const child = spawn(process.execPath, ['scripts/bench.mjs', ...args], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const lines = linesOf(child);
  return { end: await endOf(child), lines };
}
