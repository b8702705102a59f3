/**
 * A lane: the deliveries of one key for one handler, in order. Serial within, parallel across: a lane that waits for a retry, a dead
 * letter or an open gate holds up nobody else.
 *
 *   ready → running → ready | retrying | burying | held | reading | (empty, and gone)
 */
import type { Assignment, Work } from './assignment.js';
import type { Attempt, Delivery } from './delivery.js';
import type { Feed } from './feeds.js';
import { Fifo } from './fifo.js';

export class Lane {
  /** `reading`: its first delivery waits for a schema. */
  state: 'ready' | 'running' | 'retrying' | 'burying' | 'held' | 'reading' = 'ready';
  readonly line = new Fifo<{ readonly delivery: Delivery; readonly work: Work }>();
  cancelRetry: (() => void) | undefined;
  /** While it runs, with its place among those that do. */
  attempt: Attempt | undefined;
  place = 0;

  constructor(
    readonly id: string,
    readonly assignment: Assignment,
    readonly feed: Feed,
  ) {}
}
