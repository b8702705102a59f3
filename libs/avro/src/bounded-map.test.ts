import { expect, test } from 'vitest';
import { BoundedMap } from './bounded-map.js';

test('what is used stays, what is not used goes, and the size is bounded', () => {
  const map = new BoundedMap<number, string>(10);

  map.set(-1, 'used');
  for (let i = 0; i < 1_000; i++) {
    map.set(i, `value ${i}`);
    expect(map.get(-1)).toBe('used');
  }

  expect(map.get(999)).toBe('value 999');
  expect(
    Array.from({ length: 1_000 }, (_, i) => map.get(i)).filter((value) => value !== undefined).length,
  ).toBeLessThanOrEqual(20);
});

test('entries count by their weight', () => {
  const map = new BoundedMap<number, string>(100, (text) => text.length);

  map.set(1, 'x'.repeat(100));
  map.set(2, 'y'.repeat(100));
  map.set(3, 'z'.repeat(100));

  expect(map.get(1)).toBeUndefined();
  expect(map.get(3)).toBe('z'.repeat(100));
});

test('a deleted entry is gone from both generations', () => {
  const map = new BoundedMap<number, string>(1);
  map.set(1, 'a');
  map.set(2, 'b');

  map.delete(1);

  expect(map.get(1)).toBeUndefined();
  expect(map.get(2)).toBe('b');
});
