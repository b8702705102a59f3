import { expect, test } from 'vitest';
import { toEntry, utcMicroseconds } from './course-entry.js';

test.each([
  ['2026-01-02T03:04:05.678901+00:00', '2026-01-02T03:04:05.678901+00:00'],
  ['2026-01-02T03:04:05+00:00', '2026-01-02T03:04:05.000000+00:00'],
  ['2026-01-02T01:04:05.5-02:00', '2026-01-02T03:04:05.500000+00:00'],
  ['2026-01-01T00:30:00.000001+01:00', '2025-12-31T23:30:00.000001+00:00'],
  ['2026-01-02T03:04:05.123456789Z', '2026-01-02T03:04:05.123456+00:00'],
  ['2026-01-02T03:04Z', '2026-01-02T03:04:00.000000+00:00'],
])('the time %s is %s', (given, expected) => {
  expect(utcMicroseconds(given)).toBe(expected);
});

test.each(['', 'yesterday', '2026-01-02', '2026-13-02T03:04:05Z', '2026-01-02T03:04:05'])(
  'an event of time "%s" is not tried again',
  (time) => {
    expect(() => utcMicroseconds(time)).toThrow(
      expect.objectContaining({ name: 'NonRetryable', code: 'BUS_EVENT_INVALID' }),
    );
  },
);

test('an entry says what the event said and how it came', () => {
  const schedule_data = {
    start: '2026-02-01T00:00:00Z',
    pacing: 'self',
    end: null,
    enrollment_start: null,
    enrollment_end: null,
  };
  const course = { course_key: 'course-v1:a+b+c', name: 'Demo', schedule_data, hidden: false, invitation_only: true };
  const event = { id: 'e1', time: '2026-01-01T00:00:00.000999+00:00' };
  expect(toEntry(course, event, Date.parse('2026-01-01T00:00:00.004Z'))).toEqual({
    course_key: 'course-v1:a+b+c',
    name: 'Demo',
    ...schedule_data,
    hidden: false,
    invitation_only: true,
    eventId: 'e1',
    eventTime: '2026-01-01T00:00:00.000999+00:00',
    receivedAt: '2026-01-01T00:00:00.004Z',
    latencyMs: 4,
  });
});
