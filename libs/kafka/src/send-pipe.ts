/**
 * What waits to be appended. One request costs the same for one record as for five hundred: records wait here while a request is under way,
 * and the next one takes what has gathered. Batches grow with the load by themselves; nothing lingers.
 *
 *   add ─▶ line of the partition ─▶ append, one at a time for each broker ─┬─ stored, or refused for good ─▶ settled
 *               ▲                                                          ├─ not now ───┐
 *               ├───────────── to the head of its line, after a pause ◀────┴─────────────┘
 *               └───────────── in doubt: the same records again, after a pause
 *
 * A partition is in one append at most, and what comes back goes to the head of its line: that alone keeps the order of a key, whatever the
 * broker does. A broker that is silent holds up its own partitions only. The caller bounds what is in here (the producer's buffer, the
 * records a consumer has in flight).
 */
import { BusError, type BusRecord, type PublishOutcome, type TopicPartition } from '@event-bus/core';
import { Fifo, placeOf } from '@event-bus/core/internal';
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
  /** By broker, what the append under way took out of the lines. */
  readonly #underWay = new Map<number | undefined, readonly Taken[]>();
  #wake: { readonly at: number; readonly cancel: () => void } | undefined;
  #sweep: NodeJS.Timeout | undefined;
  #idle: (() => void)[] = [];

  constructor(private readonly producer: KafkaProducer) {}

  add(topic: string, partition: number, entry: Entry): void {
    const place = placeOf({ topic, partition });
    let line = this.#lines.get(place);
    if (line === undefined) this.#lines.set(place, (line = new Line(topic, partition)));
    line.waiting.push(entry);
    if (!this.#underWay.has(this.producer.leaderOf(line))) this.#wakeAt(0);
    this.#sweep ??= setInterval(() => this.#expire(), SWEEP_MS).unref();
  }

  /** Resolves when nothing waits and nothing is under way. */
  idle(): Promise<void> {
    if (this.#lines.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  /** At the end of this turn (0), or at a time; the sooner one counts. */
  #wakeAt(at: number): void {
    if (this.#wake !== undefined && this.#wake.at <= at) return;
    this.#wake?.cancel();
    const go = () => {
      this.#wake = undefined;
      this.#sendAll();
    };
    if (at === 0) {
      const immediate = setImmediate(go);
      this.#wake = { at, cancel: () => clearImmediate(immediate) };
    } else {
      const timeout = setTimeout(go, Math.ceil(at - performance.now()));
      this.#wake = { at, cancel: () => clearTimeout(timeout) };
    }
  }

  #sendAll(): void {
    const now = performance.now();
    for (const line of this.#lines.values()) {
      const leader = this.producer.leaderOf(line);
      if (line.isReady(now) && !this.#underWay.has(leader)) void this.#send(leader);
    }
  }

  async #send(leader: number | undefined): Promise<void> {
    let taken = this.#take(leader);
    while (taken.length > 0) {
      this.#underWay.set(leader, taken);
      const outcomes = await this.producer.append(taken.map(partOf));
      const tellStored = taken.map(({ line, entries }, i) => settle(line, entries, outcomes[i]!));
      const tell = () => tellStored.forEach((tellAll) => tellAll?.());
      taken = this.#take(leader);
      // The broker is given work first: those who are told send again, and until all of them have, nothing would be written.
      if (taken.length > 0) setImmediate(tell);
      else tell();
    }
    this.#underWay.delete(leader);
    this.#rest();
  }

  /** From every line of this broker that may go on, in turn, up to the limits of one request. */
  #take(leader: number | undefined): Taken[] {
    const taken: Taken[] = [];
    const now = performance.now();
    let records = 0;
    let bytes = 0;
    for (const line of this.#lines.values()) {
      if (!line.isReady(now) || this.producer.leaderOf(line) !== leader) continue;
      const entries = line.take(MAX_RECORDS - records, MAX_BYTES - bytes, taken.length === 0);
      if (entries.length === 0) continue;
      taken.push({ line, entries });
      records += entries.length;
      for (const entry of entries) bytes += entry.bytes;
      if (records >= MAX_RECORDS || bytes >= MAX_BYTES) break;
    }
    // To the end of the turn order: otherwise the first partitions of a busy topic would starve the rest.
    for (const { line } of taken) {
      const place = placeOf(line);
      this.#lines.delete(place);
      this.#lines.set(place, line);
    }
    return taken;
  }

  #expire(): void {
    const now = performance.now();
    for (const line of this.#lines.values()) line.expire(now);
    // The partition stays shut until the answer comes, or newer records would overtake; but nobody waits longer than was said.
    for (const taken of this.#underWay.values()) {
      for (const { line, entries } of taken) {
        for (const entry of entries) {
          if (entry.isSettled || entry.deadline > now) continue;
          entry.isInDoubt = true;
          entry.settle(lastWord(entry, tooLate(line)));
        }
      }
    }
    this.#rest();
  }

  /** Forgets empty lines, and wakes for the paused ones. */
  #rest(): void {
    let next = Infinity;
    for (const [place, line] of this.#lines) {
      if (line.isEmpty) this.#lines.delete(place);
      else if (!line.isUnderWay && !this.#underWay.has(this.producer.leaderOf(line)))
        next = Math.min(next, line.pausedUntil);
    }
    if (next < Infinity) this.#wakeAt(next > performance.now() ? next : 0);
    if (this.#lines.size > 0) return;
    clearInterval(this.#sweep);
    this.#sweep = undefined;
    this.#wake?.cancel();
    this.#wake = undefined;
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}

/** The records of one partition, in order. */
class Line {
  readonly waiting = new Fifo<Entry>();
  isUnderWay = false;
  pausedUntil = 0;
  /** Sent, and perhaps stored: they go again as they went, or the broker could not tell that it has them. */
  #doubted: readonly Entry[] = [];
  /** So many of the next records are sent one by one. */
  #alone = 0;
  #retries = 0;
  #error: BusError | undefined;

  constructor(
    readonly topic: string,
    readonly partition: number,
  ) {}

  get isEmpty(): boolean {
    return !this.isUnderWay && this.waiting.size === 0 && this.#doubted.length === 0;
  }

  isReady(now: number): boolean {
    return !this.isUnderWay && this.pausedUntil <= now && (this.waiting.size > 0 || this.#doubted.length > 0);
  }

  /** As much as there is room for; into an empty request at least one record, or all that are in doubt. */
  take(records: number, bytes: number, isFirst: boolean): readonly Entry[] {
    const entries = this.#doubted.length > 0 ? this.#again(records, isFirst) : this.#next(records, bytes, isFirst);
    this.isUnderWay = entries.length > 0;
    return entries;
  }

  #again(records: number, isFirst: boolean): readonly Entry[] {
    return isFirst || this.#doubted.length <= records ? this.#doubted : [];
  }

  #next(records: number, bytes: number, isFirst: boolean): Entry[] {
    const entries: Entry[] = [];
    const most = this.#alone > 0 ? Math.min(1, records) : records;
    for (let head = this.waiting.peek(); head !== undefined && entries.length < most; head = this.waiting.peek()) {
      bytes -= head.bytes;
      if (bytes < 0 && !(isFirst && entries.length === 0)) break;
      entries.push(this.waiting.shift()!);
    }
    if (this.#alone > 0 && entries.length > 0) this.#alone--;
    return entries;
  }

  isStored(): void {
    this.#doubted = [];
    this.#retries = 0;
    this.#error = undefined;
  }

  /** Before anything newer of this partition. */
  again(entries: readonly Entry[], { status, error }: Exclude<Outcome, { status: 'stored' }>): void {
    if (status === 'unknown') for (const entry of entries) entry.isInDoubt = true;
    if (status === 'unknown' || this.#doubted.length > 0) this.#doubted = entries;
    else this.waiting.unshift(entries.filter(isOpen));
    this.#error = error;
    const now = performance.now();
    this.pausedUntil = now + Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.#retries++);
    this.expire(now);
  }

  /** One record that is too large, say, refuses its whole batch: sent one by one, only what is refused alone is refused. */
  refused(entries: readonly Entry[], { error, oneMayBeToBlame }: Extract<Outcome, { status: 'failed' }>): void {
    this.#doubted = [];
    const open = entries.filter(isOpen);
    if (oneMayBeToBlame && entries.length > 1) {
      this.#alone = open.length;
      this.waiting.unshift(open);
    } else {
      for (const entry of open) entry.settle(lastWord(entry, error));
    }
  }

  /** Ends what waits and is overdue. Of records in doubt those that are settled go along, as long as one is open. */
  expire(now: number): void {
    const isOverdue = (entry: Entry) => entry.deadline <= now;
    const overdue = this.waiting.size > 0 ? this.waiting.remove(isOverdue) : [];
    if (!this.isUnderWay) {
      overdue.push(...this.#doubted.filter(isOverdue));
      if (!this.#doubted.some((entry) => !isOverdue(entry))) this.#doubted = [];
    }
    for (const entry of overdue) entry.settle(lastWord(entry, this.#error ?? tooLate(this)));
  }
}

interface Taken {
  readonly line: Line;
  readonly entries: readonly Entry[];
}

const partOf = ({ line: { topic, partition }, entries }: Taken): Part => ({
  topic,
  partition,
  records: entries.map(({ record }) => record),
});

/** What is left to do of records that are stored: to tell so. */
function settle(line: Line, entries: readonly Entry[], outcome: Outcome): (() => void) | undefined {
  line.isUnderWay = false;
  if (outcome.status === 'stored') {
    const { partition } = line;
    const base = Number(outcome.baseOffset);
    line.isStored();
    return () => entries.forEach((entry, i) => entry.settle({ status: 'stored', partition, offset: String(base + i) }));
  }
  if (outcome.status === 'unknown' || outcome.error.retryable) line.again(entries, outcome);
  else line.refused(entries, outcome);
  return undefined;
}

const isOpen = (entry: Entry) => !entry.isSettled;

function lastWord(entry: Entry, error: BusError): PublishOutcome {
  return { status: entry.isInDoubt ? 'unknown' : 'not-stored', error };
}

function tooLate({ topic, partition }: TopicPartition): BusError {
  return new BusError(
    'BUS_TRANSPORT_UNAVAILABLE',
    `Kafka acknowledged no record for partition ${partition} of topic "${topic}" before the deadline.`,
    { details: { topic, partition } },
  );
}

// Measured best on one broker; the broker's own limit counts the whole batch.
const MAX_RECORDS = 500;
const MAX_BYTES = 512 * 1024;
const FIRST_PAUSE_MS = 50;
const MAX_PAUSE_MS = 2_000;
const SWEEP_MS = 250;
