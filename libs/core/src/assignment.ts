/**
 * The time in which this consumer owns one partition. Whatever belongs to that time lives here and ends with it: a result that comes
 * late finds its assignment gone and changes nothing under the next owner, who may be the same process.
 *
 *   held ──revoking──▶ leaving ──drained, or out of time──▶ gone
 */
import { setMaxListeners } from 'node:events';
import type { Lane } from './lane.js';
import { Tracker, type Tracked } from './tracker.js';
import type { TopicPartition } from './transport.js';

export class Assignment implements TopicPartition {
  state: 'held' | 'leaving' | 'gone' = 'held';
  readonly tracker = new Tracker();
  /** By handler and key. Only those with something in them. */
  readonly lanes = new Map<string, Lane>();
  /** Attempts and dead-letter writes under way; a drain waits for them. */
  busy = 0;
  /** In flight: handed over and not finished. */
  records = 0;
  bytes = 0;
  /** Aborted when the assignment is gone: ends every wait that belongs to it. */
  readonly end = new AbortController();
  #idleWaiters: (() => void)[] = [];

  constructor(
    readonly topic: string,
    readonly partition: number,
  ) {
    // Every record in flight may wait for its end; Node warns of a leak at eleven.
    setMaxListeners(0, this.end.signal);
  }

  begin(): void {
    this.busy++;
  }

  done(): void {
    if (--this.busy > 0) return;
    for (const resolve of this.#idleWaiters.splice(0)) resolve();
  }

  /** Resolves when nothing runs. */
  idle(): Promise<void> {
    if (this.busy === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idleWaiters.push(resolve));
  }
}

/** One record in hand: finished when the last of its handlers has settled. */
export interface Work {
  readonly entry: Tracked;
  bytes: number;
  unsettled: number;
}
