/**
 * How much of a group's records this process may have in hand, over all partitions, and who waits for room. Partitions take turns: one
 * with a large batch must not keep the others out.
 */
import type { Assignment, Work } from './assignment.js';
import type { Clock } from './clock.js';
import { Fifo } from './fifo.js';

export interface RoomSetup {
  readonly clock: Clock;
  readonly limit: { readonly records: number; readonly bytes: number };
}

export class Room {
  readonly #waiting = new Fifo<Waiter>();
  #records = 0;
  #bytes = 0;
  #isWaking = false;

  constructor(private readonly setup: RoomSetup) {}

  /** Records in hand: taken and not finished. */
  get records(): number {
    return this.#records;
  }

  /** Whether some partition waits for its turn. */
  get isWanted(): boolean {
    return this.#waiting.size > 0;
  }

  isFreeFor({ tracker }: Assignment): boolean {
    const { records, bytes } = this.setup.limit;
    return this.#records < records && this.#bytes < bytes && tracker.ahead < MAX_AHEAD;
  }

  take(assignment: Assignment, { bytes }: Work): void {
    this.#count(assignment, 1, bytes);
  }

  /** Its data turned out larger than its bytes. */
  grow(assignment: Assignment, work: Work, bytes: number): void {
    work.bytes += bytes;
    this.#count(assignment, 0, bytes);
  }

  giveBack(assignment: Assignment, { bytes }: Work): void {
    this.#count(assignment, -1, -bytes);
    this.wake();
  }

  /** All that the assignment holds, and whoever waits for it. */
  forget(assignment: Assignment): void {
    this.#count(assignment, -assignment.records, -assignment.bytes);
    this.wake();
  }

  /** Resolves when it may be the turn of this assignment, or when it is held no more: whoever comes back asks again. */
  turn(assignment: Assignment): Promise<void> {
    if (assignment.state !== 'held') return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting.push({ assignment, resolve });
      this.wake();
    });
  }

  /** Lets the next one go on who can; he wakes the one behind him when he has taken his share. Many calls of one turn are one. */
  wake(): void {
    if (this.#isWaking || !this.isWanted) return;
    this.#isWaking = true;
    this.setup.clock.soon(() => {
      this.#isWaking = false;
      this.#wakeNext();
    });
  }

  #wakeNext(): void {
    for (let looks = this.#waiting.size; looks > 0; looks--) {
      const waiter = this.#waiting.shift()!;
      const isHeld = waiter.assignment.state === 'held';
      if (isHeld && !this.isFreeFor(waiter.assignment)) {
        this.#waiting.push(waiter);
        continue;
      }
      waiter.resolve();
      if (isHeld) return;
    }
  }

  #count(assignment: Assignment, records: number, bytes: number): void {
    this.#records += records;
    this.#bytes += bytes;
    assignment.records += records;
    assignment.bytes += bytes;
  }
}

interface Waiter {
  readonly assignment: Assignment;
  readonly resolve: () => void;
}

/** So many records a partition takes before others have their turn. */
export const SHARE = 64;

// With a stuck key, this many records may be finished behind it before reading stops.
const MAX_AHEAD = 10_000;
