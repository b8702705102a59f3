import type { EventMetadata } from '@event-bus/core';
import { expect, test } from 'vitest';
import { untilTheDatabaseIsBack } from './patience.js';

const failure = (code: string, attempt: number) => ({
  error: Object.assign(new Error('a database error'), { code }),
  attempt,
  event: {} as EventMetadata,
  random: () => 1,
});

test('a database that is away is waited for, however long', () => {
  for (const code of ['ECONNREFUSED', '57P01', 'SQLITE_BUSY']) {
    expect(untilTheDatabaseIsBack(failure(code, 1))).toEqual({ action: 'retry', afterMs: 100 });
    expect(untilTheDatabaseIsBack(failure(code, 1_000_000))).toEqual({ action: 'retry', afterMs: 5_000 });
  }
});

test('a value that the database refuses is not tried again', () => {
  expect(untilTheDatabaseIsBack(failure('22021', 1))).toEqual({ action: 'dead' });
});
