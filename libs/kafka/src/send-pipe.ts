/**
 * What waits to be appended. kafkajs does not batch, and one request costs the same for one record as for five hundred: records wait here
 * while a request is under way, and the next one takes what has gathered. Batches grow with the load by themselves; nothing lingers.
 *
 *   add ─▶ line of the partition ─▶ append, one at a time ─┬─ stored, or refused for good ─▶ settled
 *               ▲                                          └─ in doubt, or not now ─┐
 *               └──────────── to the head of its line, after a pause ◀──────────────┘
 *
 * One append at a time and retries at the head of the line: that alone keeps the order of a key, whatever the broker does. The caller
 * bounds what is in here (the producer's buffer, the records a consumer has in flight).
 */
import { BusError, type BusRecord, type PublishOutcome } from '@event-bus/core';
import { Fifo } from '@event-bus/core/internal';
import type { KafkaProducer, Outcome, Part } from './kafkajs/client.js';

/** One record, until its outcome is told. */
export class Entry {
  /** Once an append of it ended in doubt, no later answer can say that it is not stored. */
  isInDoubt = false;
  isSettled = false;

  constructor(
    readonly record: BusRecord,
    readonly bytes: number,
    readonly deadline: number,
    private readonly tell: (outcome: PublishOutcome) => void,
  ) {}

  /** The first outcome is told: of a record under way that may be its deadline, and the answer still comes. */
  settle(outcome: PublishOutcome): void {
    if (this.isSettled) return;
    this.isSettled = true;
    this.tell(outcome);
  }
}

export class SendPipe {
  readonly #lines = new Map<string, Line>();
  /** What the append under way took out of the lines. */
  #inFlight: readonly Taken[] = [];
  #isSending = false;
  #cancelWake: (() => void) | undefined;
  #sweep: NodeJS.Timeout | undefined;
  #idle: (() => void)[] = [];

  constructor(private readonly producer: KafkaProducer) {}

  add(topic: string, partition: number, entry: Entry): void {
    const place = `${topic}\n${partition}`;
    let line = this.#lines.get(place);
    if (line === undefined)
      this.#lines.set(
        place,
        (line = { topic, partition, waiting: new Fifo(), retries: 0, alone: 0, pausedUntil: 0, error: undefined }),
      );
    line.waiting.push(entry);
    this.#schedule(0);
    this.#sweep ??= setInterval(() => this.#expire(), SWEEP_MS).unref();
  }

  /** Resolves when nothing waits and nothing is under way. */
  idle(): Promise<void> {
    if (this.#lines.size === 0 && !this.#isSending) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  #schedule(afterMs: number): void {
    if (this.#isSending || (this.#cancelWake !== undefined && afterMs > 0)) return;
    this.#cancelWake?.();
    const go = () => {
      this.#cancelWake = undefined;
      void this.#send();
    };
    if (afterMs === 0) {
      const immediate = setImmediate(go);
      this.#cancelWake = () => clearImmediate(immediate);
    } else {
      const timeout = setTimeout(go, afterMs);
      this.#cancelWake = () => clearTimeout(timeout);
    }
  }

  async #send(): Promise<void> {
    if (this.#isSending) return;
    this.#isSending = true;
    for (let taken = this.#take(); taken.length > 0; taken = this.#take()) {
      this.#inFlight = taken;
      const parts = taken.map(({ line, entries }): Part => ({
        topic: line.topic,
        partition: line.partition,
        records: entries.map(({ record }) => record),
      }));
      const outcomes = await this.producer.append(parts);
      this.#inFlight = [];
      for (const [i, { line, entries }] of taken.entries()) this.#settle(line, entries, outcomes[i]!);
    }
    this.#isSending = false;
    this.#rest();
  }

  /** From every line that may go on, in turn, up to the limits of one request. A line that was cut short comes first next time. */
  #take(): Taken[] {
    const taken: Taken[] = [];
    const now = performance.now();
    let records = 0;
    let bytes = 0;
    for (const line of this.#lines.values()) {
      if (line.pausedUntil > now) continue;
      const entries: Entry[] = [];
      for (let head = line.waiting.peek(); head !== undefined; head = line.waiting.peek()) {
        if (records > 0 && (records >= MAX_RECORDS || bytes + head.bytes > MAX_BYTES)) break;
        if (line.alone > 0 && entries.length > 0) break;
        records++;
        bytes += head.bytes;
        entries.push(line.waiting.shift()!);
      }
      if (line.alone > 0 && entries.length > 0) line.alone--;
      if (entries.length > 0) taken.push({ line, entries });
      if (records >= MAX_RECORDS || bytes >= MAX_BYTES) break;
    }
    // To the end of the turn order: otherwise the first partitions of a busy topic would starve the rest.
    for (const { line } of taken) {
      const place = `${line.topic}\n${line.partition}`;
      this.#lines.delete(place);
      this.#lines.set(place, line);
    }
    return taken;
  }

  #settle(line: Line, entries: readonly Entry[], outcome: Outcome): void {
    if (outcome.status === 'stored') {
      const base = Number(outcome.baseOffset);
      for (const [i, entry] of entries.entries())
        entry.settle({ status: 'stored', partition: line.partition, offset: String(base + i) });
      line.retries = 0;
      line.error = undefined;
      return;
    }
    const isDoubt = outcome.status === 'unknown';
    for (const entry of entries) entry.isInDoubt ||= isDoubt;
    if (!isDoubt && !outcome.error.retryable) return this.#refused(line, entries, outcome.error);
    const now = performance.now();
    const [late, open] = [entries.filter(isOverdue(now)), entries.filter((entry) => !isOverdue(now)(entry))];
    for (const entry of late) entry.settle(lastWord(entry, outcome.error));
    // Before anything newer of this partition.
    line.waiting.unshift(open);
    line.pausedUntil = now + Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** line.retries++);
    line.error = outcome.error;
  }

  /** One record that is too large, say, refuses its whole batch: sent one by one, only what is refused alone is refused. */
  #refused(line: Line, entries: readonly Entry[], error: BusError): void {
    if (entries.length === 1) return entries[0]!.settle(lastWord(entries[0]!, error));
    line.alone = entries.length;
    line.waiting.unshift(entries);
  }

  #expire(): void {
    const now = performance.now();
    for (const line of this.#lines.values()) {
      if (line.waiting.size === 0) continue;
      for (const entry of line.waiting.remove(isOverdue(now)))
        entry.settle(lastWord(entry, line.error ?? tooLate(line)));
    }
    // The partition stays shut until the answer comes, or newer records would overtake; but nobody waits longer than was said.
    for (const { line, entries } of this.#inFlight) {
      for (const entry of entries) {
        if (entry.isSettled || !isOverdue(now)(entry)) continue;
        entry.isInDoubt = true;
        entry.settle(lastWord(entry, tooLate(line)));
      }
    }
    if (!this.#isSending) this.#rest();
  }

  /** Forgets empty lines, and wakes for the paused ones. */
  #rest(): void {
    for (const [place, line] of this.#lines) if (line.waiting.size === 0) this.#lines.delete(place);
    if (this.#lines.size === 0) {
      clearInterval(this.#sweep);
      this.#sweep = undefined;
      this.#cancelWake?.();
      this.#cancelWake = undefined;
      for (const resolve of this.#idle.splice(0)) resolve();
      return;
    }
    const next = Math.min(...[...this.#lines.values()].map((line) => line.pausedUntil));
    this.#schedule(Math.max(0, Math.ceil(next - performance.now())));
  }
}

interface Line {
  readonly topic: string;
  readonly partition: number;
  readonly waiting: Fifo<Entry>;
  retries: number;
  /** So many of the next records are sent one by one. */
  alone: number;
  pausedUntil: number;
  error: BusError | undefined;
}

interface Taken {
  readonly line: Line;
  readonly entries: readonly Entry[];
}

const isOverdue = (now: number) => (entry: Entry) => entry.deadline <= now;

function lastWord(entry: Entry, error: BusError): PublishOutcome {
  return { status: entry.isInDoubt ? 'unknown' : 'not-stored', error };
}

function tooLate({ topic, partition }: Line): BusError {
  return new BusError(
    'BUS_TRANSPORT_UNAVAILABLE',
    `Kafka acknowledged no record for partition ${partition} of topic "${topic}" before the deadline.`,
    { details: { topic, partition } },
  );
}

// Measured best on one broker: larger requests cost kafkajs quadratic time, and the broker's own limit counts the whole batch.
const MAX_RECORDS = 500;
const MAX_BYTES = 512 * 1024;
const FIRST_PAUSE_MS = 50;
const MAX_PAUSE_MS = 2_000;
const SWEEP_MS = 250;
