import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { scheduleCheckPendingRequests, type RequestQueue } from './request-timer.js';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function setup(queue: Partial<RequestQueue>) {
  let checks = 0;
  const full: RequestQueue = {
    pending: [],
    throttledUntil: -1,
    throttleCheckTimeoutId: null,
    checkPendingRequests: () => checks++,
    ...queue,
  };
  return { schedule: () => scheduleCheckPendingRequests.call(full), checks: () => checks };
}

it('sets no timer while nothing waits', () => {
  const { schedule } = setup({ throttledUntil: Date.now() + 1_000 });
  schedule();
  expect(vi.getTimerCount()).toBe(0);
});

it('sets one timer while something waits', () => {
  const { schedule, checks } = setup({ pending: [1] });
  schedule();
  schedule();
  expect(vi.getTimerCount()).toBe(1);
  vi.advanceTimersByTime(10);
  expect(checks()).toBe(1);
});

it('waits for the end of throttling', () => {
  const { schedule, checks } = setup({ pending: [1], throttledUntil: Date.now() + 1_000 });
  schedule();
  vi.advanceTimersByTime(999);
  expect(checks()).toBe(0);
  vi.advanceTimersByTime(1);
  expect(checks()).toBe(1);
});
