import { describe, expect, test } from 'vitest';
import { BUS_ERRORS, BusError, NonRetryable, RetryAfter, isBusError, type BusErrorCode } from './errors.js';

describe('a bus error', () => {
  test('says by its code whether trying again can help', () => {
    for (const [code, { retryable }] of Object.entries(BUS_ERRORS)) {
      expect(new BusError(code as BusErrorCode, 'text').retryable, code).toBe(retryable);
    }
  });

  test('keeps its cause and its facts, and has no cause when there was none', () => {
    const cause = new Error('socket');
    const error = new BusError('BUS_FULL', 'text', { cause, details: { topic: 'courses' } });
    expect(error).toMatchObject({
      name: 'BusError',
      code: 'BUS_FULL',
      message: 'text',
      cause,
      details: { topic: 'courses' },
    });
    expect('cause' in new BusError('BUS_FULL', 'text')).toBe(false);
    expect(new BusError('BUS_FULL', 'text').details).toEqual({});
  });

  test('every code has a meaning that is a sentence', () => {
    for (const [code, { meaning }] of Object.entries(BUS_ERRORS)) {
      expect(code).toMatch(/^BUS_[A-Z_]+$/);
      expect(meaning, code).toMatch(/^[A-Z].*\.$/);
    }
  });
});

describe('isBusError', () => {
  test('knows the errors of another copy of this package by their code', () => {
    expect(isBusError({ code: 'BUS_FULL' })).toBe(true);
    expect(isBusError({ code: 'BUS_FULL' }, 'BUS_FULL')).toBe(true);
    expect(isBusError({ code: 'BUS_FULL' }, 'BUS_BUSY')).toBe(false);
  });

  test.each([
    undefined,
    null,
    'BUS_FULL',
    5,
    {},
    { code: 5 },
    { code: 'ECONNRESET' },
    { code: 'constructor' },
    { code: '__proto__' },
  ])('%j is none', (value) => {
    expect(isBusError(value)).toBe(false);
  });
});

test('what a handler throws to steer keeps its reason and cause', () => {
  const cause = new Error('row is gone');
  expect(new NonRetryable('no such course', { cause })).toMatchObject({
    name: 'NonRetryable',
    message: 'no such course',
    code: 'BUS_HANDLER_REFUSED',
    cause,
  });
  expect(new RetryAfter(500, { cause })).toMatchObject({ name: 'RetryAfter', ms: 500, cause });
  expect(new RetryAfter(500).message).toContain('500 ms');
});
