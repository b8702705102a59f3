import fc from 'fast-check';
import { expect, test } from 'vitest';
import { aheadMetadata, rangesAhead } from './finished-ahead.js';
import type { Range } from '@event-bus/core/internal';

const gaps = fc.array(fc.tuple(fc.integer({ min: 1, max: 5_000 }), fc.integer({ min: 1, max: 5_000 })), {
  maxLength: 3_000,
});

function rangesFrom(position: number, steps: readonly (readonly [number, number])[]): Range[] {
  let at = position;
  return steps.map(([gap, length]) => {
    const from = at + gap;
    at = from + length;
    return [from, at] as const;
  });
}

test('what is read back is what was written, or its beginning when it is over the limit of the broker', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 40 }), gaps, (position, steps) => {
      const ranges = rangesFrom(position, steps);
      const metadata = aheadMetadata(position, ranges);
      const read = rangesAhead(position, metadata);
      expect(metadata.length).toBeLessThanOrEqual(4_096);
      expect(read).toEqual(ranges.slice(0, read.length));
      if (ranges.length < 500) expect(read).toHaveLength(ranges.length);
    }),
  );
});

test('foreign and broken strings mean that nothing is known', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      fc.pre(!text.startsWith('eb1:'));
      expect(rangesAhead(7, text)).toEqual([]);
    }),
  );
  expect(rangesAhead(7, 'eb1:gICAgICAgICAgIA')).toEqual([]);
  expect(rangesAhead(7, 'eb1:gA')).toEqual([]);
});
