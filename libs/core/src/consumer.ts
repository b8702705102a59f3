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
import { placeOf } from './partition.js';
import { recordBytes } from './record-size.js';
import { backoffMs, reasonOf } from './retry.js';
import { Room, SHARE } from './room.js';
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
import { Waits, type Waiting } from './waits.js';

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
  /** Why the transport cannot read now. */
  readonly trouble: Error | undefined;
  /** What keeps some records from going on, and with each of them its key. */
  readonly waiting: readonly Waiting[];
}

export class Consumer {
  readonly topics: readonly string[];
  /** By topic, then by event type: the strings of both come again and again, and a joined one would be made for each record. */
  readonly #handlers: ReadonlyMap<string, ReadonlyMap<string, readonly Handler[]>>;
  readonly #lanes: Lanes;
  readonly #room: Room;
  readonly #codec: Codec;
  readonly #assignments = new Map<string, Assignment>();
  readonly #waits: Waits;
  #subscribing: Promise<Subscription> | undefined;
  #subscription: Subscription | undefined;
  /** What the data read last weigh. */
  #weight = 0;
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
    this.#waits = new Waits(setup);
    this.#room = new Room({ clock: setup.clock, limit: setup.maxInFlight });
    this.#lanes = new Lanes({
      ...setup,
      handlerIds: [...new Set(setup.handlers.map((handler) => handler.id))],
      holds: () => this.#subscription?.holds() ?? true,
      data: (assignment, delivery) => this.#dataOf(assignment, delivery),
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
      inFlight: this.#room.records,
      retrying: this.#lanes.retrying,
      pausedHandlers: switchedOff,
      brokenHandlers: broken,
      lost: this.#lost,
      trouble: this.#transportTrouble,
      waiting: this.#waits.list(),
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
    try {
      await this.#takeAll(assignment, records, entries);
      if (records.length === 0) this.#armCommit();
      while (assignment.state === 'held' && !this.#room.isFreeFor(assignment)) await this.#turnOf(assignment);
    } finally {
      this.#room.wake();
    }
  }

  async #takeAll(assignment: Assignment, records: readonly StoredRecord[], entries: readonly Tracked[]): Promise<void> {
    const { clock } = this.setup;
    let since = clock.monotonic();
    let share = SHARE;
    for (let i = 0; i < records.length; i++) {
      if (clock.monotonic() - since > TURN_MS) {
        this.#lanes.pump();
        await new Promise<void>((resolve) => clock.soon(resolve));
        since = clock.monotonic();
      }
      while (!this.#mayTake(assignment, share)) {
        await this.#turnOf(assignment);
        share = SHARE;
        since = clock.monotonic();
      }
      if (assignment.state !== 'held') return;
      this.#take(assignment, records[i]!, entries[i]!);
      share--;
    }
    this.#lanes.pump();
  }

  #mayTake(assignment: Assignment, share: number): boolean {
    if (assignment.state !== 'held') return true;
    return this.#room.isFreeFor(assignment) && (share > 0 || !this.#room.isWanted);
  }

  #turnOf(assignment: Assignment): Promise<void> {
    this.#lanes.pump();
    return this.#room.turn(assignment);
  }

  // decoded and matched

  #take(assignment: Assignment, record: StoredRecord, entry: Tracked): void {
    const eventType = this.#codec.eventType(record);
    const handlers = eventType === undefined ? [] : this.#handlers.get(record.topic)?.get(eventType);
    const work: Work = { entry, bytes: RECORD_OVERHEAD + recordBytes(record), unsettled: handlers?.length || 1 };
    this.#room.take(assignment, work);
    if (handlers === undefined) return this.#unwanted(assignment, record, work, eventType);
    try {
      const received = this.#codec.metadata(record);
      if (handlers.length === 0)
        throw new BusError('BUS_DECODE_FAILED', 'The record does not name its event type.', {
          details: { reason: 'no-type' },
        });
      this.#match(assignment, record, work, handlers, received);
    } catch (error) {
      void this.#unreadable(assignment, record, work, error);
    }
  }

  /** Puts the record in line at each of its handlers, also while its schema is fetched: only its key waits for that. */
  #match(
    assignment: Assignment,
    record: StoredRecord,
    work: Work,
    handlers: readonly Handler[],
    received: RecordMetadata,
  ): void {
    this.#weight = 0;
    const data = this.#read(assignment, handlers[0]!, record);
    if (this.#weight > 0) this.#room.grow(assignment, work, this.#weight);
    if (data instanceof Promise) return this.#matchLater(assignment, record, work, handlers, received, data);
    for (let i = 0; i < handlers.length; i++) {
      const fresh = i === 0 ? { fresh: data } : undefined;
      this.#lanes.add(assignment, work, new Delivery(record, received, handlers[i]!, fresh));
    }
  }

  #matchLater(
    assignment: Assignment,
    record: StoredRecord,
    work: Work,
    handlers: readonly Handler[],
    received: RecordMetadata,
    reading: Promise<unknown>,
  ): void {
    const deliveries = handlers.map((handler) => new Delivery(record, received, handler, undefined));
    for (const delivery of deliveries) {
      delivery.isWaiting = true;
      this.#lanes.add(assignment, work, delivery);
    }
    reading.then(
      (data) => {
        deliveries[0]!.data = { fresh: data };
        if (assignment.state === 'held') this.#lanes.read(assignment, deliveries);
      },
      (error: unknown) => {
        if (assignment.state !== 'held') return;
        this.#lanes.remove(assignment, deliveries);
        void this.#unreadable(assignment, record, work, error);
      },
    );
  }

  /**
   * The data of a record; a promise of it where the registry has to be asked, which is insisted on: a registry that is down is a pause, not
   * a dead letter. Throws and rejects with what no asking can change.
   */
  #read(assignment: Assignment, { definition }: Handler, record: StoredRecord): unknown {
    const decode = () => this.#codec.decode(definition, record, this.#weigh);
    let first: Promise<unknown>;
    try {
      const data = decode();
      if (!(data instanceof Promise)) return data;
      first = data;
    } catch (error) {
      if (!isBusError(error, 'BUS_REGISTRY_UNAVAILABLE')) throw error;
      first = Promise.reject(error);
    }
    return this.#waits.insist(assignment, 'registry', undefined, async (tries) => (tries === 1 ? first : decode()));
  }

  readonly #weigh = (bytes: number): void => {
    this.#weight += bytes;
  };

  /** For the first attempt of the first handler what was read already; else afresh: what a handler may have changed is never handed out twice. */
  #dataOf(assignment: Assignment, delivery: Delivery): unknown {
    const first = delivery.data;
    delivery.data = undefined;
    return first === undefined ? this.#read(assignment, delivery.handler, delivery.record) : first.fresh;
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
    this.#room.giveBack(assignment, work);
    this.#armCommit();
  }

  /** The position moves past a dead letter only once it is stored. Until then its key waits, and only its key. */
  async #bury(assignment: Assignment, letter: DeadLetter): Promise<boolean> {
    const topic = deadLetterTopic(letter.record.topic, this.setup.group);
    const record = deadLetterRecord(letter);
    try {
      await this.#waits.insist(assignment, 'dead-letter', letter.handler, async () => {
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
    this.#room.wake();
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
      await delay(this.setup.clock, backoffMs(tries, LAST_COMMIT_PAUSE_MS, LAST_COMMIT_MAX_MS), gone).catch(() => {});
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
      this.#room.forget(assignment);
      const place = placeOf(assignment);
      if (this.#assignments.get(place) === assignment) this.#assignments.delete(place);
    }
    const dropped = new Set(assignments);
    this.#lanes.leave(dropped);
    this.#lanes.interrupt(dropped);
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

// Reading records may take so long at a stretch, and then as long as one of them takes.
const TURN_MS = 20;
// With their growing pauses about a second and a half.
const LAST_COMMITS = 6;
const LAST_COMMIT_PAUSE_MS = 50;
const LAST_COMMIT_MAX_MS = 10_000;
const MAX_LOST = 100;

function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(keyOf(item));
    if (group === undefined) groups.set(keyOf(item), [item]);
    else group.push(item);
  }
  return groups;
}

// What a record in hand costs besides its bytes, about.
const RECORD_OVERHEAD = 500;
