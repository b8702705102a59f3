/**
 * What is sent and not settled: a line for each topic, in the order of the calls, and the room for what is handed to the transport.
 * Nothing overtakes within a line; lines take turns, and a topic whose broker is away leaves room to the others.
 */
import { Fifo } from './fifo.js';

/** One record on its way. */
export interface Entry {
  readonly topic: string;
  /** What it takes; changed through `weigh` only. */
  bytes: number;
  /** It can be handed over: it is encoded. */
  readonly isReady: boolean;
  /** Whoever sent it has been told how it ended. */
  readonly isOver: boolean;
}

export interface SendBufferSetup<E extends Entry> {
  /** Of what is handed over; as much again may wait. */
  readonly limit: { readonly records: number; readonly bytes: number };
  readonly hand: (entry: E) => void;
}

export class SendBuffer<E extends Entry> {
  readonly #lines = new Map<string, Line<E>>();
  #waiting = 0;
  #waitingBytes = 0;
  #handed = 0;
  #handedBytes = 0;
  /** Its first record waits for room: until it has had its turn nobody takes any. */
  #starved: Line<E> | undefined;

  constructor(private readonly setup: SendBufferSetup<E>) {}

  get held(): { readonly records: number; readonly bytes: number } {
    return { records: this.#handed + this.#waiting, bytes: this.#handedBytes + this.#waitingBytes };
  }

  /** As much waits as may: in all, or of this topic. */
  isCrowded(topic: string): boolean {
    const { records, bytes } = this.setup.limit;
    if (this.#waiting >= records || this.#waitingBytes >= bytes) return true;
    const line = this.#lines.get(topic);
    if (line === undefined) return false;
    const count = line.waiting.size - line.abandoned;
    return (
      !this.#isFair(count, records - this.#waiting) || !this.#isFair(line.waitingBytes, bytes - this.#waitingBytes)
    );
  }

  /** Puts an entry at the end of the line of its topic. `advance` goes on from there. */
  join(entry: E): void {
    const { topic } = entry;
    let line = this.#lines.get(topic);
    if (line === undefined) this.#lines.set(topic, (line = newLine(topic)));
    line.waiting.push(entry);
    this.#waiting++;
  }

  /** Of an entry that waits: it takes so much. */
  weigh(entry: E, bytes: number): void {
    this.#lines.get(entry.topic)!.waitingBytes += bytes - entry.bytes;
    this.#waitingBytes += bytes - entry.bytes;
    entry.bytes = bytes;
  }

  /** Everything that waits, in the order within its lines. */
  waiting(): E[] {
    return [...this.#lines.values()].flatMap((line) => line.waiting.items());
  }

  /** Hands over what may go from the front of a topic's line. */
  advance(topic: string): void {
    this.#advance(this.#lines.get(topic)!, Infinity);
  }

  /** There may be room again. */
  advanceAll(): void {
    const starved = this.#starved;
    this.#starved = undefined;
    if (this.#waiting === 0) return;
    if (starved !== undefined) this.#serve(starved, 1);
    for (const line of this.#lines.values()) {
      if (this.#starved !== undefined) return;
      this.#serve(line, Infinity);
    }
  }

  /** The transport has settled an entry. */
  giveBack({ topic, bytes }: E): void {
    const line = this.#lines.get(topic)!;
    line.handed--;
    line.handedBytes -= bytes;
    this.#handed--;
    this.#handedBytes -= bytes;
  }

  /** An entry is over that still waits. Its line is swept when half of it is like that: each entry costs one look. */
  abandon({ topic, bytes }: E): void {
    const line = this.#lines.get(topic)!;
    line.waitingBytes -= bytes;
    this.#waiting--;
    this.#waitingBytes -= bytes;
    if (++line.abandoned * 2 <= line.waiting.size) return;
    line.waiting.remove(({ isOver }) => isOver);
    line.abandoned = 0;
  }

  /** Whoever got room goes to the back: one busy topic must not starve the others. */
  #serve(line: Line<E>, most: number): void {
    if (!this.#advance(line, most) || this.#lines.size === 1) return;
    this.#lines.delete(line.topic);
    this.#lines.set(line.topic, line);
  }

  #advance(line: Line<E>, most: number): boolean {
    // A large record needs more room than a small one leaves: while it waits for that, nobody takes any.
    if (this.#starved !== undefined) return false;
    let moved = 0;
    for (let head = line.waiting.peek(); head !== undefined && moved < most; head = line.waiting.peek()) {
      if (!head.isOver && !head.isReady) break;
      if (!head.isOver && !this.#hasShare(line, head.bytes)) break;
      if (!head.isOver && !this.#hasRoom(head.bytes)) {
        this.#starved = line;
        break;
      }
      line.waiting.shift();
      if (head.isOver) {
        line.abandoned--;
        continue;
      }
      moved++;
      this.#hand(line, head);
    }
    return moved > 0;
  }

  /** Whoever has nothing under way waits for room only. */
  #hasShare(line: Line<E>, bytes: number): boolean {
    if (line.handed === 0) return true;
    const free = {
      records: this.setup.limit.records - this.#handed,
      bytes: this.setup.limit.bytes - this.#handedBytes,
    };
    return this.#isFair(line.handed, free.records) && this.#isFair(line.handedBytes + bytes, free.bytes - bytes);
  }

  /** Records whose broker does not answer stay until their deadline: what is still free bounds what one topic of several may have. */
  #isFair(own: number, free: number): boolean {
    return this.#lines.size === 1 || own < free * SHARE;
  }

  #hasRoom(bytes: number): boolean {
    if (this.#handed === 0) return true;
    return this.#handed < this.setup.limit.records && this.#handedBytes + bytes <= this.setup.limit.bytes;
  }

  #hand(line: Line<E>, entry: E): void {
    line.waitingBytes -= entry.bytes;
    line.handed++;
    line.handedBytes += entry.bytes;
    this.#waiting--;
    this.#waitingBytes -= entry.bytes;
    this.#handed++;
    this.#handedBytes += entry.bytes;
    this.setup.hand(entry);
  }
}

/** The entries of one topic that are not handed over yet. */
interface Line<E> {
  readonly topic: string;
  readonly waiting: Fifo<E>;
  /** Of those, the ones that are over. */
  abandoned: number;
  waitingBytes: number;
  handed: number;
  handedBytes: number;
}

function newLine<E>(topic: string): Line<E> {
  return { topic, waiting: new Fifo(), abandoned: 0, waitingBytes: 0, handed: 0, handedBytes: 0 };
}

// One topic takes four fifths of the room at most, the next one four fifths of what that leaves: dynamic thresholds, as switches share
// their memory between ports (Choudhury and Hahne, 1998).
const SHARE = 4;
