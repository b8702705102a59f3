/**
 * One member of a group in this process: takes its turns at the group's table, reads the partitions it owns and hands their records over,
 * one batch of a partition at a time.
 *
 *   joining ──▶ running ⇄ rebalancing ──▶ stopped
 *
 * Bounds: one batch (128 records or 1 MiB) per partition between log and receiver.
 */
import { randomBytes } from 'node:crypto';
import type {
  Commit,
  LostRange,
  Receiver,
  StartPosition,
  StoredRecord,
  Subscription,
  SubscriptionStatus,
  TopicPartition,
} from '@event-bus/core';
import type { Range } from '@event-bus/core/internal';
import type { TopicRow } from './databases.js';
import type { Environment } from './environment.js';
import { closedError } from './failures.js';
import {
  generationOf,
  takeTurn,
  type PartitionId,
  type TableCommit,
  type Taken,
  type TurnResult,
} from './group-table.js';
import type { LogSlice, LostOffsets } from './log.js';
import { machineTime, thisProcess } from './machine.js';
import { offsetOf, positionText } from './position.js';

export interface SubscriptionSetup {
  readonly environment: Environment;
  readonly group: string;
  readonly topics: ReadonlyMap<string, TopicRow>;
  readonly from: StartPosition;
  readonly revokeTimeoutMs: number;
  readonly receiver: Receiver;
  readonly stopped: () => void;
}

type CommitAnswer = 'committed' | 'fenced' | 'later';

export class GroupSubscription implements Subscription {
  readonly #member = `${process.pid}-${randomBytes(6).toString('hex')}`;
  readonly #process = thisProcess();
  readonly #held = new Map<string, Held>();
  readonly #names: ReadonlyMap<number, string>;
  /** Calls of the receiver under way: a partition that comes back waits for the call of its earlier time. */
  readonly #receiving = new Map<string, Promise<void>>();
  readonly #revocations = new Set<Promise<void>>();
  #waitingCommits: {
    readonly commits: readonly TableCommit[];
    readonly answer: (answers: readonly CommitAnswer[]) => void;
  }[] = [];
  #isTurnWanted = false;
  #turns: Promise<void> | undefined;
  #lastTurn = -Infinity;
  #until = -Infinity;
  #generation = -1;
  #settledAt: number | undefined;
  #lastLook = machineTime();
  #trouble: Error | undefined;
  #state: 'joining' | 'running' | 'leaving' | 'stopped' = 'joining';
  #joining: Promise<TurnResult> | undefined;
  #heartbeat: NodeJS.Timeout | undefined;
  #deafen: (() => void) | undefined;
  #stopping: Promise<void> | undefined;

  constructor(private readonly setup: SubscriptionSetup) {
    this.#names = new Map([...setup.topics].map(([name, row]) => [row.id, name]));
  }

  /** Joins the group; resolves when the member is in the table. Rejects when it cannot be written, or is stopped meanwhile. */
  async start(): Promise<void> {
    this.#joining = this.#turn([]);
    const result = await this.#joining;
    if (this.#stopping !== undefined) throw closedError();
    this.#state = 'running';
    this.#heartbeat = setInterval(() => this.#beat(), HEARTBEAT_MS);
    this.#deafen = this.setup.environment.bell.listen(() => this.#look());
    this.#apply(result);
  }

  async commit(commits: readonly Commit[]): Promise<readonly CommitAnswer[]> {
    const rows = commits.map((commit) => this.#tableCommit(commit));
    const valid = rows.filter((row) => row !== undefined);
    const answers =
      valid.length === 0
        ? []
        : await new Promise<readonly CommitAnswer[]>((answer) => {
            this.#waitingCommits.push({ commits: valid, answer });
            this.#turnSoon();
          });
    let next = 0;
    return rows.map((row) => (row === undefined ? 'fenced' : answers[next++]!));
  }

  holds(): boolean {
    return machineTime() < this.#until;
  }

  status(): SubscriptionStatus {
    return {
      state: this.#visibleState(),
      partitions: [...this.#held.values()].map(({ topic, partition }) => ({ topic, partition })),
      idleMs: Math.max(0, machineTime() - this.#lastLook),
    };
  }

  stop(): Promise<void> {
    return (this.#stopping ??= this.#leave());
  }

  #visibleState(): SubscriptionStatus['state'] {
    if (this.#state === 'joining' || this.#state === 'stopped') return this.#state;
    if (this.#trouble !== undefined) return 'trouble';
    return this.#revocations.size > 0 || this.#state === 'leaving' ? 'rebalancing' : 'running';
  }

  // turns

  #beat(): void {
    if (machineTime() - this.#lastTurn >= HEARTBEAT_MS * 0.9) this.#turnSoon();
  }

  #turnSoon(): void {
    this.#isTurnWanted = true;
    this.#turns ??= this.#takeTurns().finally(() => (this.#turns = undefined));
  }

  async #takeTurns(): Promise<void> {
    while (this.#isTurnWanted && this.#state !== 'stopped') {
      this.#isTurnWanted = false;
      const waiting = this.#waitingCommits.splice(0);
      try {
        const result = await this.#turn(waiting.flatMap(({ commits }) => commits));
        let next = 0;
        for (const { commits, answer } of waiting) answer(result.commits.slice(next, (next += commits.length)));
        this.#apply(result);
        this.#tellTrouble(undefined);
      } catch (error) {
        for (const { commits, answer } of waiting) answer(commits.map(() => 'later'));
        this.#tellTrouble(error as Error);
      }
    }
  }

  async #turn(commits: readonly TableCommit[], isLeaving = false): Promise<TurnResult> {
    const { environment, group, topics, from } = this.setup;
    const settledAt = this.#settledAt;
    this.#settledAt = undefined;
    // What is held is asked for when the transaction runs: it may have waited for its lock.
    const run = () =>
      takeTurn(environment, {
        group,
        member: this.#member,
        process: this.#process,
        topics: [...topics.values()],
        from,
        commits,
        held: [...this.#held.values()].map(({ id }) => id),
        settledAt,
        isLeaving,
      });
    const result = await environment.writer.write(run, { deadlineMs: TURN_DEADLINE_MS });
    const { lost, unwanted, taken, returned } = result;
    if (lost.length + unwanted.length + taken.length + returned === 0) this.#settledAt = result.generation;
    this.#lastTurn = machineTime();
    return result;
  }

  #apply(result: TurnResult): void {
    this.#until = result.until;
    this.#generation = result.generation;
    this.#lose(this.#known(result.lost));
    this.#revoke(this.#known(result.unwanted).filter(({ state }) => state === 'held'));
    if (result.taken.length > 0 && this.#state === 'running') this.#take(result.taken);
    setImmediate(() => this.#held.forEach((held) => this.#read(held)));
  }

  #known(ids: readonly PartitionId[]): Held[] {
    return ids.map((id) => this.#held.get(keyOf(id))).filter((held) => held !== undefined);
  }

  #take(taken: readonly Taken[]): void {
    const partitions = taken.map((each): Held => ({
      id: { topic: each.topic, partition: each.partition },
      topic: this.#names.get(each.topic)!,
      partition: each.partition,
      next: each.position,
      ahead: [...each.ahead],
      state: 'held',
      isReading: false,
      isWarned: false,
      gone: new AbortController(),
    }));
    for (const held of partitions) this.#held.set(keyOf(held.id), held);
    this.setup.receiver.assigned(partitions.map(placeOf));
  }

  /** Others own them already: the receiver only learns that they are gone. */
  #lose(lost: readonly Held[]): void {
    for (const held of lost) held.gone.abort();
    this.#revoke(lost.filter(({ state }) => state === 'held'));
  }

  // What is not held any more goes back to the table at the next turn.
  #revoke(partitions: readonly Held[]): void {
    if (partitions.length === 0) return;
    for (const held of partitions) held.state = 'revoking';
    const revocation = this.#tellRevoked(partitions).then(() => {
      for (const held of partitions) this.#held.delete(keyOf(held.id));
      this.#settledAt = undefined;
      this.#revocations.delete(revocation);
      this.#turnSoon();
    });
    this.#revocations.add(revocation);
  }

  // At most until the deadline; the receiver hears when it has passed, or when all that is revoked was lost meanwhile.
  async #tellRevoked(partitions: readonly Held[]): Promise<void> {
    const gone = new AbortController();
    const timer = setTimeout(() => gone.abort(), this.setup.revokeTimeoutMs);
    const whenLost = () => partitions.every((held) => held.gone.signal.aborted) && gone.abort();
    for (const held of partitions) held.gone.signal.addEventListener('abort', whenLost, { once: true });
    whenLost();
    const end = new Promise<void>((resolve) =>
      gone.signal.aborted
        ? setImmediate(resolve)
        : gone.signal.addEventListener('abort', () => setImmediate(resolve), { once: true }),
    );
    await Promise.race([this.setup.receiver.revoking(partitions.map(placeOf), gone.signal), end]);
    clearTimeout(timer);
  }

  async #leave(): Promise<void> {
    // Who is in the table by then has to leave it like all others.
    await this.#joining?.catch(() => {});
    this.#state = 'leaving';
    this.#revoke([...this.#held.values()].filter(({ state }) => state === 'held'));
    while (this.#revocations.size > 0) await Promise.all(this.#revocations);
    await this.#turns;
    clearInterval(this.#heartbeat);
    this.#deafen?.();
    this.#state = 'stopped';
    try {
      await this.#turn([], true);
    } catch (error) {
      // Others take over when the lease ends.
      this.#tellTrouble(error as Error);
    }
    for (const { commits, answer } of this.#waitingCommits.splice(0)) answer(commits.map(() => 'fenced'));
    this.#held.clear();
    this.setup.stopped();
  }

  #tableCommit({ topic, partition, position, ahead }: Commit): TableCommit | undefined {
    const { environment, topics } = this.setup;
    const row = topics.get(topic);
    const held = row === undefined ? undefined : this.#held.get(keyOf({ topic: row.id, partition }));
    if (row === undefined || held === undefined || this.#state === 'stopped') return undefined;
    const offset = (text: string) => offsetOf(environment.epoch, text);
    return { topic: row.id, partition, position: offset(position), ahead: ahead.map(offset) };
  }

  // reading

  #look(): void {
    this.#lastLook = machineTime();
    const { environment, group } = this.setup;
    try {
      environment.snapshot(() => {
        if (generationOf(environment, group) !== this.#generation) this.#turnSoon();
        for (const held of this.#held.values()) {
          if (!held.isReading && environment.log.ends(held.id.topic, held.id.partition).next > held.next)
            setImmediate(() => this.#read(held));
        }
      });
    } catch (error) {
      this.#tellTrouble(error as Error);
    }
  }

  #read(held: Held): void {
    if (!held.isReading) void this.#readAll(held);
  }

  async #readAll(held: Held): Promise<void> {
    held.isReading = true;
    try {
      await this.#receiving.get(keyOf(held.id));
      while (this.#mayHandOver(held)) {
        const slice = this.#next(held);
        // Nothing may be awaited between this answer and the end: a look in between would be lost.
        if (slice === undefined) return;
        await this.#handOver(held, slice);
        await new Promise((resolve) => setImmediate(resolve));
      }
    } finally {
      held.isReading = false;
    }
  }

  #next({ topic, partition, id, next }: Held): LogSlice | undefined {
    const { snapshot, log } = this.setup.environment;
    try {
      const slice = snapshot(() => log.read(topic, id.topic, partition, next, Infinity, BATCH));
      return slice.next === next ? undefined : slice;
    } catch (error) {
      // The next look tries again.
      this.#tellTrouble(error as Error);
      return undefined;
    }
  }

  async #handOver(held: Held, slice: LogSlice): Promise<void> {
    const { environment, receiver } = this.setup;
    if (slice.corrupt.length > 0) this.#warn(held, slice.corrupt[0]!);
    const lost = slice.lost.flatMap((range) => unfinished(held, range));
    const records = withoutAhead(held, slice.records);
    held.next = slice.next;
    environment.bell.active();
    for (const range of lost) receiver.lost(this.#lostRange(held, range));
    const next = positionText(environment.epoch, slice.next);
    const receiving = receiver.receive({ topic: held.topic, partition: held.partition, records, next });
    if (receiving === undefined) return;
    const key = keyOf(held.id);
    this.#receiving.set(key, receiving);
    await receiving;
    this.#receiving.delete(key);
  }

  // Once for each partition: what follows is in the dead letters as well.
  #warn(held: Held, { offset }: StoredRecord): void {
    if (held.isWarned) return;
    held.isWarned = true;
    process.emitWarning(
      `Record ${offset} of ${held.topic}/${held.partition} is not what was written: its bytes changed on the disk of ${this.setup.environment.path}. It goes to the dead letters of group "${this.setup.group}" as it is. Check the disk.`,
      { code: 'EVENT_BUS_CORRUPT_RECORD' },
    );
  }

  // A process that was stopped or busy may have lost its partitions without knowing: it asks the table before it goes on.
  #mayHandOver(held: Held): boolean {
    if (held.state !== 'held' || this.#state !== 'running') return false;
    if (this.holds()) return true;
    this.#turnSoon();
    return false;
  }

  #lostRange(held: Held, { from, to, reason }: LostOffsets): LostRange {
    const { epoch } = this.setup.environment;
    return {
      topic: held.topic,
      partition: held.partition,
      from: positionText(epoch, from),
      to: positionText(epoch, to),
      count: to - from,
      reason,
    };
  }

  #tellTrouble(error: Error | undefined): void {
    if (error === undefined && this.#trouble === undefined) return;
    this.#trouble = error;
    this.setup.receiver.trouble(error);
  }
}

interface Held extends TopicPartition {
  readonly id: PartitionId;
  /** The next offset to read. */
  next: number;
  /** Finished before, by whoever owned the partition then. */
  ahead: Range[];
  state: 'held' | 'revoking';
  isReading: boolean;
  /** It was said that a record is corrupt. */
  isWarned: boolean;
  /** Aborted when somebody else owns the partition. */
  readonly gone: AbortController;
}

/** The parts of a lost range that were not finished before. */
function unfinished({ ahead }: Held, { from, to, reason }: LostOffsets): LostOffsets[] {
  const parts: LostOffsets[] = [];
  let at = from;
  for (const [first, end] of ahead) {
    if (at < Math.min(first, to)) parts.push({ from: at, to: Math.min(first, to), reason });
    at = Math.max(at, end);
  }
  if (at < to) parts.push({ from: at, to, reason });
  return parts;
}

function withoutAhead(held: Held, records: StoredRecord[]): StoredRecord[] {
  while (held.ahead.length > 0 && held.ahead[0]![1] <= held.next) held.ahead.shift();
  if (held.ahead.length === 0) return records;
  return records.filter(({ offset }) => {
    const at = Number(offset.slice(offset.indexOf('.') + 1));
    return !held.ahead.some(([first, end]) => first <= at && at < end);
  });
}

const keyOf = ({ topic, partition }: PartitionId): string => `${topic}/${partition}`;
const placeOf = ({ topic, partition }: Held): TopicPartition => ({ topic, partition });

const HEARTBEAT_MS = 1_000;
const TURN_DEADLINE_MS = 5_000;
const BATCH = { records: 128, bytes: 2 ** 20 };
