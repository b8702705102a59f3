import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isDateTime, parseDateTime } from './date-time.js';
import { isoTime } from './envelope.js';

describe('a date-time', () => {
  test.each([
    '2026-01-02T03:04:05.678901+00:00',
    '2026-01-02T03:04:05Z',
    '2026-01-02T03:04Z',
    '2026-01-02T03:04:05.123456789-11:30',
    '2024-02-29T23:59:59+14:00',
    '0001-01-01T00:00:00Z',
  ])('%s is one', (text) => {
    expect(parseDateTime(text)).toBeDefined();
  });

  // Python's datetime.fromisoformat refuses each of these, so a Django consumer would choke on them.
  test.each([
    '2026-02-30T00:00:00Z',
    '2026-04-31T00:00:00Z',
    '2025-02-29T00:00:00Z',
    '2026-13-01T00:00:00Z',
    '2026-01-01T24:00:00Z',
    '2026-01-01T00:00:60Z',
    '2026-01-01T00:00:00+24:00',
    '0000-01-01T00:00:00Z',
    '2026-01-01T00:00:00',
    '2026-01-01',
    '2026-01-01T00:00.5Z',
    '2026-01-01T00:00:00.Z',
    '2026-01-01 00:00:00Z',
    ' 2026-01-01T00:00:00Z',
    '2026-01-01T00:00:00Z\n',
    '',
  ])('%j is none', (text) => {
    expect(parseDateTime(text)).toBeUndefined();
  });
});

/** A date-time, or nearly one: parts that exist and parts that do not, in their places and not. */
const nearly = fc
  .tuple(
    fc.constantFrom('0000', '0001', '1900', '2000', '2023', '2024', '9999', '20a4', '024'),
    fc.constantFrom('-', '/'),
    fc.constantFrom('00', '01', '02', '04', '12', '13', '1'),
    fc.constantFrom('00', '01', '28', '29', '30', '31', '32', '-1'),
    fc.constantFrom('T', ' '),
    fc.constantFrom('00:00', '23:59', '24:00', '12:60', '1:00', '12-00'),
    fc.constantFrom('', ':00', ':59', ':60', ':5'),
    fc.constantFrom('', '.', '.5', '.123456789', '.1234567890', '.12a'),
    fc.constantFrom('', 'Z', '+00:00', '-11:30', '+23:59', '+24:00', '+05:60', '+0530', 'ZZ', 'z', '+00:00 '),
  )
  .map(([year, dash, month, day, t, time, second, fraction, offset]) =>
    [year, dash, month, dash, day, t, time, second, fraction, offset].join(''),
  );

test('the characters are read as a pattern and a calendar would read them', () => {
  const pattern = /^(\d{4}-\d{2}-\d{2})T\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2})$/;
  const isOne = (text: string) => {
    const day = pattern.exec(text)?.[1];
    return (
      day !== undefined &&
      !Number.isNaN(Date.parse(text)) &&
      !text.startsWith('0000') &&
      !text.startsWith('24', 11) &&
      new Date(`${day}T00:00:00Z`).toISOString().startsWith(day)
    );
  };
  const texts = fc.oneof({ weight: 9, arbitrary: nearly }, fc.date({ noInvalidDate: true }).map(String), fc.string());
  fc.assert(
    fc.property(texts, (text) => isDateTime(text) === isOne(text)),
    { numRuns: 20_000 },
  );
});

describe('a time of metadata', () => {
  // Left: what is given. Right: what Python 3.12 writes for it with datetime.fromisoformat(…).astimezone(timezone.utc).isoformat().
  test.each([
    ['2026-01-02T03:04:05.678901+00:00', '2026-01-02T03:04:05.678901+00:00'],
    ['2026-01-02T03:04:05.6Z', '2026-01-02T03:04:05.600000+00:00'],
    ['2026-01-02T03:04:05.000000Z', '2026-01-02T03:04:05+00:00'],
    ['2026-01-02T03:04:05.0000009Z', '2026-01-02T03:04:05+00:00'],
    ['2026-01-02T03:04:05.123456789Z', '2026-01-02T03:04:05.123456+00:00'],
    ['2026-01-02T03:04Z', '2026-01-02T03:04:00+00:00'],
    ['2026-01-02T03:04:05-00:00', '2026-01-02T03:04:05+00:00'],
    ['2026-01-02T03:04:05.000001+05:30', '2026-01-01T21:34:05.000001+00:00'],
    ['2026-12-31T23:59:59.999999-11:00', '2027-01-01T10:59:59.999999+00:00'],
  ])('%s is written %s', (given, written) => {
    expect(isoTime(given)).toBe(written);
  });

  test('a Date keeps its milliseconds, and none are none', () => {
    expect(isoTime(new Date('2026-01-02T03:04:05.678Z'))).toBe('2026-01-02T03:04:05.678000+00:00');
    expect(isoTime(new Date('2026-01-02T03:04:05.007Z'))).toBe('2026-01-02T03:04:05.007000+00:00');
    expect(isoTime(new Date('2026-01-02T03:04:05.000Z'))).toBe('2026-01-02T03:04:05+00:00');
  });

  test.each([
    new Date(NaN),
    new Date(8.64e15),
    new Date('-000001-01-01T00:00:00Z'),
    new Date('0000-06-01T00:00:00Z'),
    'yesterday',
    '0001-01-01T00:00:00+01:00',
    '9999-12-31T23:59:59-01:00',
  ])('%s is refused', (time) => {
    expect(() => isoTime(time)).toThrow(RangeError);
  });
});
