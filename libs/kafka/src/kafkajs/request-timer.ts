/** As much of kafkajs's request queue as its timer touches. */
export interface RequestQueue {
  readonly pending: readonly unknown[];
  readonly throttledUntil: number;
  throttleCheckTimeoutId: NodeJS.Timeout | null;
  checkPendingRequests(): void;
}

/**
 * Stands in for the method of the same name. kafkajs re-arms its timer whether or not anything waits, with a delay that is negative as
 * long as nothing is throttled: 800 timers a second on each idle connection. This one is armed only while a request waits; a request
 * that begins to wait arms it, and so does each answer that leaves one waiting.
 */
export function scheduleCheckPendingRequests(this: RequestQueue): void {
  if (this.throttleCheckTimeoutId || this.pending.length === 0) return;
  const throttledForMs = this.throttledUntil - Date.now();
  this.throttleCheckTimeoutId = setTimeout(
    () => {
      this.throttleCheckTimeoutId = null;
      this.checkPendingRequests();
    },
    throttledForMs > 0 ? throttledForMs : CHECK_INTERVAL_MS,
  );
}

const CHECK_INTERVAL_MS = 10;
