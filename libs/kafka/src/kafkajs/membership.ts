/**
 * One life of a kafkajs consumer: from connecting until it leaves, or breaks. It hands batches over and returns, so that kafkajs fetches
 * on; handlers run elsewhere. Its partitions belong to a generation:
 *
 *     joining ─GROUP_JOIN→ active ─(rebalance, stop)→ leaving ─(drained, or out of time)→ over ─→ joining
 *                             └────────────(fenced, crash)─────────────────────────────↗
 *
 * While a generation is active, batches are taken. While it is being left, commits still are: kafkajs is held at the one point that every
 * join passes, so that the group waits for us. Afterwards nothing of it counts, and the broker checks again.
 */
import { BusError, systemClock, type TopicPartition } from '@event-bus/core';
import { delay, placeOf } from '@event-bus/core/internal';
import type { Batch, Consumer, EachBatchPayload, Kafka } from 'kafkajs';
import type { CommitPosition, KafkaConsumerHandlers, KafkaConsumerOptions } from './client.js';
import { busErrorOf, isFenced, isUnknownTopic, protocolType } from './failure.js';
import type { GroupPositions } from './group-positions.js';
import { hookedAssigner, type Member } from './hooked-cluster.js';
import { afterDoubt, verdictOn, type LogRange } from './positions.js';
import { recordOf, type Message } from './records.js';
import {
  CONSUMER_CONFIG,
  DISCONNECT_TIMEOUT_MS,
  HEARTBEAT_INTERVAL_MS,
  PARTITIONS_AT_ONCE,
  REBALANCE_TIMEOUT_MS,
  SESSION_TIMEOUT_MS,
} from './settings.js';

export interface MembershipParts {
  /** A new object, for this life alone. */
  readonly kafka: Kafka;
  /** Over all lives; not on this consumer's own connections. */
  readonly positions: GroupPositions;
  readonly options: KafkaConsumerOptions;
  readonly handlers: KafkaConsumerHandlers;
  /** Numbers rise over all lives. */
  readonly nextGeneration: () => number;
}

interface Generation {
  readonly number: number;
  readonly member: Member;
  state: 'active' | 'leaving' | 'over';
  readonly partitions: Map<string, Progress>;
  /** Resolves once it is over. */
  readonly gone: AbortController;
  left?: Promise<void>;
  /** `onAssigned` was called: so will `onLeaving` be. */
  isAnnounced: boolean;
}

interface Progress extends TopicPartition {
  /** Where the next batch begins; unknown until it was looked up. */
  position: bigint | undefined;
  /** The receiver's answer to the last batch, while it is open. */
  busy: Promise<void> | undefined;
  /** To be committed because nobody else will: a position that was moved. */
  moved: bigint | undefined;
  /** kafkajs leaves it out of its fetches. */
  isPaused: boolean;
}

export class Membership {
  readonly #parts: MembershipParts;
  readonly #consumer: Consumer;
  readonly #ended: Promise<BusError | undefined>;
  readonly #wakers = new Set<() => void>();
  #end!: (error: BusError | undefined) => void;
  #isEnded = false;
  #firstJoin: Promise<void> | undefined;
  #generation: Generation | undefined;
  /** The end of the last generation, while whoever handles records is told of it. */
  #left: Promise<void> | undefined;
  /** The broker has thrown us out, and kafkajs does not know. */
  #isLost = false;
  /** What kafkajs gave with the last batch. It works on the consumer, whatever its generation is. */
  #heartbeat: (() => Promise<void>) | undefined;
  /** As of the last join. */
  #member: Member | undefined;
  #renewedAt = -Infinity;
  #cancelTimer = () => {};
  #movedAt = systemClock.monotonic();
  #waiting = 0;
  #hasFetched = false;
  #isStopping = false;
  #isBeating = false;
  /** Nobody answers, and this was said. */
  #isSilent = false;
  /** Why a partition waits, as long as this generation lasts. */
  #blocked: BusError | undefined;
  /** A broker does not know a topic of ours: until it is clear why, positions are neither believed nor committed. */
  #isInDoubt = false;

  constructor(parts: MembershipParts) {
    this.#parts = parts;
    this.#ended = new Promise((resolve) => (this.#end = resolve));
    this.#consumer = parts.kafka.consumer({
      ...CONSUMER_CONFIG,
      groupId: parts.options.group,
      rebalanceTimeout: this.#rebalanceTimeoutMs,
      partitionAssigners: [
        hookedAssigner(parts.options.group, {
          beforeJoin: () => this.#beforeJoin(),
          joined: (member) => void (this.#member = member),
          renewed: (atMs) => void (this.#renewedAt = atMs),
          joinFailed: (error) => this.#break(this.#failure(error)),
          unknownTopic: () => void this.#askForTopics(),
          outOfRange: (place) => this.#outOfRange(place),
        }),
      ],
    });
    this.#listen();
  }

  /** Connects and begins to run. Rejects when it cannot; then this life is over. */
  async start(): Promise<void> {
    const { positions, options } = this.#parts;
    const { topics, group } = options;
    try {
      await this.#consumer.connect();
      // kafkajs would break on the coordinator's refusal instead of asking again.
      await positions.ready();
      // Else an offset out of range would jump to the end. Where reading begins is decided here, not there.
      await this.#consumer.subscribe({ topics: [...topics], fromBeginning: true });
    } catch (error) {
      const failure = busErrorOf(
        error,
        `Subscribing group "${group}" to ${topics.map((topic) => `"${topic}"`).join(', ')}`,
      );
      this.#finish(failure);
      await this.#disconnect();
      throw failure;
    }
    // Stopped while it connected.
    if (this.#isEnded) return;
    this.#firstJoin = this.#consumer
      .run({
        autoCommit: false,
        // With true, kafkajs resolves after our wait, perhaps in another generation, and passes over records.
        eachBatchAutoResolve: false,
        partitionsConsumedConcurrently: PARTITIONS_AT_ONCE,
        eachBatch: (payload) => this.#eachBatch(payload),
      })
      .catch((error: unknown) => this.#finish(this.#failure(error)));
    this.#tick();
  }

  /** The coordinator removes a member that takes longer to rejoin. */
  get #rebalanceTimeoutMs(): number {
    const drainMs = this.#parts.options.revokeTimeoutMs + REBALANCE_MARGIN_MS;
    return Math.min(Math.max(REBALANCE_TIMEOUT_MS, drainMs), INT32_MAX);
  }

  /** The error that ended this life; `undefined` after `stop`. */
  get ended(): Promise<BusError | undefined> {
    return this.#ended;
  }

  /** Under which name the broker knows this member, once it joined. */
  get memberId(): string | undefined {
    return this.#member?.memberId;
  }

  get state(): 'joining' | 'running' | 'rebalancing' {
    if (this.#generation?.state === 'active') return 'running';
    return this.#hasFetched ? 'rebalancing' : 'joining';
  }

  get partitions(): TopicPartition[] {
    const known = this.#generation?.state === 'active' ? [...this.#generation.partitions.values()] : [];
    return known.filter(({ position }) => position !== undefined).map(({ topic, partition }) => ({ topic, partition }));
  }

  /** Milliseconds since the fetch loop moved; 0 while it waits for whoever handles records. */
  get idleMs(): number {
    return this.#waiting > 0 ? 0 : systemClock.monotonic() - this.#movedAt;
  }

  holds(): boolean {
    return systemClock.monotonic() - this.#renewedAt < SESSION_TIMEOUT_MS;
  }

  async commit(number: number, positions: readonly CommitPosition[]): Promise<'ok' | 'fenced' | 'later'> {
    const generation = this.#generation;
    if (!generation || generation.number !== number || generation.state === 'over') return 'fenced';
    const ours = positions.filter((position) => generation.partitions.has(placeOf(position)));
    if (ours.length === 0) return 'ok';
    if (this.#isInDoubt) return 'later';
    // These are newer than any position that was moved.
    for (const position of ours) generation.partitions.get(placeOf(position))!.moved = undefined;
    try {
      await this.#commitFor(generation, ours);
      return 'ok';
    } catch (error) {
      if (isUnknownTopic(error)) void this.#askForTopics();
      if (!isFenced(error) && protocolType(error) !== 'REBALANCE_IN_PROGRESS') return 'later';
      this.#lose(generation);
      return 'fenced';
    }
  }

  async #commitFor({ member }: Generation, positions: readonly CommitPosition[]): Promise<void> {
    await member.commit(positions);
    this.#parts.positions.note(positions.map((one) => ({ ...one, position: BigInt(one.position) })));
  }

  /** Drains while beating, then leaves the group. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    if (this.#generation) await this.#leave(this.#generation);
    this.#finish(undefined);
    // A member that goes while it joins for the first time is not signed off, and holds its group up until its session ends.
    await Promise.race([this.#firstJoin, delay(systemClock, DISCONNECT_TIMEOUT_MS)]);
    await this.#disconnect();
  }

  // ---- the life as a whole

  #listen(): void {
    const { events } = this.#consumer;
    this.#consumer.on(events.GROUP_JOIN, ({ payload }) => this.#joined(payload.memberAssignment));
    this.#consumer.on(events.FETCH, () => this.#fetched());
    this.#consumer.on(events.END_BATCH_PROCESS, ({ payload }) => this.#passed(payload));
    this.#consumer.on(events.CRASH, ({ payload }) => this.#finish(this.#failure(payload.error)));
  }

  #failure(error: unknown): BusError {
    return busErrorOf(error, `Consuming as group "${this.#parts.options.group}"`);
  }

  #finish(error: BusError | undefined): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#cancelTimer();
    if (this.#generation) this.#lose(this.#generation);
    this.#heartbeat = undefined;
    this.#changed();
    void Promise.resolve(this.#left).then(() => this.#end(error));
  }

  /** Ends this life although kafkajs would go on. */
  #break(error: BusError): void {
    this.#finish(error);
    void this.#disconnect();
  }

  /** kafkajs waits for the join that is going on, which may take as long as the slowest member. */
  async #disconnect(): Promise<void> {
    await Promise.race([this.#consumer.disconnect().catch(() => {}), delay(systemClock, DISCONNECT_TIMEOUT_MS)]);
  }

  /** Wakes whoever waits: for room, a position, another generation, the end. */
  #changed(): void {
    for (const wake of this.#wakers) wake();
  }

  #change(withinMs: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        cancel();
        this.#wakers.delete(wake);
        resolve();
      };
      const cancel = systemClock.timer(withinMs, wake);
      this.#wakers.add(wake);
    });
  }

  // ---- joining and leaving

  async #beforeJoin(): Promise<void> {
    this.#isLost = false;
    await (this.#generation ? this.#leave(this.#generation) : this.#left);
    await this.#parts.positions.noteBegun();
  }

  #joined(assignment: Readonly<Record<string, readonly number[]>>): void {
    if (this.#isEnded || this.#isStopping) return;
    if (this.#generation) this.#lose(this.#generation);
    this.#isLost = false;
    const partitions = Object.entries(assignment).flatMap(([topic, numbers]) =>
      numbers.map((partition) => ({ topic, partition })),
    );
    const generation: Generation = {
      number: this.#parts.nextGeneration(),
      member: this.#member!,
      state: 'active',
      partitions: new Map(
        partitions.map((place) => [
          placeOf(place),
          { ...place, position: undefined, busy: undefined, moved: undefined, isPaused: false },
        ]),
      ),
      gone: new AbortController(),
      isAnnounced: false,
    };
    this.#generation = generation;
    this.#movedAt = systemClock.monotonic();
    this.#changed();
    void this.#begin(generation);
  }

  /** Once per generation: batches are refused, then whoever handles records finishes what runs, and commits. */
  #leave(generation: Generation): Promise<void> {
    return (this.#left = generation.left ??= this.#drain(generation));
  }

  async #drain(generation: Generation): Promise<void> {
    generation.state = 'leaving';
    this.#changed();
    void this.#commitMoved(generation);
    await this.#waited(this.#handedBack(generation));
    this.#over(generation);
  }

  /** The partitions are somebody else's already: nothing is waited for. */
  #lose(generation: Generation): void {
    generation.gone.abort(new BusError('BUS_INTERRUPTED', 'The partition was taken away.'));
    this.#left = generation.left ??= this.#handedBack(generation);
    this.#isLost = true;
    this.#over(generation);
  }

  #over(generation: Generation): void {
    generation.state = 'over';
    for (const progress of generation.partitions.values()) this.#resume(progress);
    this.#blocked = undefined;
    if (this.#generation === generation) this.#generation = undefined;
    this.#changed();
  }

  async #handedBack(generation: Generation): Promise<void> {
    if (!generation.isAnnounced) return;
    const { gone } = generation;
    const cancel = systemClock.timer(this.#parts.options.revokeTimeoutMs, () =>
      gone.abort(new BusError('BUS_INTERRUPTED', 'The time to give the partition back is over.')),
    );
    const grace = new Promise<void>((resolve) => {
      const late = () => void systemClock.timer(GRACE_MS, resolve);
      if (gone.signal.aborted) late();
      else gone.signal.addEventListener('abort', late, { once: true });
    });
    try {
      await Promise.race([this.#parts.handlers.onLeaving(generation.number, gone.signal), grace]);
    } catch {
      // Its own affair; the partitions leave all the same.
    } finally {
      cancel();
    }
  }

  // ---- positions

  /** Looks up where each partition begins; those that cannot be known yet are asked for again. */
  async #begin(generation: Generation): Promise<void> {
    while (generation.state === 'active') {
      const unknown = [...generation.partitions.values()].filter(({ position }) => position === undefined);
      if (unknown.length === 0) return;
      try {
        await this.#beginAt(generation, unknown);
      } catch (error) {
        this.#parts.handlers.onTrouble(
          busErrorOf(error, `Reading the positions of group "${this.#parts.options.group}"`),
        );
      }
      if (unknown.some(({ position }) => position === undefined)) await delay(systemClock, LOOKUP_PAUSE_MS);
    }
  }

  async #beginAt(generation: Generation, unknown: readonly Progress[]): Promise<void> {
    const { positions, handlers } = this.#parts;
    const { found, committed, failures } = await positions.beginnings(unknown);
    if (generation.state !== 'active') return;
    for (const { place, position, isMoved } of found)
      this.#moveTo(generation.partitions.get(placeOf(place))!, position, isMoved);
    if (found.length > 0) {
      generation.isAnnounced = true;
      handlers.onAssigned(
        generation.number,
        found.map(({ place, position, metadata }) => ({ ...place, position: position.toString(), metadata })),
      );
      for (const { lost } of found) if (lost) handlers.onLost(lost);
      for (const place of positions.note(committed)) handlers.onTrouble(this.#forgotten(place));
      this.#changed();
      void this.#commitMoved(generation);
    }
    if (failures.length > 0) throw failures[0];
  }

  #forgotten({ topic, partition }: TopicPartition): BusError {
    const text = `Kafka has forgotten the position of group "${this.#parts.options.group}" in partition ${partition} of topic "${topic}": the topic was made anew, or the group had no member for days. Reading begins at the start of the log.`;
    return new BusError('BUS_DATA_LOSS', text, { details: { topic, partition } });
  }

  /** A broker may be behind the others. A topic that is gone, or has lost the position of the group, was deleted: this life ends. */
  async #askForTopics(): Promise<void> {
    const generation = this.#generation;
    if (generation?.state !== 'active' || this.#isInDoubt) return;
    this.#isInDoubt = true;
    try {
      const topic = await this.#parts.positions.deletedTopic([...generation.partitions.values()]);
      if (topic === undefined || generation !== this.#generation || this.#isStopping) return;
      const text = `Topic "${topic}" was deleted while group "${this.#parts.options.group}" read it. Reading begins at its start once it is there again.`;
      this.#break(new BusError('BUS_TOPIC_MISSING', text, { details: { topic } }));
    } catch {
      // Asked again when the next fetch fails.
    } finally {
      this.#isInDoubt = false;
    }
  }

  async #outOfRange(place: TopicPartition): Promise<void> {
    const generation = this.#generation;
    const progress = generation?.partitions.get(placeOf(place));
    if (generation?.state !== 'active' || progress?.position === undefined) return;
    const log = await this.#parts.positions.logOf(place);
    if (generation.state === 'active') this.#settleDoubt(progress, log);
  }

  #moveTo(progress: Progress, position: bigint, isMoved: boolean): void {
    progress.position = position;
    if (isMoved) progress.moved = position;
    this.#seek(progress);
    this.#resume(progress);
  }

  #seek({ topic, partition, position }: Progress): void {
    try {
      this.#consumer.seek({ topic, partition, offset: position!.toString() });
    } catch {
      // It is not running any more; the next life begins anew.
    }
  }

  // ---- batches

  /** Lets nothing out but what a heartbeat throws: that makes kafkajs rejoin, while any other error would stop all partitions. */
  async #eachBatch(payload: EachBatchPayload): Promise<void> {
    const { batch, heartbeat, resolveOffset } = payload;
    this.#heartbeat = heartbeat;
    const generation = this.#generation;
    if (generation?.state !== 'active') return this.#nextGeneration(heartbeat);
    const progress = generation.partitions.get(placeOf(batch));
    if (!progress) return; // of an older generation, and no longer ours
    const isFresh = progress.position === undefined;
    const isReady = () => progress.position !== undefined && !progress.busy;
    await this.#until(isReady, generation, heartbeat, PATIENCE_MS);
    if (generation.state !== 'active') return;
    // kafkajs fetches again from a broker when all batches of its last answer have returned: the others must not wait longer for this one.
    if (!isReady()) return this.#pause(progress);
    // What was fetched before the position was known came from kafkajs's own idea of it.
    if (isFresh) return;
    const fetched = BigInt((batch as Batch & { readonly fetchedOffset: string }).fetchedOffset);
    const next = BigInt(batch.lastOffset()) + 1n;
    const verdict = verdictOn(progress.position!, fetched, next, BigInt(batch.highWatermark));
    if (verdict.kind === 'old') return this.#seek(progress);
    if (verdict.kind === 'doubt') return this.#resolveDoubt(generation, progress, heartbeat);
    const messages = batch.messages as unknown as readonly Message[];
    if (messages[0]?.missing) return this.#block(progress, messages[0].missing);
    this.#handOver(generation, progress, messages, next);
    resolveOffset(batch.lastOffset());
  }

  /** Only this partition waits for the setting; the others are read on. */
  #block(progress: Progress, { code, message }: BusError): void {
    const { topic, partition, position } = progress;
    this.#pause(progress);
    const text = `Partition ${partition} of topic "${topic}" waits at offset ${position}. ${message}`;
    this.#blocked = new BusError(code, text, { details: { topic, partition } });
    this.#parts.handlers.onTrouble(this.#blocked);
  }

  /** What was fetched and not handed over is fetched again, after `#resume`. */
  #pause(progress: Progress): void {
    const { topic, partition } = progress;
    progress.isPaused = true;
    this.#consumer.pause([{ topic, partitions: [partition] }]);
  }

  /** What is paused stays so over generations. */
  #resume(progress: Progress): void {
    if (!progress.isPaused) return;
    const { topic, partition } = progress;
    progress.isPaused = false;
    try {
      this.#consumer.resume([{ topic, partitions: [partition] }]);
    } catch {
      // It is not running any more.
    }
  }

  /**
   * Waits for another generation, or the end. While we leave, our timer keeps the membership; when the broker has thrown us out, only the
   * error of a heartbeat tells kafkajs so.
   */
  #nextGeneration(heartbeat: () => Promise<void>): Promise<void> {
    const isOpen = () => !this.#isEnded && this.#generation?.state !== 'active';
    return this.#while(isOpen, async () => {
      if (this.#isLost) await heartbeat();
    });
  }

  /** Waits, at most about so long. Meanwhile nothing more is fetched. */
  #until(
    isReady: () => boolean,
    generation: Generation,
    heartbeat: () => Promise<void>,
    withinMs = Infinity,
  ): Promise<void> {
    const end = systemClock.monotonic() + withinMs;
    const isOpen = () => !isReady() && generation.state === 'active' && systemClock.monotonic() < end;
    return this.#waited(this.#while(isOpen, heartbeat));
  }

  /** Looks at every change, and beats about once a second. */
  async #while(isOpen: () => boolean, beat: () => Promise<void>): Promise<void> {
    while (isOpen()) {
      await this.#change(BEAT_PAUSE_MS);
      if (isOpen()) await beat();
    }
  }

  /** Whoever handles records takes its time: that is not standing still. */
  async #waited(work: Promise<void>): Promise<void> {
    this.#waiting++;
    try {
      await work;
    } finally {
      this.#waiting--;
      this.#movedAt = systemClock.monotonic();
    }
  }

  #handOver(generation: Generation, progress: Progress, messages: readonly Message[], next: bigint): void {
    const { topic, partition, position } = progress;
    const isKnown = (message: Message) => BigInt(message.offset) < position!;
    const fresh =
      messages.length > 0 && isKnown(messages[0]!) ? messages.filter((message) => !isKnown(message)) : messages;
    const records = fresh.map((message) => recordOf(topic, partition, message));
    progress.position = next;
    const answer = this.#parts.handlers.onBatch({
      topic,
      partition,
      generation: generation.number,
      records,
      next: next.toString(),
    });
    if (!answer) return;
    const busy: Promise<void> = answer
      .catch(() => {})
      .then(() => {
        if (progress.busy === busy) progress.busy = undefined;
        this.#resume(progress);
        this.#changed();
      });
    progress.busy = busy;
  }

  /** The batch does not join on. The log tells whether records are gone; either way it is read again from where it should have begun. */
  async #resolveDoubt(generation: Generation, progress: Progress, heartbeat: () => Promise<void>): Promise<void> {
    let log: LogRange | undefined;
    let isAnswered = false;
    void this.#parts.positions.logOf(progress).then((found) => {
      log = found;
      isAnswered = true;
      this.#changed();
    });
    await this.#until(() => isAnswered, generation, heartbeat);
    if (generation.state === 'active') this.#settleDoubt(progress, log);
  }

  #settleDoubt(progress: Progress, log: LogRange | undefined): void {
    if (!log) return this.#seek(progress);
    const after = afterDoubt(progress, progress.position!, log);
    this.#moveTo(progress, after.position, after.lost !== undefined);
    if (after.lost) this.#parts.handlers.onLost(after.lost);
  }

  /** kafkajs goes past batches without a record for us (transaction marks, what compaction left) without calling `eachBatch`. */
  #passed(payload: {
    readonly topic: string;
    readonly partition: number;
    readonly batchSize: number;
    readonly firstOffset: string | null;
    readonly lastOffset: string;
  }): void {
    const generation = this.#generation;
    const progress = generation?.partitions.get(placeOf(payload));
    if (payload.batchSize > 0 || generation?.state !== 'active' || progress?.position === undefined) return;
    const next = BigInt(payload.lastOffset) + 1n;
    if (next <= progress.position) return;
    const before = progress.position;
    const first = payload.firstOffset === null ? before : BigInt(payload.firstOffset);
    if (progress.busy) progress.position = next;
    else this.#handOver(generation, progress, [], next);
    // A hole before it may be what compaction left, or what retention took.
    if (first > before) void this.#reportExpired(progress, before, first);
  }

  async #reportExpired(progress: Progress, from: bigint, to: bigint): Promise<void> {
    const start = (await this.#parts.positions.logOf(progress))?.start;
    if (start === undefined || start <= from) return;
    const { lost } = afterDoubt(progress, from, { start: start < to ? start : to, end: to });
    if (lost) this.#parts.handlers.onLost(lost);
  }

  // ---- the timer: beats on while the fetch loop stands, and commits positions that were moved

  #tick(): void {
    this.#cancelTimer = systemClock.timer(HEARTBEAT_INTERVAL_MS, () => {
      this.#tick();
      void this.#beat();
      void this.#commitMoved();
      this.#watch();
    });
  }

  async #beat(): Promise<void> {
    const generation = this.#generation;
    if (!generation || !this.#heartbeat || this.#isBeating) return;
    this.#isBeating = true;
    try {
      await this.#heartbeat();
    } catch (error) {
      // A rebalance is no news here: the fetch loop hears of it too, and while we leave it is why we do.
      if (isFenced(error) && generation === this.#generation) this.#lose(generation);
    } finally {
      this.#isBeating = false;
    }
  }

  async #commitMoved(generation = this.#generation): Promise<void> {
    if (!generation || generation.state === 'over' || this.#isInDoubt) return;
    const moved = [...generation.partitions.values()].filter((progress) => progress.moved !== undefined);
    if (moved.length === 0) return;
    const positions = moved.map(({ topic, partition, moved }) => ({
      topic,
      partition,
      position: moved!.toString(),
      metadata: '',
    }));
    try {
      await this.#commitFor(generation, positions);
      moved.forEach((progress, i) => {
        if (progress.moved?.toString() === positions[i]!.position) progress.moved = undefined;
      });
    } catch {
      // Tried again at the next turn, as long as the generation lasts.
    }
  }

  #fetched(): void {
    this.#movedAt = systemClock.monotonic();
    this.#isSilent = false;
    this.#parts.handlers.onTrouble(this.#blocked);
    this.#hasFetched = true;
  }

  /** kafkajs tries for half a minute before it gives up, and may lose its own crash: alive means that the fetch loop moves. */
  #watch(): void {
    const { group, revokeTimeoutMs } = this.#parts.options;
    const isActive = this.#generation?.state === 'active';
    // Other members may drain as long as this one.
    const silenceMs = isActive ? SILENCE_MS : revokeTimeoutMs + REBALANCE_MARGIN_MS;
    const seconds = Math.round(this.idleMs / 1_000);
    if (this.idleMs > this.#rebalanceTimeoutMs + STUCK_MS) {
      this.#break(
        new BusError('BUS_TRANSPORT_UNAVAILABLE', `The reading of group "${group}" stood still for ${seconds} s.`),
      );
    } else if (this.idleMs > silenceMs && !this.#isSilent) {
      this.#isSilent = true;
      const text = isActive
        ? `Group "${group}" got no answer from Kafka for ${seconds} s.`
        : `Group "${group}" has waited for its partitions for ${seconds} s: its coordinator does not answer, or another member is slow to give its own back.`;
      this.#parts.handlers.onTrouble(new BusError('BUS_TRANSPORT_UNAVAILABLE', text));
    }
  }
}

const BEAT_PAUSE_MS = 1_000;
const PATIENCE_MS = 1_000;
const GRACE_MS = 1_000;
const LOOKUP_PAUSE_MS = 500;
const SILENCE_MS = 15_000;
const REBALANCE_MARGIN_MS = 5_000;
const INT32_MAX = 2 ** 31 - 1;
const STUCK_MS = 60_000;
