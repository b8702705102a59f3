import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BUS_ERRORS, BusError, NonRetryable, RetryAfter, type BusErrorCode } from './errors.js';
import { backoffMs, decide, exponential, isHopeless, reasonOf, type Failure, type RetryPolicy } from './retry.js';

const failure = (error: unknown, attempt = 1, random = 0.5): Failure => ({
  error,
  attempt,
  event: {
    id: '1',
    type: 'org.example.course.changed.v1',
    minorversion: 0,
    source: 'openedx/studio/web',
    sourcehost: 'host',
    time: '2026-01-01T00:00:00+00:00',
    sourcelib: '0.1.0',
  },
  random: () => random,
});
const times = { firstMs: fc.integer({ min: 0, max: 1_000_000 }), spread: fc.integer({ min: 0, max: 10_000_000 }) };

describe('exponential', () => {
  test('a pause lies between 0 and its bound, for any attempt and any chance', () => {
    const property = fc.property(
      times.firstMs,
      times.spread,
      fc.integer({ min: 1, max: 2 ** 31 }),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (firstMs, spread, attempt, random) => {
        const maxMs = firstMs + spread;
        const policy = exponential({ attempts: 2 ** 32, firstMs, maxMs });
        const decision = policy(failure(new Error('again'), attempt, random));
        expect(decision.action).toBe('retry');
        const { afterMs } = decision as { readonly afterMs: number };
        expect(Number.isFinite(afterMs)).toBe(true);
        expect(afterMs).toBeGreaterThanOrEqual(0);
        expect(afterMs).toBeLessThanOrEqual(maxMs);
      },
    );
    fc.assert(property);
  });

  test('the bound never falls from one attempt to the next and never passes its maximum', () => {
    fc.assert(
      fc.property(times.firstMs, times.spread, fc.integer({ min: 1, max: 2_000 }), (firstMs, spread, attempt) => {
        const maxMs = firstMs + spread;
        const bound = backoffMs(attempt, firstMs, maxMs);
        expect(bound).toBeLessThanOrEqual(maxMs);
        expect(backoffMs(attempt + 1, firstMs, maxMs)).toBeGreaterThanOrEqual(bound);
      }),
    );
    expect([1, 2, 3, 4, 9, 10].map((attempt) => backoffMs(attempt, 100, 30_000))).toEqual([
      100, 200, 400, 800, 25_600, 30_000,
    ]);
  });

  test('the last attempt is dead, and so is at once what no further attempt can change', () => {
    const policy = exponential({ attempts: 3 });
    expect(policy(failure(new Error('again'), 2)).action).toBe('retry');
    expect(policy(failure(new Error('again'), 3))).toEqual({ action: 'dead', isExhausted: true });
    expect(policy(failure(new BusError('BUS_EVENT_INVALID', 'wrong')))).toEqual({ action: 'dead' });
  });

  test('wrong options are refused with the value', () => {
    expect(() => exponential({ attempts: 0 })).toThrow('Option "retry.attempts" must be a positive integer, got 0.');
    expect(() => exponential({ attempts: 1.5 })).toThrow('got 1.5');
    expect(() => exponential({ firstMs: -1 })).toThrow('"retry.firstMs"');
    expect(() => exponential({ firstMs: NaN })).toThrow('"retry.firstMs"');
    expect(() => exponential({ firstMs: 10, maxMs: 5 })).toThrow('"retry.maxMs"');
  });
});

describe('a decision', () => {
  const always: RetryPolicy = () => ({ action: 'retry', afterMs: 7 });

  test('NonRetryable is dead whatever the policy says', () => {
    expect(decide(always, failure(new NonRetryable('never')))).toEqual({ action: 'dead' });
  });

  test('RetryAfter replaces the pause, and not the end of the attempts', () => {
    expect(decide(always, failure(new RetryAfter(1_234)))).toEqual({ action: 'retry', afterMs: 1_234 });
    expect(decide(exponential({ attempts: 1 }), failure(new RetryAfter(1_234)))).toMatchObject({ action: 'dead' });
  });

  test.each([NaN, undefined, 5n, '5'])('a pause of %s is no pause: the next best word counts', (ms) => {
    const policy: RetryPolicy = () => ({ action: 'retry', afterMs: ms as never });
    expect(decide(always, failure(new RetryAfter(ms as never)))).toEqual({ action: 'retry', afterMs: 7 });
    expect(decide(policy, failure(new Error('again'), 3))).toEqual({ action: 'retry', afterMs: 400 });
  });

  test('a pause below zero is none', () => {
    expect(decide(always, failure(new RetryAfter(-5)))).toEqual({ action: 'retry', afterMs: 0 });
  });

  test('a policy that throws, or answers no decision, loses nothing: the event is a dead letter', () => {
    const answers = [undefined, null, {}, { action: 'perhaps' }, Promise.resolve({ action: 'retry', afterMs: 1 })];
    for (const answer of answers) {
      expect(decide((() => answer) as never, failure(new Error('again')))).toEqual({
        action: 'dead',
        isExhausted: true,
      });
    }
    const broken: RetryPolicy = () => {
      throw new Error('policy');
    };
    expect(decide(broken, failure(new Error('again')))).toEqual({ action: 'dead', isExhausted: true });
  });

  test('what another copy of this package throws steers as well', () => {
    const foreign = Object.assign(new Error('never'), { name: 'NonRetryable' });
    expect(decide(always, failure(foreign))).toEqual({ action: 'dead' });
    const later = Object.assign(new Error('later'), { name: 'RetryAfter', ms: 9 });
    expect(decide(always, failure(later))).toEqual({ action: 'retry', afterMs: 9 });
  });
});

describe('the reason of a dead letter', () => {
  test('is always one of the codes', () => {
    const errors = [
      undefined,
      'text',
      new Error('plain'),
      Object.assign(new Error('coded'), { code: 'ECONNREFUSED' }),
      Object.assign(new Error('sly'), { code: 'constructor' }),
      Object.assign(new Error('foreign'), { name: 'NonRetryable' }),
      Object.assign(new Error('foreign'), { name: 'NonRetryable', code: 'E_TEAPOT' }),
      new NonRetryable('never'),
      new NonRetryable('refused', { code: 'BUS_EVENT_INVALID' }),
      new BusError('BUS_SCHEMA_UNKNOWN', 'unknown'),
    ];
    expect(errors.map(reasonOf)).toEqual([
      'BUS_HANDLER_FAILED',
      'BUS_HANDLER_FAILED',
      'BUS_HANDLER_FAILED',
      'BUS_HANDLER_FAILED',
      'BUS_HANDLER_FAILED',
      'BUS_HANDLER_REFUSED',
      'BUS_HANDLER_REFUSED',
      'BUS_HANDLER_REFUSED',
      'BUS_EVENT_INVALID',
      'BUS_SCHEMA_UNKNOWN',
    ]);
  });

  test('no error that a later attempt can cure is hopeless', () => {
    for (const [code, { retryable }] of Object.entries(BUS_ERRORS)) {
      if (retryable) expect(isHopeless(new BusError(code as BusErrorCode, 'x')), code).toBe(false);
    }
    expect(isHopeless(new Error('plain'))).toBe(false);
    expect(isHopeless(new NonRetryable('never'))).toBe(true);
  });
});
