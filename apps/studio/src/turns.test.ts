import { expect, test } from 'vitest';
import { turnsPerKey } from './turns.js';

test('tasks of one key run in the order of the calls, also after a failure', async () => {
  const inTurn = turnsPerKey();
  const seen: string[] = [];
  const task = (name: string, ms: number) => async () => {
    seen.push(`${name} begins`);
    await new Promise((resolve) => setTimeout(resolve, ms));
    seen.push(`${name} ends`);
    if (name === 'a') throw new Error('a failed');
  };
  const a = inTurn('key', task('a', 10));
  const b = inTurn('key', task('b', 0));
  const other = inTurn('other', task('c', 0));
  await expect(a).rejects.toThrow('a failed');
  await Promise.all([b, other]);
  expect(seen.filter((line) => !line.startsWith('c'))).toEqual(['a begins', 'a ends', 'b begins', 'b ends']);
  expect(seen.indexOf('c ends')).toBeLessThan(seen.indexOf('a ends'));
});
