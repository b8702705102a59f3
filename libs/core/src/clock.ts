/**
 * Time and chance as arguments, so that a whole bus can be run from a seed.
 * Nothing else in this library may read a clock, set a timer or draw a random number.
 */
export interface Clock {
  /** Wall clock in milliseconds since 1970; may step. For what people read. */
  now(): number;
  /** Milliseconds that never go back. For every delay and deadline. */
  monotonic(): number;
  /** Calls `fire` once after `ms` milliseconds; the answer cancels it. Does not keep the process alive. */
  timer(ms: number, fire: () => void): () => void;
  /** Calls `fire` once, after the input that is waiting now was read. */
  soon(fire: () => void): void;
}

/** A number in [0, 1). */
export type Random = () => number;

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  timer(ms, fire) {
    const timer = setTimeout(fire, Math.min(ms, LONGEST_TIMER_MS));
    timer.unref();
    return () => clearTimeout(timer);
  },
  soon: (fire) => void setImmediate(fire),
};

export const systemRandom: Random = () => Math.random();

/** Resolves after `ms` milliseconds; rejects with the signal's reason as soon as it is aborted. */
export function delay(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const abort = () => {
      cancel();
      reject(signal!.reason);
    };
    const cancel = clock.timer(ms, () => {
      signal?.removeEventListener('abort', abort);
      resolve();
    });
    signal?.addEventListener('abort', abort, { once: true });
  });
}

// Node fires at once when asked for more than 2^31 - 1.
const LONGEST_TIMER_MS = 2 ** 31 - 1;
