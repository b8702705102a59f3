/**
 * Wakes readers without a server. In this process: a call. Across processes: a writer overwrites the one byte of the file `doorbell`
 * after its flush, and readers watch that file. Some mounts tell nobody about changes: the bell proves itself at the start by ringing, and
 * where nothing is heard readers poll, often while there is work and seldom while there is none.
 *
 * A lost ring costs a quarter of a second and no record: readers look that often whatever they hear.
 */
import { closeSync, constants, fstatSync, openSync, statSync, watch, writeSync, type FSWatcher } from 'node:fs';

export class Doorbell {
  readonly #looks = new Set<() => void>();
  readonly #file: number;
  readonly #byte = Buffer.from('.');
  #watcher: FSWatcher | undefined;
  #isHeard = false;
  #timer: NodeJS.Timeout | undefined;
  #proof: NodeJS.Timeout | undefined;
  #proofs = 0;
  #pollMs = POLL_MS.first;
  #lastActive = 0;
  #rangAt = -Infinity;
  #ringLater: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(private readonly path: string) {
    this.#file = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  }

  /** Tells everyone that the log has news: this process at once, others by the bell, which rings at most once a millisecond. */
  ring(): void {
    this.#look();
    const waitMs = this.#rangAt + RING_EVERY_MS - performance.now();
    if (waitMs <= 0) this.#ringNow();
    else this.#ringLater ??= setTimeout(() => this.#ringNow(), waitMs);
  }

  /** Calls `look` whenever there may be news, and now and then without. Answers how to stop. */
  listen(look: () => void): () => void {
    this.#looks.add(look);
    if (this.#looks.size === 1) this.#start();
    return () => {
      if (this.#looks.delete(look) && this.#looks.size === 0) this.#stop();
    };
  }

  /** A reader found something: poll often for a while, if polling it is. */
  active(): void {
    this.#lastActive = performance.now();
    if (!this.#isHeard && this.#pollMs > POLL_MS.first && this.#timer !== undefined) {
      this.#pollMs = POLL_MS.first;
      this.#arm();
    }
  }

  get mode(): 'bell' | 'polling' | 'off' {
    return this.#looks.size === 0 ? 'off' : this.#isHeard ? 'bell' : 'polling';
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#looks.clear();
    this.#stop();
    clearTimeout(this.#ringLater);
    closeSync(this.#file);
  }

  #ringNow(): void {
    clearTimeout(this.#ringLater);
    this.#ringLater = undefined;
    // Its descriptor may be that of somebody else's file by now.
    if (this.#isClosed) return;
    this.#rangAt = performance.now();
    try {
      writeSync(this.#file, this.#byte, 0, 1, 0);
    } catch {
      // A bell that does not ring costs others a quarter of a second; the write before it succeeded.
    }
  }

  #look(): void {
    for (const look of this.#looks) look();
  }

  #start(): void {
    this.#pollMs = POLL_MS.first;
    this.#lastActive = performance.now();
    try {
      this.#watcher = watch(this.path, () => this.#heard());
      this.#watcher.on('error', () => this.#lostHearing());
    } catch {
      this.#watcher = undefined;
    }
    this.#proofs = 0;
    this.#prove();
    this.#arm();
  }

  // More than once: a process that is busy with a backlog hears late. Who hears later still comes off polling.
  #prove(): void {
    this.#ringNow();
    this.#proof = setTimeout(() => (++this.#proofs < PROOFS ? this.#prove() : this.#deaf()), PROOF_MS);
  }

  #deaf(): void {
    process.emitWarning(
      `No change of ${this.path} is heard on this file system: readers poll instead, which costs a little more processor and a few milliseconds.`,
      { code: 'EVENT_BUS_POLLING' },
    );
  }

  #stop(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
    this.#isHeard = false;
    clearTimeout(this.#proof);
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #heard(): void {
    if (!this.#isHeard) {
      this.#isHeard = true;
      clearTimeout(this.#proof);
      this.#arm();
    }
    this.#look();
  }

  #lostHearing(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
    this.#isHeard = false;
    this.#deaf();
    this.#arm();
  }

  // What is rung from now on is another file, when somebody deleted this one or put another in its place.
  #isOtherFile(): boolean {
    return statSync(this.path, { throwIfNoEntry: false })?.ino !== fstatSync(this.#file).ino;
  }

  // The timer keeps the process alive as a socket would: somebody is subscribed.
  #arm(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(
      () => {
        const isQuiet = performance.now() - this.#lastActive > POLL_OFTEN_FOR_MS;
        this.#pollMs = isQuiet ? Math.min(this.#pollMs * 2, POLL_MS.longest) : POLL_MS.first;
        if (this.#isHeard && this.#isOtherFile()) this.#lostHearing();
        else this.#arm();
        this.#look();
      },
      this.#isHeard ? LOOK_MS : this.#pollMs,
    );
  }
}

const RING_EVERY_MS = 1;
const LOOK_MS = 250;
const PROOF_MS = 100;
const PROOFS = 5;
const POLL_MS = { first: 2, longest: 50 };
const POLL_OFTEN_FOR_MS = 1_000;
