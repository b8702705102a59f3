/**
 * What keeps single records from going on: a registry that does not answer, a dead letter that cannot be written. Each is tried again
 * until it works or its partition leaves; whoever waits is counted, and the first and the last of them say so.
 */
import { abortable } from './abortable.js';
import type { Assignment } from './assignment.js';
import { delay, type Clock } from './clock.js';
import { isBusError } from './errors.js';
import { backoffMs } from './retry.js';
import { signals, type BusIdentity } from './signals.js';

/** Records that wait for the same, and with each of them its key. */
export interface Waiting {
  readonly reason: 'registry' | 'dead-letter';
  /** `undefined`: the record concerns all handlers of the group. */
  readonly handler: string | undefined;
  readonly records: number;
  /** The newest. */
  readonly error: unknown;
}

export interface WaitsSetup {
  readonly identity: BusIdentity;
  readonly group: string;
  readonly clock: Clock;
}

export class Waits {
  readonly #waits = new Map<string, Wait>();

  constructor(private readonly setup: WaitsSetup) {}

  list(): Waiting[] {
    return Array.from(this.#waits.values(), ({ reason, handler, records, error }) => ({
      reason,
      handler,
      records,
      error,
    }));
  }

  /** Tries until it works. Rejects when the assignment is gone, and for a registry with whatever is not its absence. */
  async insist<T>(
    assignment: Assignment,
    reason: Waiting['reason'],
    handler: string | undefined,
    act: (tries: number) => Promise<T>,
  ): Promise<T> {
    const { signal } = assignment.end;
    let wait: Wait | undefined;
    try {
      for (let tries = 1; ; tries++) {
        try {
          return await abortable(signal, act(tries));
        } catch (error) {
          if (assignment.state === 'gone') throw error;
          if (reason === 'registry' && !isBusError(error, 'BUS_REGISTRY_UNAVAILABLE')) throw error;
          wait ??= this.#begin(reason, handler, error);
          wait.error = error;
          await delay(this.setup.clock, backoffMs(tries, FIRST_PAUSE_MS, MAX_PAUSE_MS), signal);
        }
      }
    } finally {
      if (wait !== undefined) this.#end(wait);
    }
  }

  #begin(reason: Waiting['reason'], handler: string | undefined, error: unknown): Wait {
    const key = `${reason} ${handler ?? ''}`;
    const known = this.#waits.get(key);
    const wait = known ?? { key, reason, handler, records: 0, error };
    wait.records++;
    if (known !== undefined) return known;
    this.#waits.set(key, wait);
    const { identity, group } = this.setup;
    signals.paused.publish({ ...identity, group, handler, reason, error });
    return wait;
  }

  #end(wait: Wait): void {
    if (--wait.records > 0) return;
    const { key, reason, handler } = wait;
    this.#waits.delete(key);
    const { identity, group } = this.setup;
    signals.resumed.publish({ ...identity, group, handler, reason });
  }
}

interface Wait {
  readonly key: string;
  readonly reason: Waiting['reason'];
  readonly handler: string | undefined;
  records: number;
  error: unknown;
}

const FIRST_PAUSE_MS = 100;
const MAX_PAUSE_MS = 10_000;
