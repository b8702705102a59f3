import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { countOf, mergeRanges, rangesOf, rangesOfOffsets, runsOf } from './runs.js';

const offsets = fc.array(fc.nat(60));
const members = (ranges: readonly (readonly [number, number])[]) =>
  ranges.flatMap(([from, to]) => Array.from({ length: to - from }, (_, i) => from + i));

describe('runs of finished offsets', () => {
  it('are short for long runs', () => {
    expect(runsOf(10, rangesOfOffsets([12, 13, 14, 20]))).toEqual([2, 3, 5, 1]);
  });

  it('say the same after a round trip', () => {
    fc.assert(
      fc.property(fc.nat(5), offsets, (position, some) => {
        const ranges = rangesOfOffsets(some.map((offset) => offset + position));
        expect(rangesOf(position, runsOf(position, ranges))).toEqual(ranges);
      }),
    );
  });

  it('merge like sets', () => {
    fc.assert(
      fc.property(fc.nat(30), offsets, offsets, (position, some, others) => {
        const merged = mergeRanges(position, rangesOfOffsets(some), rangesOfOffsets(others), 1_000);
        const expected = [...new Set([...some, ...others])]
          .filter((offset) => offset >= position)
          .sort((a, b) => a - b);
        expect(members(merged)).toEqual(expected);
        expect(countOf(merged)).toBe(expected.length);
      }),
    );
  });

  it('keep to their limit, the nearest first', () => {
    expect(mergeRanges(0, rangesOfOffsets([1, 3, 5]), [], 2)).toEqual([
      [1, 2],
      [3, 4],
    ]);
  });
});
