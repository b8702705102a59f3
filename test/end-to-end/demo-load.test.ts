import { spawn } from 'node:child_process';
import { expect, test } from 'vitest';
import { endOf, freePort, linesOf, root } from './samples.js';

test('the demonstration compares a full job with events, and finds the same courses in both', async () => {
  const args = ['run', 'demo:load', '--', '--courses', '60', '--edits', '60', '--interval', '1', '--flaky', '0.3'];
  const env = { ...process.env, STUDIO_PORT: String(await freePort()), CATALOG_PORT: String(await freePort()) };
  const child = spawn('npm', args, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const lines = linesOf(child);
  expect(await endOf(child), lines.join('\n')).toBe('0');
  const row = (name: string) =>
    lines
      .find((line) => line.startsWith(name))
      ?.slice(name.length)
      .trim()
      .split(/\s{2,}/);
  expect(lines).toContain('120 edits');
  expect(row('stale for, half of the edits')).toEqual([
    expect.stringMatching(/^[\d.]+ m?s$/),
    expect.stringMatching(/^[\d.]+ m?s$/),
  ]);
  expect(row('edits missing at the end')).toEqual(['0', '0']);
  // The same measure for both: a page that is painted sixty times a second may well pass over a state or two.
  expect(row('states it never showed')).toEqual([expect.stringMatching(/^\d+$/), expect.stringMatching(/^\d+$/)]);
});
