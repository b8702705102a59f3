import type { RootDatabase } from 'lmdb';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Readers } from './readers.js';

beforeEach(() => void vi.useFakeTimers({ toFake: ['hrtime'] }));
afterEach(() => vi.useRealTimers());

it('warns once about a snapshot that stays open, and again about the next one', async () => {
  const warnings: string[] = [];
  const hear = (warning: Error) => void warnings.push(warning.message);
  process.on('warning', hear);
  let list = '    pid     thread     txnid\n  4711 7f00 12\n  4712 7f01 -\n';
  const readers = new Readers({ readerCheck: () => 0, readerList: () => list } as RootDatabase, '/data');
  const checkAfter = (seconds: number) => {
    vi.advanceTimersByTime(seconds * 1_000);
    readers.check();
  };

  for (const seconds of [0, 59]) checkAfter(seconds);
  expect(readers.oldestMs()).toBe(59_000);
  for (const seconds of [2, 30]) checkAfter(seconds);
  list = '  4711 7f00 13\n';
  for (const seconds of [1, 61]) checkAfter(seconds);
  readers.close();

  await new Promise((resolve) => setImmediate(resolve));
  process.off('warning', hear);
  expect(warnings).toHaveLength(2);
  expect(warnings[0]).toMatch(/has held its snapshot for 61 s.*4711 7f00 12/s);
});
