/**
 * Time that passes only when it is told to. Timers that are due together fire in an order drawn from the seed, and everything that
 * a timer sets going (promises, not I/O) comes to rest before the next one fires: one seed is one order of events.
 */
import type { Clock } from '@event-bus/core';
import { seededRandom } from './seeded-random.js';

// As it is when this file loads: a test may put fake timers in its place, which would stop this clock as well.
const { setImmediate } = globalThis;

export interface VirtualClockOptions {
  /**
   * `virtual`: `soon` waits for `run` or `advance` like every timer. `real`: it fires by itself, so that what needs no delay goes
   * on without anybody moving the time. Default `virtual`.
   */
  readonly soon?: 'virtual' | 'real';
  /** The wall clock at the start, in milliseconds since 1970. Default 2026-01-01. */
  readonly startMs?: number;
}

export interface VirtualClock extends Clock {
  /**
   * Fires timers, the earliest first, until `until` answers true. Resolves with false when no timer is left or `limitMs` (default: none)
   * of virtual time have passed before. `until` is asked before each timer.
   */
  run(until: () => boolean, options?: { readonly limitMs?: number }): Promise<boolean>;
  /** Lets `ms` milliseconds pass, with all that is due in them. */
  advance(ms: number): Promise<void>;
  /** A clock for one process of a simulated world: it can be stopped alone. */
  process(): VirtualProcess;
  /** Timers fired so far. */
  readonly steps: number;
}

/** What happens to one process: its timers are its life. */
export interface VirtualProcess {
  readonly clock: Clock;
  /** As SIGSTOP: nothing fires, while the time of all others goes on. */
  freeze(): void;
  /** As SIGCONT: what came due meanwhile fires now, in order. */
  thaw(): void;
  /** As SIGKILL: nothing of it fires any more. */
  kill(): void;
  /** Steps the wall clock of this process; `monotonic` does not notice. */
  stepWallClock(ms: number): void;
  readonly state: 'alive' | 'frozen' | 'dead';
}

export function virtualClock(seed: number, options: VirtualClockOptions = {}): VirtualClock {
  const startMs = options.startMs ?? Date.UTC(2026, 0, 1);
  const random = seededRandom(seed);
  const due = heap<Timer>(isBefore);
  let time = 0;
  let steps = 0;
  let order = 0;

  function set(ms: number, fire: () => void, life?: Life): () => void {
    const timer: Timer = { dueMs: time + Math.max(0, ms), tie: random(), order: order++, fire, life };
    due.push(timer);
    return () => void (timer.fire = undefined);
  }

  function clockOf(life?: Life): Clock {
    return {
      now: () => startMs + Math.floor(time) + (life?.skewMs ?? 0),
      monotonic: () => time,
      timer: (ms, fire) => set(ms, fire, life),
      soon: (fire) => void (options.soon === 'real' ? setImmediate(fire) : set(0, fire, life)),
    };
  }

  /** The next timer that fires at or before `limitMs`; those of stopped processes are set aside. */
  function next(limitMs: number): Timer | undefined {
    for (let timer = due.peek(); timer !== undefined && timer.dueMs <= limitMs; timer = due.peek()) {
      due.pop();
      if (timer.fire === undefined || timer.life?.state === 'dead') continue;
      if (timer.life?.state === 'frozen') timer.life.held.push(timer);
      else return timer;
    }
    return undefined;
  }

  async function run(
    until: () => boolean,
    { limitMs = Infinity }: { readonly limitMs?: number } = {},
  ): Promise<boolean> {
    const endMs = time + limitMs;
    for (;;) {
      await settled();
      if (until()) return true;
      const timer = next(endMs);
      if (timer === undefined) return false;
      time = Math.max(time, timer.dueMs);
      steps++;
      const fire = timer.fire!;
      timer.fire = undefined;
      fire();
    }
  }

  function process(): VirtualProcess {
    const life: Life = { state: 'alive', skewMs: 0, held: [] };
    return {
      clock: clockOf(life),
      freeze() {
        if (life.state === 'alive') life.state = 'frozen';
      },
      thaw() {
        if (life.state !== 'frozen') return;
        life.state = 'alive';
        for (const timer of life.held.splice(0)) due.push(timer);
      },
      kill() {
        life.state = 'dead';
        life.held.length = 0;
      },
      stepWallClock: (ms) => void (life.skewMs += ms),
      get state() {
        return life.state;
      },
    };
  }

  return {
    ...clockOf(),
    run,
    async advance(ms) {
      const endMs = time + ms;
      await run(() => false, { limitMs: ms });
      time = Math.max(time, endMs);
      await settled();
    },
    process,
    get steps() {
      return steps;
    },
  };
}

/** Resolves once every promise that can go on without a timer or I/O has done so. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

interface Life {
  state: VirtualProcess['state'];
  skewMs: number;
  readonly held: Timer[];
}

interface Timer {
  readonly dueMs: number;
  readonly tie: number;
  readonly order: number;
  fire: (() => void) | undefined;
  readonly life: Life | undefined;
}

function isBefore(a: Timer, b: Timer): boolean {
  if (a.dueMs !== b.dueMs) return a.dueMs < b.dueMs;
  if (a.tie !== b.tie) return a.tie < b.tie;
  return a.order < b.order;
}

function heap<T>(before: (a: T, b: T) => boolean): {
  push(item: T): void;
  peek(): T | undefined;
  pop(): T | undefined;
} {
  const items: T[] = [];
  const swap = (a: number, b: number) => {
    [items[a], items[b]] = [items[b]!, items[a]!];
  };
  return {
    peek: () => items[0],
    push(item) {
      items.push(item);
      for (let at = items.length - 1; at > 0;) {
        const parent = (at - 1) >> 1;
        if (!before(items[at]!, items[parent]!)) return;
        swap(at, parent);
        at = parent;
      }
    },
    pop() {
      const top = items[0];
      const last = items.pop();
      if (items.length === 0 || last === undefined) return top;
      items[0] = last;
      for (let at = 0; ;) {
        let least = at;
        for (const child of [2 * at + 1, 2 * at + 2]) {
          if (child < items.length && before(items[child]!, items[least]!)) least = child;
        }
        if (least === at) return top;
        swap(at, least);
        at = least;
      }
    },
  };
}
