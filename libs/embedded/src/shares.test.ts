import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { sharePartitions } from './shares.js';

describe('sharePartitions', () => {
  it('gives everything to a member that is alone', () => {
    expect(sharePartitions([undefined, undefined, undefined], ['a'], 1)).toEqual(['a', 'a', 'a']);
  });

  it('moves only what a newcomer needs', () => {
    expect(sharePartitions(['a', 'a', 'a', 'a'], ['a', 'b'], 1)).toEqual(['a', 'a', 'b', 'b']);
  });

  it('gives nothing when nobody is there', () => {
    expect(sharePartitions(['a', undefined], [], 1)).toEqual([undefined, undefined]);
  });

  it('spreads topics of one partition over the members', () => {
    const owners = [1, 2, 3, 4].map((topic) => sharePartitions([undefined], ['a', 'b'], topic)[0]);
    expect(owners.filter((owner) => owner === 'a')).toHaveLength(2);
  });

  const members = fc
    .uniqueArray(fc.constantFrom('a', 'b', 'c', 'd', 'e'), { minLength: 1 })
    .map((names) => names.sort());
  const owners = fc.array(fc.constantFrom('a', 'b', 'c', 'd', 'e', 'gone', undefined), { minLength: 1, maxLength: 16 });

  it('is fair and complete for any table', () => {
    fc.assert(
      fc.property(owners, members, fc.nat(9), (held, live, topic) => {
        const wanted = sharePartitions(held, live, topic);
        const counts = live.map((member) => wanted.filter((owner) => owner === member).length);
        expect(counts.reduce((sum, count) => sum + count, 0)).toBe(held.length);
        expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
      }),
    );
  });

  it('settles: what it answered it answers again', () => {
    fc.assert(
      fc.property(owners, members, fc.nat(9), (held, live, topic) => {
        const wanted = sharePartitions(held, live, topic);
        expect(sharePartitions(wanted, live, topic)).toEqual(wanted);
      }),
    );
  });

  it('takes from nobody who has no more than a fair share', () => {
    fc.assert(
      fc.property(owners, members, fc.nat(9), (held, live, topic) => {
        const wanted = sharePartitions(held, live, topic);
        for (const member of live) {
          const had = held.filter((owner) => owner === member).length;
          const kept = held.filter((owner, i) => owner === member && wanted[i] === member).length;
          expect(kept).toBeGreaterThanOrEqual(Math.min(had, Math.floor(held.length / live.length)));
        }
      }),
    );
  });
});
