/**
 * The connection of one process to the simulated broker. What crosses it arrives in order, after a latency; while it is cut, it waits
 * on its side of the cut and arrives late. A call that waits too long is given up, and may still be served.
 */
import { BusError, type Clock } from '@event-bus/core';

export interface Link {
  /** Has the broker serve something and brings back its answer. Rejects with `BUS_TRANSPORT_UNAVAILABLE` after `timeoutMs`. */
  call<T>(serve: () => T | Promise<T>, timeoutMs?: number): Promise<T>;
  /** Brings something from the broker to the process. */
  push(deliver: () => void): void;
  cut(): void;
  mend(): void;
  /** The process is gone: nothing it sent later is served, nothing reaches it. */
  kill(): void;
  readonly state: 'up' | 'cut' | 'dead';
}

export interface LinkOptions {
  /** Of the broker: what has left a stopped process arrives all the same. */
  readonly brokerClock: Clock;
  readonly processClock: Clock;
  readonly latencyMs: () => number;
}

export function link({ brokerClock, processClock, latencyMs }: LinkOptions): Link {
  let state: Link['state'] = 'up';
  const isUp = () => state === 'up';
  const there = lane(brokerClock, latencyMs, isUp);
  const back = lane(processClock, latencyMs, isUp);

  return {
    call(serve, timeoutMs = CALL_TIMEOUT_MS) {
      return new Promise((resolve, reject) => {
        const cancel = processClock.timer(timeoutMs, () => reject(unavailable(timeoutMs)));
        const answer = (settle: () => void) =>
          back.cross(() => {
            cancel();
            settle();
          });
        there.cross(() => {
          Promise.resolve()
            .then(serve)
            .then(
              (value) => answer(() => resolve(value)),
              (error: unknown) => answer(() => reject(error as Error)),
            );
        });
      });
    },
    push: (deliver) => back.cross(deliver),
    cut() {
      if (state === 'up') state = 'cut';
    },
    mend() {
      if (state !== 'cut') return;
      state = 'up';
      there.flush();
      back.flush();
    },
    kill: () => void (state = 'dead'),
    get state() {
      return state;
    },
  };
}

const CALL_TIMEOUT_MS = 5_000;

function unavailable(timeoutMs: number): BusError {
  return new BusError('BUS_TRANSPORT_UNAVAILABLE', `The simulated broker did not answer within ${timeoutMs} ms.`);
}

/** One direction. Timers only say how many may pass; what passes is always the oldest, so latencies cannot change the order. */
function lane(
  clock: Clock,
  latencyMs: () => number,
  isUp: () => boolean,
): { cross(item: () => void): void; flush(): void } {
  const items: (() => void)[] = [];
  let arrived = 0;
  const flush = () => {
    while (arrived > 0 && isUp()) {
      arrived--;
      items.shift()!();
    }
  };
  const arrive = () => {
    arrived++;
    flush();
  };
  return {
    cross(item) {
      items.push(item);
      const ms = latencyMs();
      if (ms > 0) clock.timer(ms, arrive);
      else clock.soon(arrive);
    },
    flush,
  };
}
