import { Injectable, Logger, type BeforeApplicationShutdown } from '@nestjs/common';
import type { Writable } from 'node:stream';
import type { CourseEntry } from './course-entry.js';
import { EntryStore } from './entry-store.js';

/**
 * Tells open pages of changes, as server-sent events: `changes` holds entries, the last state of each course; `reload`
 * says that there were too many, ask for the list. What this process handles is told at once, what others that share
 * its database handle within a second. Nobody has to have been told: a page that connects asks for the list.
 */
@Injectable()
export class ChangeFeed implements BeforeApplicationShutdown {
  readonly #log = new Logger(ChangeFeed.name);
  readonly #readers = new Set<Reader>();
  #look: NodeJS.Timeout | undefined;
  #lookedAt = 0;
  #others: OthersSeen = new Map();

  constructor(private readonly entries: EntryStore) {}

  tell(entry: CourseEntry): void {
    for (const reader of this.#readers) reader.tell(entry);
  }

  /** Serves one page until it closes. */
  open(response: Writable): void {
    const reader = new Reader(response);
    this.#readers.add(reader);
    if (!this.#look) this.#begin();
    response.once('close', () => {
      reader.end();
      this.#readers.delete(reader);
      if (this.#readers.size === 0) this.#rest();
    });
  }

  /** The server waits for open responses; these would never end by themselves. */
  beforeApplicationShutdown(): void {
    for (const reader of this.#readers) reader.end();
    this.#rest();
  }

  #begin(): void {
    this.#lookedAt = Date.now();
    this.#look = this.#lookLater();
  }

  #rest(): void {
    clearTimeout(this.#look);
    this.#look = undefined;
  }

  #lookLater(): NodeJS.Timeout {
    return setTimeout(async () => {
      await this.#lookForOthers();
      if (this.#look) this.#look = this.#lookLater();
    }, LOOK_EVERY_MS);
  }

  async #lookForOthers(): Promise<void> {
    // Looks back further than to the last look, for rows that were written late and for clocks that disagree a little.
    const since = new Date(this.#lookedAt - LOOK_BACK_MS).toISOString();
    const now = Date.now();
    try {
      const found = await this.entries.fromOthers(since, MOST_PENDING);
      const news = found.filter((entry) => this.#others.get(entry.course_key) !== entry.eventTime);
      this.#others = new Map(found.map((entry) => [entry.course_key, entry.eventTime]));
      this.#lookedAt = now;
      for (const reader of this.#readers) {
        if (found.length === MOST_PENDING && news.length > 0) reader.reload();
        else for (const entry of news) reader.tell(entry);
      }
    } catch (error) {
      this.#log.warn('changes of other processes could not be read', { reason: String(error) });
    }
  }
}

/** Time of the change that readers were told of, by course; no more than one look finds. */
type OthersSeen = ReadonlyMap<string, string>;

/** One open page. A slow one is told the last state of each course, never more than it can take. */
class Reader {
  readonly #response: Writable;
  readonly #pending = new Map<string, CourseEntry>();
  readonly #heartbeat: NodeJS.Timeout;
  #isWaiting = false;
  #mustReload = false;

  constructor(response: Writable) {
    this.#response = response;
    this.#heartbeat = setInterval(() => this.#response.writableNeedDrain || this.#write(':\n\n'), HEARTBEAT_MS);
    this.#write(`retry: ${RECONNECT_AFTER_MS}\n\n`);
  }

  tell(entry: CourseEntry): void {
    // The list that it is about to ask for will hold this one as well.
    if (this.#mustReload) return;
    this.#pending.set(entry.course_key, entry);
    if (this.#pending.size > MOST_PENDING) this.reload();
    else this.#flush();
  }

  reload(): void {
    this.#pending.clear();
    this.#mustReload = true;
    this.#flush();
  }

  end(): void {
    clearInterval(this.#heartbeat);
    this.#response.end();
  }

  #flush(): void {
    if (this.#isWaiting || (this.#pending.size === 0 && !this.#mustReload)) return;
    const text = this.#mustReload
      ? 'event: reload\ndata: \n\n'
      : `event: changes\ndata: ${JSON.stringify([...this.#pending.values()])}\n\n`;
    this.#pending.clear();
    this.#mustReload = false;
    this.#isWaiting = true;
    const goOn = () => {
      this.#isWaiting = false;
      this.#flush();
    };
    // No more often than a screen is painted, and not before the last one has left.
    if (this.#write(text)) setTimeout(goOn, FRAME_MS);
    else this.#response.once('drain', goOn);
  }

  #write(text: string): boolean {
    return this.#response.writableEnded || this.#response.write(text);
  }
}

const LOOK_EVERY_MS = 500;
const LOOK_BACK_MS = 5_000;
const MOST_PENDING = 1_000;
const HEARTBEAT_MS = 15_000;
const RECONNECT_AFTER_MS = 1_000;
const FRAME_MS = 20;
