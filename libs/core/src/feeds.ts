/**
 * Which lane starts next, and how many run at once. Every handler has a feed of ready lanes. Feeds take turns, and a handler that is slow
 * leaves places free in which its neighbours can begin.
 */
import { Fifo } from './fifo.js';
import type { Gate } from './gate.js';
import type { Lane } from './lane.js';

export class Feed {
  readonly ready = new Fifo<Lane>();
  running = 0;

  constructor(readonly gate: Gate) {}
}

export class Feeds {
  readonly #byHandler: ReadonlyMap<string, Feed>;
  readonly #feeds: readonly Feed[];
  /** Whose turn it is. */
  #at = 0;
  #running = 0;
  /** Feeds of which nothing runs. */
  #idle: number;

  constructor(
    gates: ReadonlyMap<string, Gate>,
    private readonly concurrency: number,
  ) {
    this.#byHandler = new Map(Array.from(gates, ([id, gate]) => [id, new Feed(gate)]));
    this.#feeds = [...this.#byHandler.values()];
    this.#idle = this.#feeds.length;
  }

  of(handler: string): Feed {
    return this.#byHandler.get(handler)!;
  }

  /** Takes the lane out that is to start now; `undefined` when nothing may. */
  next(): Lane | undefined {
    if (this.#running >= this.concurrency) return undefined;
    const count = this.#feeds.length;
    for (let step = 0; step < count; step++) {
      const place = (this.#at + step) % count;
      const feed = this.#feeds[place]!;
      if (feed.ready.size === 0 || feed.running >= this.#share(feed)) continue;
      this.#at = (place + 1) % count;
      return feed.ready.shift();
    }
    return undefined;
  }

  started({ feed }: Lane): void {
    this.#running++;
    if (feed.running++ === 0) this.#idle--;
  }

  ended({ feed }: Lane): void {
    this.#running--;
    if (--feed.running === 0) this.#idle++;
  }

  remove(isLeaving: (lane: Lane) => boolean): void {
    for (const { ready } of this.#feeds) ready.remove(isLeaving);
  }

  #share(feed: Feed): number {
    const others = feed.running === 0 ? this.#idle - 1 : this.#idle;
    return this.concurrency - Math.min(others, Math.ceil((this.concurrency - 1) / KEPT_FREE));
  }
}

// At most a quarter of the places waits for handlers that have nothing running.
const KEPT_FREE = 4;
