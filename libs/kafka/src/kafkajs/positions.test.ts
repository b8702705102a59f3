import fc from 'fast-check';
import { expect, it } from 'vitest';
import { afterDoubt, beginningOf, verdictOn } from './positions.js';

const place = { topic: 'orders', partition: 3 };
const log = { start: 100n, end: 200n };
const begin = (position: bigint, from: 'earliest' | 'latest' = 'earliest') =>
  beginningOf(place, { position, metadata: 'eb1:x' }, log, from === 'earliest' ? log.start : log.end, from);

it('begins at the committed position, with what was committed beside it', () => {
  expect(begin(150n)).toEqual({ position: 150n, metadata: 'eb1:x', isMoved: false });
  expect(begin(200n)).toEqual({ position: 200n, metadata: 'eb1:x', isMoved: false });
});

it('begins where the subscription says when the group has no position, and holds on to that', () => {
  expect(begin(-1n)).toEqual({ position: 100n, metadata: '', isMoved: false });
  expect(begin(-1n, 'latest')).toEqual({ position: 200n, metadata: '', isMoved: true });
});

it('does not take a reset by kafkajs for a group without a position', () => {
  expect(begin(-2n, 'latest')).toMatchObject({ position: 100n });
});

it('names what retention took', () => {
  expect(begin(60n)).toMatchObject({ position: 100n, isMoved: true, lost: { from: '60', to: '100', count: 40 } });
});

it('starts over, loudly, when the position lies behind the end', () => {
  expect(begin(201n)).toMatchObject({ position: 100n, isMoved: true, lost: { from: '200', to: '201' } });
});

/**
 * A partition under a reader: records are appended, retention cuts the start, the topic is made anew, and batches come from where the
 * reader is, from an older place, or from where a silent reset led. Whatever happens, each record is either read or in a lost range.
 */
const step = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('read' as const), count: fc.integer({ min: 1, max: 5 }) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('append' as const), count: fc.integer({ min: 1, max: 9 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('cut' as const), count: fc.integer({ min: 1, max: 6 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('stale' as const), count: fc.integer({ min: 1, max: 9 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('ahead' as const), count: fc.integer({ min: 1, max: 9 }) }) },
);

it('reads every record or names it as lost, in any order of events', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      let log = { start: 0n, end: 5n };
      let position = 0n;
      const seen: bigint[] = [];
      const lost: bigint[] = [];
      const range = (from: bigint, to: bigint) => Array.from({ length: Number(to - from) }, (_, i) => from + BigInt(i));

      const deliver = (fetched: bigint, count: number) => {
        const from = fetched < log.start ? log.start : fetched; // a fetch before the start ends in kafkajs's reset to the start
        const next = from + BigInt(count) > log.end ? log.end : from + BigInt(count);
        if (next <= from) return;
        const verdict = verdictOn(position, from, next, log.end);
        if (verdict.kind === 'take' || verdict.kind === 'overlap') {
          seen.push(...range(from > position ? from : position, next));
          position = next;
        } else if (verdict.kind === 'doubt') {
          const after = afterDoubt(place, position, log);
          if (after.lost) lost.push(...range(BigInt(after.lost.from), BigInt(after.lost.to)));
          position = after.position;
        }
      };

      for (const { kind, count } of steps) {
        const by = BigInt(count);
        if (kind === 'append') log = { ...log, end: log.end + by };
        else if (kind === 'cut') log = { ...log, start: log.start + by > log.end ? log.end : log.start + by };
        else if (kind === 'read') deliver(position, count);
        else if (kind === 'stale') deliver(position - by < 0n ? 0n : position - by, count * 2);
        else deliver(position + by, count);
      }
      for (let i = 0; i < 200 && position < log.end; i++) deliver(position, 3);

      expect([...seen, ...lost].sort((a, b) => Number(a - b))).toEqual(range(0n, position));
      expect(position >= log.end || log.start === log.end).toBe(true);
      expect(seen).toEqual([...seen].sort((a, b) => Number(a - b)));
    }),
    { numRuns: 500 },
  );
});
