/**
 * What is finished of one partition, and so how far its position may move. Offsets are opaque and have holes, so records are counted in
 * the order in which they were handed over. A tracker lives as long as one assignment: a new owner starts with a new one.
 */
import type { Batch } from './transport.js';

export interface Tracked {
  readonly offset: string;
  isFinished: boolean;
}

export class Tracker {
  #entries: Tracked[] = [];
  #head = 0;
  #end: string | undefined;
  #hasNews = false;
  #finished = 0;

  /** Records that are finished and lie behind the position. */
  get ahead(): number {
    return this.#finished;
  }

  /** Whether `take` has something to commit. */
  get hasNews(): boolean {
    return this.#hasNews && this.#end !== undefined;
  }

  /** Takes note of a whole batch before any of it runs: a position never lies beyond a record that has not started. */
  add(batch: Batch): readonly Tracked[] {
    const added = batch.records.map((record) => ({ offset: record.offset, isFinished: false }));
    for (const entry of added) this.#entries.push(entry);
    this.#end = batch.next;
    if (added.length === 0) this.#hasNews = true;
    return added;
  }

  finish(entry: Tracked): void {
    entry.isFinished = true;
    this.#finished++;
    this.#hasNews = true;
    while (this.#head < this.#entries.length && this.#entries[this.#head]!.isFinished) {
      this.#head++;
      this.#finished--;
    }
    if (this.#head > 1_024 && this.#head * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#head);
      this.#head = 0;
    }
  }

  /** What to commit now; `undefined` when there is no news. The caller says `again` when the commit did not get through. */
  take(): { readonly position: string; readonly ahead: readonly string[] } | undefined {
    if (!this.#hasNews || this.#end === undefined) return undefined;
    this.#hasNews = false;
    const first = this.#entries[this.#head];
    if (first === undefined) return { position: this.#end, ahead: [] };
    const ahead: string[] = [];
    for (let i = this.#head + 1; i < this.#entries.length; i++) {
      if (this.#entries[i]!.isFinished) ahead.push(this.#entries[i]!.offset);
    }
    return { position: first.offset, ahead };
  }

  again(): void {
    this.#hasNews = true;
  }
}
