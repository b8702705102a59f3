import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Clock } from './clock.js';
import { uuidMaker } from './envelope.js';

const clockAt = (now: () => number) => ({ now }) as Clock;
const zero = () => 0;

/** The 60 bits of time of a UUID of version 1: hundreds of nanoseconds since 1582-10-15. */
function timeOf(id: string): bigint {
  const [low, middle, high] = id.split('-') as [string, string, string];
  return BigInt(`0x${high.slice(1)}${middle}${low}`);
}

describe('event ids', () => {
  // RFC 9562, appendix A.1: 2022-02-22T14:22:22.00-05:00 is the time C232AB00-9414-11EC-... .
  test('carry the time as RFC 9562 has it', () => {
    const id = uuidMaker(
      clockAt(() => Date.parse('2022-02-22T14:22:22.00-05:00')),
      zero,
    )();
    expect(id).toBe('c232ab00-9414-11ec-8000-010000000000');
  });

  test('are of version 1 and variant 10, with a node id that is no network address', () => {
    fc.assert(
      fc.property(
        fc.nat(2 ** 42),
        fc.infiniteStream(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })),
        (ms, chances) => {
          const id = uuidMaker(
            clockAt(() => ms),
            () => chances.next().value as number,
          )();
          expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-1[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
          expect(Number.parseInt(id.slice(24, 26), 16) & 1).toBe(1);
        },
      ),
    );
  });

  test('rise strictly, however the clock steps', () => {
    const steps = fc.array(fc.integer({ min: -100_000, max: 100_000 }), { minLength: 1, maxLength: 200 });
    fc.assert(
      fc.property(steps, (changes) => {
        let now = Date.UTC(2026, 0, 1);
        const next = uuidMaker(
          clockAt(() => now),
          zero,
        );
        let last = timeOf(next());
        for (const change of changes) {
          now += change;
          const time = timeOf(next());
          expect(time > last).toBe(true);
          last = time;
        }
      }),
    );
  });

  test('a millisecond that is used up borrows from the next, also over the borders of 32 bits', () => {
    // The low 32 bits turn over about every 429 seconds: find a millisecond in which they do.
    const turn = 0x1_0000_0000n;
    const base = BigInt(Date.UTC(2026, 0, 1) + 12_219_292_800_000) * 10_000n;
    const border = (base / turn + 1n) * turn;
    const ms = Number(border / 10_000n) - 12_219_292_800_000;
    const next = uuidMaker(
      clockAt(() => ms),
      zero,
    );
    const times = Array.from({ length: 25_000 }, () => timeOf(next()));
    const start = BigInt(ms + 12_219_292_800_000) * 10_000n;
    expect(times[0]).toBe(start);
    expect(times[24_999]).toBe(start + 24_999n);
    expect(times.every((time, i) => time === start + BigInt(i))).toBe(true);
  });

  test('two makers of one moment differ by their chance alone', () => {
    const clock = clockAt(() => 1_700_000_000_000);
    expect(uuidMaker(clock, () => 0.25)()).not.toBe(uuidMaker(clock, () => 0.75)());
  });
});
