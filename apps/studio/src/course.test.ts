import { expect, test } from 'vitest';
import { readDraft } from './course.js';

const KEY = 'course-v1:edX+Demo+2026';
const BODY = { name: 'Demo', start: '2026-02-01T00:00:00Z', pacing: 'self' };

function errorsOf(body: unknown, key = KEY): string[] {
  const read = readDraft(key, body);
  return 'errors' in read ? read.errors.map((error) => error.field) : [];
}

test('what may be left out has its default', () => {
  expect(readDraft(KEY, BODY)).toEqual({
    draft: {
      course_key: KEY,
      name: 'Demo',
      start: '2026-02-01T00:00:00Z',
      end: null,
      enrollment_start: null,
      enrollment_end: null,
      pacing: 'self',
      hidden: false,
      invitation_only: false,
    },
  });
});

test('a stored course can be put back', () => {
  const stored = {
    ...BODY,
    course_key: KEY,
    end: null,
    hidden: true,
    created_at: 'x',
    updated_at: 'x',
    announced_at: null,
  };
  expect(readDraft(KEY, stored)).toHaveProperty('draft.hidden', true);
});

test('an emptied date is no date', () => {
  expect(readDraft(KEY, { ...BODY, end: '', enrollment_end: '' })).toHaveProperty('draft.end', null);
});

test('every wrong field is named at once', () => {
  expect(errorsOf({ name: 7, start: 'tomorrow', end: 1, pacing: null, hidden: 'no', colour: 'red' })).toEqual([
    'colour',
    'name',
    'start',
    'pacing',
    'end',
    'hidden',
  ]);
});

test('a missing field says so', () => {
  expect(readDraft(KEY, {})).toHaveProperty('errors', [
    { field: 'name', message: 'must be a string, is missing' },
    { field: 'start', message: expect.stringContaining('is missing') },
    { field: 'pacing', message: 'must be a string, is missing' },
  ]);
});

test.each([
  ['a name of spaces', { name: '  ' }, ['name']],
  ['a name that is too long', { name: 'x'.repeat(256) }, ['name']],
  ['a name with half a character', { name: '\ud800' }, ['name']],
  ['a pacing that is neither', { pacing: 'fast' }, ['pacing']],
  ['an end before the start', { end: '2026-01-01T00:00:00+00:00' }, ['end']],
  [
    'an enrollment that ends before it starts',
    { enrollment_start: '2026-01-02T00:00:00Z', enrollment_end: '2026-01-02T00:00:00+01:00' },
    ['enrollment_end'],
  ],
  ['a key that is not the address', { course_key: 'course-v1:a+b+c' }, ['course_key']],
])('%s is refused', (_what, change, fields) => {
  expect(errorsOf({ ...BODY, ...change })).toEqual(fields);
});

test.each(['demo', 'course-v1:a\0b+c+d', 'course-v1:a+\u001b[31m+d'])('an address of %j is refused', (key) => {
  expect(errorsOf(BODY, key)).toEqual(['course_key']);
});

test.each([null, [], 'text', 1])('a body of %j is refused', (body) => {
  expect(errorsOf(body)).toEqual(['body']);
});
