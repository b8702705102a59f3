import { exponential, type RetryPolicy } from '@event-bus/core';

const patient = exponential({ attempts: Number.MAX_SAFE_INTEGER, maxMs: 5_000 });

/**
 * Nothing but the database can fail in this service, and an outage of any length must not leave a course behind. A value
 * that PostgreSQL refuses (classes 22 and 23 of its codes) will be refused again.
 */
export const untilTheDatabaseIsBack: RetryPolicy = (failure) => {
  const { code } = failure.error as { readonly code?: unknown };
  return /^2[23]...$/.test(String(code)) ? { action: 'dead' } : patient(failure);
};
