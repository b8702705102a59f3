/**
 * The running loop of one consumer group in one process. It takes batches from a transport, puts each record into the lane of its key,
 * and moves the group's position past what is finished, and never further:
 *
 *   receive ─ room? ─ read ─▶ lanes ─▶ settled by every handler ─▶ finished ─▶ commit, about once a second
 *      ▲                                                              │
 *      └──────────────────────── back-pressure ◀──────────────────────┘
 *
 * Bounds: records and bytes in flight over all partitions, and records finished ahead of each position.
 * A crash at any place loses nothing: what is not committed is handed over again.
 */
import { abortable } from './abortable.js';
import { Assignment, type Work } from './assignment.js';
import { delay, type Clock, type Random } from './clock.js';
import type { Codec, RecordMetadata } from './codec.js';
import { deadLetterRecord, deadLetterTopic, type DeadLetter } from './dead-letter.js';
import { Delivery, type Around, type Handler } from './delivery.js';
import { BusError, isBusError } from './errors.js';
import { Lanes } from './lanes.js';
import { recordBytes } from './record-size.js';
import { backoffMs, reasonOf } from './retry.js';
import { signals, type BusIdentity } from './signals.js';
import type { Tracked } from './tracker.js';
import type {
  Batch,
  LostRange,
  Receiver,
  StartPosition,
  StoredRecord,
  Subscription,
  SubscriptionStatus,
  TopicPartition,
  Transport,
} from './transport.js';

export interface ConsumerSetup {
  readonly identity: BusIdentity;
  readonly transport: Transport;
  readonly group: string;
  readonly handlers: readonly Handler[];
  readonly from: StartPosition;
  readonly concurrency: number;
  readonly maxInFlight: { readonly records: number; readonly bytes: number };
  readonly commitIntervalMs: number;
  readonly stopTimeoutMs: number;
  readonly breakerAfter: number;
  readonly around: readonly Around[];
  readonly clock: Clock;
  readonly random: Random;
}

export interface ConsumerStatus {
  readonly group: string;
  readonly topics: readonly string[];
  readonly subscription: SubscriptionStatus | undefined;
  /** Records handed over and not finished. */
  readonly inFlight: number;
  /** Keys that wait for a retry. */
  readonly retrying: number;
  /** Handlers that are switched off here. */
  readonly pausedHandlers: readonly string[];
  /** Handlers whose breaker is open. */
  readonly brokenHandlers: readonly string[];
  /** The newest ranges of records that vanished unread, at most 100. */
  readonly lost: readonly LostRange[];
  /** What keeps the group from going on: no broker, no registry, a dead letter that cannot be written. */
  readonly trouble: unknown;
}

export class Consumer {
  readonly topics: readonly string[];
  /** By topic, then by event type: the strings of both come again and again, and a joined one would be made for each record. */
  readonly #handlers: ReadonlyMap<string, ReadonlyMap<string, readonly Handler[]>>;
  readonly #lanes: Lanes;
  readonly #codec: Codec;
  readonly #assignments = new Map<string, Assignment>();
  readonly #troubles = new Set<unknown>();
  #subscribing: Promise<Subscription> | undefined;
  #subscription: Subscription | undefined;
  #records = 0;
  #bytes = 0;
  #roomWaiters: { readonly assignment: Assignment; readonly resolve: () => void }[] = [];
  #lost: readonly LostRange[] = [];
  #transportTrouble: Error | undefined;
  #cancelCommit: (() => void) | undefined;
  #committing: Promise<void> = Promise.resolve();

  constructor(private readonly setup: ConsumerSetup) {
    this.topics = [...new Set(setup.handlers.map((handler) => handler.topic))];
    const byTopic = groupBy(setup.handlers, ({ topic }) => topic);
    this.#handlers = new Map(
      Array.from(byTopic, ([topic, handlers]) => [topic, groupBy(handlers, ({ definition }) => definition.type)]),
    );
    this.#codec = setup.transport.codec;
    this.#lanes = new Lanes({
      ...setup,
      codec: this.#codec,
      handlerIds: [...new Set(setup.handlers.map((handler) => handler.id))],
      settled: (assignment, work) => this.#settled(assignment, work),
      bury: (assignment, letter) => this.#bury(assignment, letter),
    });
  }

  async start(): Promise<void> {
    const { transport, group, from, stopTimeoutMs } = this.setup;
    const receiver: Receiver = {
      assigned: (partitions) => this.#assigned(partitions),
      receive: (batch) => this.#receive(batch),
      revoking: (partitions, gone) => this.#revoking(partitions, gone),
      lost: (range) => this.#dataLoss(range),
      trouble: (error) => this.#trouble(error),
    };
    const options = { topics: this.topics, group, from, revokeTimeoutMs: stopTimeoutMs };
    this.#subscribing = transport.subscribe(options, receiver);
    this.#subscription = await this.#subscribing;
  }

  /** Takes nothing more, lets running handlers finish until the stop deadline, commits, leaves the group. */
  async stop(): Promise<void> {
    // One consumer that could not start stops the bus while others are still starting.
    await this.#subscribing?.catch(() => {});
    await this.#subscription?.stop();
    this.#cancelCommit?.();
    this.#lanes.close();
  }

  /** The kill switch of one handler in this process; its records wait. */
  pause(handler: string): void {
    this.#lanes.gate(handler)?.switchOff();
  }

  resume(handler: string): void {
    this.#lanes.gate(handler)?.switchOn();
  }

  status(): ConsumerStatus {
    const { switchedOff, broken } = this.#lanes.closedGates();
    return {
      group: this.setup.group,
      topics: this.topics,
      subscription: this.#subscription?.status(),
      inFlight: this.#records,
      retrying: this.#lanes.retrying,
      pausedHandlers: switchedOff,
      brokenHandlers: broken,
      lost: this.#lost,
      trouble: this.#transportTrouble ?? this.#troubles.values().next().value,
    };
  }

  // received

  #assigned(partitions: readonly TopicPartition[]): void {
    this.#drop(partitions.flatMap((place) => this.#assignments.get(placeOf(place)) ?? []));
    for (const place of partitions) this.#assignments.set(placeOf(place), new Assignment(place.topic, place.partition));
    this.#announce('assigned', partitions);
  }

  async #receive(batch: Batch): Promise<void> {
    const assignment = this.#assignments.get(placeOf(batch));
    if (assignment?.state !== 'held') return;
    const records = [...batch.records];
    const entries = assignment.tracker.add(batch);
    let since = this.setup.clock.monotonic();
    for (let i = 0; i < records.length; i++) {
      if (this.setup.clock.monotonic() - since > TURN_MS) {
        await this.#turn();
        since = this.setup.clock.monotonic();
      }
      if (!this.#hasRoom(assignment)) await this.#room(assignment);
      if (assignment.state !== 'held') return;
      const waiting = this.#take(assignment, records[i]!, entries[i]!);
      if (waiting === undefined) continue;
      this.#lanes.pump();
      await waiting;
    }
    this.#lanes.pump();
    if (records.length === 0) this.#armCommit();
    if (!this.#hasRoom(assignment)) await this.#room(assignment);
  }

  /** Records that take long to read, large ones or the first of a large schema, must not hold up all else that this process does. */
  #turn(): Promise<void> {
    this.#lanes.pump();
    return new Promise((resolve) => this.setup.clock.soon(resolve));
  }

  #hasRoom(assignment: Assignment): boolean {
    const { records, bytes } = this.setup.maxInFlight;
    return this.#records < records && this.#bytes < bytes && assignment.tracker.ahead < MAX_AHEAD;
  }

  #room(assignment: Assignment): Promise<void> {
    this.#lanes.pump();
    if (assignment.state !== 'held' || this.#hasRoom(assignment)) return Promise.resolve();
    return new Promise((resolve) => this.#roomWaiters.push({ assignment, resolve }));
  }

  // Waking for each finished record would cost a turn per record: wait until a quarter is free.
  #wakeWaiters(): void {
    if (this.#roomWaiters.length === 0) return;
    const { records, bytes } = this.setup.maxInFlight;
    const isLow = this.#records <= records * LOW_WATER && this.#bytes <= bytes * LOW_WATER;
    const waiters = this.#roomWaiters;
    this.#roomWaiters = [];
    for (const waiter of waiters) {
      if (waiter.assignment.state !== 'held' || (isLow && this.#hasRoom(waiter.assignment))) waiter.resolve();
      else this.#roomWaiters.push(waiter);
    }
  }

  // decoded and matched

  /** Answers a promise only when the record has to wait for its schema. */
  #take(assignment: Assignment, record: StoredRecord, entry: Tracked): Promise<void> | undefined {
    const eventType = this.#codec.eventType(record);
    const handlers = eventType === undefined ? [] : this.#handlers.get(record.topic)?.get(eventType);
    const work: Work = { entry, bytes: RECORD_OVERHEAD + recordBytes(record), unsettled: handlers?.length || 1 };
    this.#records++;
    this.#bytes += work.bytes;
    assignment.records++;
    assignment.bytes += work.bytes;
    if (handlers === undefined) return this.#unwanted(assignment, record, work, eventType);
    let received: RecordMetadata | undefined;
    try {
      received = this.#codec.metadata(record);
      if (handlers.length === 0)
        throw new BusError('BUS_DECODE_FAILED', 'The record does not name its event type.', {
          details: { reason: 'no-type' },
        });
      const data = this.#codec.decode(handlers[0]!.definition, record);
      if (data instanceof Promise) return this.#takeLater(assignment, record, work, handlers, received, data);
      this.#match(assignment, record, work, handlers, received, data);
    } catch (error) {
      if (received !== undefined && isBusError(error, 'BUS_REGISTRY_UNAVAILABLE'))
        return this.#takeLater(assignment, record, work, handlers, received, Promise.reject(error));
      void this.#unreadable(assignment, record, work, error);
    }
    return undefined;
  }

  /** The schema is not known yet. A registry that is down is a pause, not a dead letter. */
  async #takeLater(
    assignment: Assignment,
    record: StoredRecord,
    work: Work,
    handlers: readonly Handler[],
    received: RecordMetadata,
    first: Promise<unknown>,
  ): Promise<void> {
    const read = async () => this.#codec.decode(handlers[0]!.definition, record);
    try {
      const data = await this.#insist(assignment, 'registry', (tries) => (tries === 1 ? first : read()));
      if (assignment.state === 'held') this.#match(assignment, record, work, handlers, received, data);
    } catch (error) {
      void this.#unreadable(assignment, record, work, error);
    }
  }

  #match(
    assignment: Assignment,
    record: StoredRecord,
    work: Work,
    handlers: readonly Handler[],
    received: RecordMetadata,
    data: unknown,
  ): void {
    for (let i = 0; i < handlers.length; i++) {
      const fresh = i === 0 ? { fresh: data } : undefined;
      this.#lanes.add(assignment, work, new Delivery(record, received, handlers[i]!, fresh));
    }
  }

  #unwanted(assignment: Assignment, record: StoredRecord, work: Work, eventType: string | undefined): undefined {
    if (signals.skipped.isHeard) {
      const { topic, partition, offset } = record;
      signals.skipped.publish({
        ...this.setup.identity,
        group: this.setup.group,
        handler: undefined,
        topic,
        partition,
        offset,
        eventType,
        rule: 'no-handler',
      });
    }
    this.#settled(assignment, work);
  }

  /** Nobody can read the record, now or later: one dead letter for the whole group. */
  async #unreadable(assignment: Assignment, record: StoredRecord, work: Work, error: unknown): Promise<void> {
    // A partition that is leaving starts nothing more; the next owner finds it unreadable as well.
    if (assignment.state !== 'held') return;
    const now = this.setup.clock.now();
    const reason = isBusError(error) ? reasonOf(error) : 'BUS_DECODE_FAILED';
    work.unsettled = 1;
    assignment.begin();
    const letter: DeadLetter = {
      record,
      group: this.setup.group,
      handler: undefined,
      event: undefined,
      reason,
      error,
      attempts: 0,
      firstFailedAt: now,
      lastFailedAt: now,
    };
    if (await this.#bury(assignment, letter)) this.#settled(assignment, work);
    assignment.done();
  }

  // settled

  #settled(assignment: Assignment, work: Work): void {
    if (--work.unsettled > 0 || assignment.state === 'gone') return;
    assignment.tracker.finish(work.entry);
    assignment.records--;
    assignment.bytes -= work.bytes;
    this.#records--;
    this.#bytes -= work.bytes;
    this.#armCommit();
    this.#wakeWaiters();
  }

  /** The position moves past a dead letter only once it is stored. Until then its key waits, and only its key. */
  async #bury(assignment: Assignment, letter: DeadLetter): Promise<boolean> {
    const topic = deadLetterTopic(letter.record.topic, this.setup.group);
    const record = deadLetterRecord(letter);
    try {
      await this.#insist(assignment, 'dead-letter', async () => {
        const [outcome] = await this.setup.transport.publish(topic, [record]);
        if (outcome?.status !== 'stored') throw outcome?.error ?? new Error('no outcome');
      });
    } catch {
      return false;
    }
    if (assignment.state === 'gone') return false;
    const { handler, event, attempts, reason, error } = letter;
    const { partition, offset } = letter.record;
    if (signals.dead.isHeard) {
      signals.dead.publish({
        ...this.setup.identity,
        group: this.setup.group,
        topic: letter.record.topic,
        partition,
        offset,
        handler,
        event,
        attempts,
        reason,
        error,
        deadLetters: topic,
      });
    }
    return true;
  }

  /** Tries until it works or the partition leaves. Says so once, and once when it is over. */
  async #insist<T>(
    assignment: Assignment,
    what: 'registry' | 'dead-letter',
    act: (tries: number) => Promise<T>,
  ): Promise<T> {
    const fact = { ...this.setup.identity, group: this.setup.group, handler: undefined, reason: what };
    let trouble: unknown;
    try {
      for (let tries = 1; ; tries++) {
        try {
          const result = await abortable(assignment.end.signal, act(tries));
          if (trouble !== undefined) signals.resumed.publish(fact);
          return result;
        } catch (error) {
          if (assignment.state === 'gone') throw error;
          if (what === 'registry' && !isBusError(error, 'BUS_REGISTRY_UNAVAILABLE')) throw error;
          if (trouble === undefined) signals.paused.publish({ ...fact, error });
          this.#troubles.delete(trouble);
          this.#troubles.add((trouble = error));
          await delay(this.setup.clock, backoffMs(tries, INSIST_FIRST_MS, INSIST_MAX_MS), assignment.end.signal);
        }
      }
    } finally {
      this.#troubles.delete(trouble);
    }
  }

  // committed

  #armCommit(): void {
    this.#cancelCommit ??= this.setup.clock.timer(this.setup.commitIntervalMs, () => {
      this.#cancelCommit = undefined;
      void this.#commit([...this.#assignments.values()]);
    });
  }

  /** One commit at a time: a later one must never be overtaken by an earlier one. */
  #commit(assignments: readonly Assignment[]): Promise<void> {
    this.#committing = this.#committing.then(() => this.#commitNow(assignments));
    return this.#committing;
  }

  async #commitNow(assignments: readonly Assignment[]): Promise<void> {
    const news = assignments.flatMap((assignment) => {
      const { topic, partition, state, tracker } = assignment;
      const finished = state === 'gone' ? undefined : tracker.take();
      return finished === undefined ? [] : [{ assignment, commit: { topic, partition, ...finished } }];
    });
    if (news.length === 0) return;
    const commits = news.map(({ commit }) => commit);
    // Records may arrive before `subscribe` has answered.
    const answers = (await this.#subscription?.commit(commits).catch(() => [])) ?? [];
    for (const [i, { assignment, commit }] of news.entries()) {
      if (answers[i] === 'committed') {
        const { topic, partition, position } = commit;
        if (signals.committed.isHeard) {
          signals.committed.publish({ ...this.setup.identity, group: this.setup.group, topic, partition, position });
        }
      } else if (answers[i] === 'fenced') {
        this.#drop([assignment]);
      } else {
        assignment.tracker.again();
        this.#armCommit();
      }
    }
  }

  // revoked

  async #revoking(partitions: readonly TopicPartition[], gone: AbortSignal): Promise<void> {
    const leaving = partitions.flatMap((place) => this.#assignments.get(placeOf(place)) ?? []);
    for (const assignment of leaving) assignment.state = 'leaving';
    this.#lanes.leave(new Set(leaving));
    this.#wakeWaiters();
    const isTaken = gone.aborted;
    await abortable(gone, Promise.all(leaving.map((assignment) => assignment.idle()))).catch(() => {});
    if (!isTaken) await this.#commitLast(leaving, gone);
    this.#drop(leaving);
    this.#announce('revoked', partitions);
  }

  /** What is not committed now is handled again by the next owner: a commit that was put off is repeated, for a moment. */
  async #commitLast(leaving: readonly Assignment[], gone: AbortSignal): Promise<void> {
    for (let tries = 1; tries <= LAST_COMMITS; tries++) {
      await abortable(gone, this.#commit(leaving)).catch(() => {});
      if (gone.aborted || !leaving.some(({ state, tracker }) => state !== 'gone' && tracker.hasNews)) return;
      await delay(this.setup.clock, backoffMs(tries, LAST_COMMIT_PAUSE_MS, INSIST_MAX_MS), gone).catch(() => {});
    }
  }

  /** Ends assignments: whatever comes of them later counts for nothing. */
  #drop(assignments: readonly Assignment[]): void {
    for (const assignment of assignments) {
      if (assignment.state === 'gone') continue;
      assignment.state = 'gone';
      assignment.end.abort(
        new BusError('BUS_INTERRUPTED', `Partition ${assignment.partition} of ${assignment.topic} has left.`),
      );
      this.#records -= assignment.records;
      this.#bytes -= assignment.bytes;
      const place = placeOf(assignment);
      if (this.#assignments.get(place) === assignment) this.#assignments.delete(place);
    }
    const dropped = new Set(assignments);
    this.#lanes.leave(dropped);
    this.#lanes.interrupt(dropped);
    this.#wakeWaiters();
  }

  #dataLoss(range: LostRange): void {
    this.#lost = [...this.#lost, range].slice(-MAX_LOST);
    signals.dataLoss.publish({ ...this.setup.identity, group: this.setup.group, ...range });
  }

  #trouble(error: Error | undefined): void {
    if (error === this.#transportTrouble) return;
    this.#transportTrouble = error;
    signals.trouble.publish({ ...this.setup.identity, group: this.setup.group, error });
  }

  #announce(what: 'assigned' | 'revoked', partitions: readonly TopicPartition[]): void {
    for (const [topic, places] of groupBy(partitions, (place) => place.topic)) {
      signals[what].publish({
        ...this.setup.identity,
        group: this.setup.group,
        topic,
        partitions: places.map((place) => place.partition),
      });
    }
  }
}

// With a stuck key, this many records may be finished behind it before reading stops.
const MAX_AHEAD = 10_000;
const LOW_WATER = 0.75;
// Reading records may take so long at a stretch, and then as long as one of them takes.
const TURN_MS = 20;
// With their growing pauses about a second and a half.
const LAST_COMMITS = 6;
const LAST_COMMIT_PAUSE_MS = 50;
const MAX_LOST = 100;
const INSIST_FIRST_MS = 100;
const INSIST_MAX_MS = 10_000;

function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(keyOf(item));
    if (group === undefined) groups.set(keyOf(item), [item]);
    else group.push(item);
  }
  return groups;
}

const placeOf = ({ topic, partition }: TopicPartition) => `${topic}\n${partition}`;

// What a record in hand costs besides its bytes, about.
const RECORD_OVERHEAD = 500;
