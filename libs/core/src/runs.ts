/**
 * Offsets finished ahead of a position, as run lengths: unfinished, finished, unfinished, finished, … counted from the position. Sets of
 * offsets here are ascending lists of half-open ranges.
 */
export type Range = readonly [from: number, to: number];

export function rangesOf(position: number, runs: readonly number[]): Range[] {
  const ranges: Range[] = [];
  let at = position;
  for (let i = 0; i + 1 < runs.length; i += 2) {
    const from = at + runs[i]!;
    at = from + runs[i + 1]!;
    ranges.push([from, at]);
  }
  return ranges;
}

export function runsOf(position: number, ranges: readonly Range[]): number[] {
  const runs: number[] = [];
  let at = position;
  for (const [from, to] of ranges) {
    runs.push(from - at, to - from);
    at = to;
  }
  return runs;
}

/** The union of both, without what lies before `position`. Of more than `limit` ranges the first ones: fewer is right, only not as good. */
export function mergeRanges(
  position: number,
  some: readonly Range[],
  others: readonly Range[],
  limit: number,
): Range[] {
  const merged: [number, number][] = [];
  for (const [from, to] of [...some, ...others].sort((a, b) => a[0] - b[0])) {
    const last = merged.at(-1);
    if (to <= position) continue;
    if (last !== undefined && from <= last[1]) last[1] = Math.max(last[1], to);
    else merged.push([Math.max(from, position), to]);
  }
  return merged.slice(0, limit);
}

/** Single offsets, in any order, as ranges. */
export function rangesOfOffsets(offsets: readonly number[]): Range[] {
  const ranges: [number, number][] = [];
  for (const offset of [...offsets].sort((a, b) => a - b)) {
    const last = ranges.at(-1);
    if (last !== undefined && offset <= last[1]) last[1] = Math.max(last[1], offset + 1);
    else ranges.push([offset, offset + 1]);
  }
  return ranges;
}

export function countOf(ranges: readonly Range[]): number {
  return ranges.reduce((sum, [from, to]) => sum + to - from, 0);
}
