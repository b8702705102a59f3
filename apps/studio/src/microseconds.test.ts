import { expect, test } from 'vitest';
import { timeAfter } from './microseconds.js';

const NOON = Date.parse('2026-03-01T12:00:00.123Z');

test('a new row has the time of the clock, with six digits', () => {
  expect(timeAfter(undefined, NOON)).toBe('2026-03-01T12:00:00.123000+00:00');
});

test('a row that changes again within a millisecond is one microsecond later', () => {
  expect(timeAfter('2026-03-01T12:00:00.123000+00:00', NOON)).toBe('2026-03-01T12:00:00.123001+00:00');
});

test('a clock that went back does not take a row back', () => {
  expect(timeAfter('2026-03-01T12:59:59.999999+00:00', NOON)).toBe('2026-03-01T13:00:00.000000+00:00');
});
