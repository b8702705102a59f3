/**
 * Snapshots that stay open keep every page that was deleted since, and the file grows. Readers of dead processes are cleared away; one
 * that is stopped cannot be, so its age is told and warned about.
 */
import type { RootDatabase } from 'lmdb';
import { machineTime } from './machine.js';

export class Readers {
  readonly #timer: NodeJS.Timeout;
  #seen = new Map<string, number>();
  #isWarned = false;

  constructor(
    private readonly root: RootDatabase,
    private readonly path: string,
  ) {
    this.#timer = setInterval(() => this.check(), CHECK_EVERY_MS).unref();
  }

  /** Clears dead readers; answers how many. */
  check(): number {
    const cleared = this.root.readerCheck();
    const ageMs = this.oldestMs();
    if (ageMs > WARN_AFTER_MS && !this.#isWarned) {
      process.emitWarning(
        `A reader of the log in ${this.path} has held its snapshot for ${Math.round(ageMs / 1_000)} s, and the file grows: is a process stopped? ${this.root.readerList()}`,
        {
          code: 'EVENT_BUS_OLD_READER',
        },
      );
    }
    this.#isWarned = ageMs > WARN_AFTER_MS;
    return cleared;
  }

  /** For how long the oldest snapshot has been seen open, in milliseconds. */
  oldestMs(): number {
    const now = machineTime();
    const open = new Map<string, number>();
    for (const slot of slotsOf(this.root.readerList())) open.set(slot, this.#seen.get(slot) ?? now);
    this.#seen = open;
    return Math.max(0, ...[...open.values()].map((since) => now - since));
  }

  /** Other processes that have the log open. */
  others(): number[] {
    this.root.readerCheck();
    const pids = this.root
      .readerList()
      .split('\n')
      .map((line) => Number(/^\s*(\d+)\s/.exec(line)?.[1]));
    return [...new Set(pids)].filter((pid) => pid > 0 && pid !== process.pid);
  }

  close(): void {
    clearInterval(this.#timer);
  }
}

// A line of LMDB's list is "pid thread transaction"; the transaction is "-" where no snapshot is open.
function slotsOf(list: string): string[] {
  return list
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => /^\d+\s+\S+\s+\d+$/.test(line));
}

const CHECK_EVERY_MS = 30_000;
const WARN_AFTER_MS = 60_000;
