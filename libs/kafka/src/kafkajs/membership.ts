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
import { delay } from '@event-bus/core/internal';
import type { Batch, Consumer, EachBatchPayload, Kafka, PartitionAssigner } from 'kafkajs';
import { commitTopics, persistent } from './admin.js';
import { subscribedRoundRobin } from './assigner.js';
import type { CommitPosition, KafkaConsumerHandlers, KafkaConsumerOptions } from './client.js';
import { EARLIEST, LATEST, committedOf, listOffsets, topicOf, type Cluster, type Committed } from './cluster.js';
import { busErrorOf, isFenced, protocolType } from './failure.js';
import { afterDoubt, beginningOf, verdictOn, type Beginning, type LogRange } from './positions.js';
import { recordOf, type Message } from './records.js';
import {
  CONSUMER_CONFIG,
  HEARTBEAT_INTERVAL_MS,
  MAX_WAIT_MS,
  PARTITIONS_AT_ONCE,
  REBALANCE_TIMEOUT_MS,
} from './settings.js';

export interface MembershipParts {
  /** A new object, for this life alone. */
  readonly kafka: Kafka;
  /** For looking up positions; not this consumer's own connections. */
  readonly cluster: Cluster;
  readonly options: KafkaConsumerOptions;
  readonly handlers: KafkaConsumerHandlers;
  /** Numbers rise over all lives. */
  readonly nextGeneration: () => number;
  /** Partitions in which the group has a position, as far as is known; over all lives. A group with members loses it only with the topic. */
  readonly committed: Set<string>;
  /** By topic, the last partition in which the group had a position when it was first seen to have any; over all lives. */
  readonly begun: Map<string, number>;
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

/** Under which names the coordinator knows a member in its generation. */
interface Member {
  readonly memberId: string;
  readonly groupGenerationId: number;
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
  #coordinator: (() => Promise<WatchedBroker>) | undefined;
  /** As of the last join. */
  #member: Member | undefined;
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
  readonly #watched = new WeakSet<WatchedBroker>();

  constructor(parts: MembershipParts) {
    this.#parts = parts;
    this.#ended = new Promise((resolve) => (this.#end = resolve));
    this.#consumer = parts.kafka.consumer({
      ...CONSUMER_CONFIG,
      groupId: parts.options.group,
      rebalanceTimeout: this.#rebalanceTimeoutMs,
      partitionAssigners: [this.#assigner()],
    });
    this.#listen();
  }

  /** Connects and begins to run. Rejects when it cannot; then this life is over. */
  async start(): Promise<void> {
    const { cluster, options } = this.#parts;
    const { topics, group } = options;
    try {
      await this.#consumer.connect();
      // A broker that is still loading the group refuses its members, and kafkajs would break on that instead of asking again.
      await persistent(cluster, `Finding group "${group}"`, () => committedOf(cluster, group, new Map()));
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

  async commit(number: number, positions: readonly CommitPosition[]): Promise<'ok' | 'fenced' | 'later'> {
    const generation = this.#generation;
    if (!generation || generation.number !== number || generation.state === 'over') return 'fenced';
    const ours = positions.filter((position) => generation.partitions.has(keyOf(position)));
    if (ours.length === 0) return 'ok';
    if (this.#isInDoubt) return 'later';
    // These are newer than any position that was moved.
    for (const position of ours) generation.partitions.get(keyOf(position))!.moved = undefined;
    try {
      await this.#commitAs(generation.member, ours);
      return 'ok';
    } catch (error) {
      if (isUnknownTopic(error)) void this.#askForTopics();
      if (!isFenced(error) && protocolType(error) !== 'REBALANCE_IN_PROGRESS') return 'later';
      this.#lose(generation);
      return 'fenced';
    }
  }

  /** kafkajs's own function tries again, and by then commits under the next generation what the last one knew. */
  async #commitAs(member: Member, positions: readonly CommitPosition[]): Promise<void> {
    const { options, committed } = this.#parts;
    const coordinator = await this.#coordinator!();
    await coordinator.offsetCommit({ groupId: options.group, ...member, topics: commitTopics(positions) });
    for (const position of positions) committed.add(keyOf(position));
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

  /** kafkajs has no awaited revoke. It has one point that every join passes: the group asks the cluster for its coordinator. */
  #assigner(): PartitionAssigner {
    return ({ cluster, ...rest }) => {
      const find = cluster.findGroupCoordinator.bind(cluster);
      cluster.findGroupCoordinator = async (group) => {
        await this.#beforeJoin();
        const coordinator = await this.#joining(async () => {
          await this.#noteBegun();
          return find(group);
        });
        // It may have to be connected again.
        this.#coordinator = () => cluster.findBroker(coordinator as never) as never;
        return coordinator;
      };
      // What has crashed says so only after disconnecting, and waits there for answers that a broker which is away never gives.
      const disconnect = cluster.disconnect.bind(cluster);
      cluster.disconnect = () => Promise.race([disconnect(), delay(systemClock, DISCONNECT_TIMEOUT_MS)]);
      const findBroker = cluster.findBroker.bind(cluster);
      cluster.findBroker = async (node) => this.#watching(await findBroker(node));
      return subscribedRoundRobin({ cluster, ...rest });
    };
  }

  async #beforeJoin(): Promise<void> {
    this.#isLost = false;
    await (this.#generation ? this.#leave(this.#generation) : this.#left);
  }

  /**
   * A partition that is added later has no position, but nothing in it is old. It is told from those of a new group before a join: once a
   * group that is new has its partitions, some members commit where they begin before others have looked.
   */
  async #noteBegun(): Promise<void> {
    const { cluster, options, begun } = this.#parts;
    const topics = options.from === 'latest' ? options.topics.filter((topic) => !begun.has(topic)) : [];
    if (topics.length === 0) return;
    const positions = await persistent(cluster, `Reading the positions of group "${options.group}"`, async () => {
      const partitions = new Map<string, number[]>();
      for (const topic of topics)
        partitions.set(
          topic,
          (await topicOf(cluster, topic)).partitionMetadata.map(({ partitionId }) => partitionId),
        );
      return committedOf(cluster, options.group, partitions);
    });
    for (const { topic, partition, position } of positions)
      if (position >= 0n) begun.set(topic, Math.max(partition, begun.get(topic) ?? partition));
  }

  /**
   * kafkajs breaks when its first join fails. When a later one does, it fetches on without a generation, or waits for batches that wait
   * for one: either way nobody would join any more. What a coordinator says of generations and members kafkajs answers with another join.
   */
  async #joining<T>(step: () => Promise<T>): Promise<T> {
    try {
      return await step();
    } catch (error) {
      if (!isFenced(error) && !isAnotherJoin(error)) this.#break(this.#failure(error));
      throw error;
    }
  }

  // ---- what a broker answers

  /**
   * kafkajs makes a batch, with some fifty promises, of each partition in an answer, also of those without a record. And it repeats a
   * fetch until a deleted topic is there again, and goes on at the old position: in a new topic of that name, past its first records.
   */
  #watching<B>(found: B): B {
    const broker = found as WatchedBroker;
    if (this.#watched.has(broker)) return found;
    this.#watched.add(broker);
    const joinGroup = broker.joinGroup.bind(broker);
    broker.joinGroup = async (request) => {
      const joined = await this.#joining(() => joinGroup(request));
      this.#member = { memberId: joined.memberId, groupGenerationId: joined.generationId };
      return joined;
    };
    const syncGroup = broker.syncGroup.bind(broker);
    broker.syncGroup = (request) => this.#joining(() => syncGroup(request));
    const fetch = broker.fetch.bind(broker);
    broker.fetch = async (request) => {
      try {
        const answer = await fetch(request);
        for (const topic of answer.responses) topic.partitions = topic.partitions.filter(isNews);
        return answer;
      } catch (error) {
        if (isUnknownTopic(error)) void this.#askForTopics();
        if (isOutOfRange(error)) return this.#outOfRange(error);
        throw error;
      }
    };
    return found;
  }

  /** kafkajs would commit a position of its own, and jump there: until a next record comes, nobody would hear of those that are gone. */
  async #outOfRange({ topic, partition }: TopicPartition): Promise<FetchAnswer> {
    await delay(systemClock, MAX_WAIT_MS);
    const generation = this.#generation;
    const progress = generation?.partitions.get(keyOf({ topic, partition }));
    if (generation?.state === 'active' && progress?.position !== undefined) {
      const log = await this.#logOf(progress);
      if (generation.state === 'active') this.#settleDoubt(progress, log);
    }
    return { responses: [] };
  }

  /** A broker may be behind the others. A topic that is gone, or has lost the position of the group, was deleted: this life ends. */
  async #askForTopics(): Promise<void> {
    const generation = this.#generation;
    if (generation?.state !== 'active' || this.#isInDoubt) return;
    this.#isInDoubt = true;
    try {
      const topic = await this.#deletedTopic([...generation.partitions.values()]);
      if (topic === undefined || generation !== this.#generation || this.#isStopping) return;
      const text = `Topic "${topic}" was deleted while group "${this.#parts.options.group}" read it. Reading begins at its start once it is there again.`;
      this.#break(new BusError('BUS_TOPIC_MISSING', text, { details: { topic } }));
    } catch {
      // Asked again when the next fetch fails.
    } finally {
      this.#isInDoubt = false;
    }
  }

  async #deletedTopic(partitions: readonly TopicPartition[]): Promise<string | undefined> {
    const { cluster, options, committed } = this.#parts;
    await cluster.connect();
    const byTopic = partitionsByTopic(partitions);
    const positions = await committedOf(cluster, options.group, byTopic);
    const forgotten = positions.find((entry) => entry.position < 0n && committed.has(keyOf(entry)));
    if (forgotten) return forgotten.topic;
    for (const topic of byTopic.keys()) {
      try {
        await topicOf(cluster, topic);
      } catch (error) {
        if (isUnknownTopic(error)) return topic;
        throw error;
      }
    }
    return undefined;
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
          keyOf(place),
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

  /** What is found of some topics counts, also when another one cannot be looked up now. */
  async #beginAt(generation: Generation, unknown: readonly Progress[]): Promise<void> {
    const { cluster, options, handlers } = this.#parts;
    const byTopic = partitionsByTopic(unknown);
    await cluster.connect();
    const committed = await committedOf(cluster, options.group, byTopic);
    const lookups = await Promise.allSettled(
      Array.from(byTopic.keys(), (topic) =>
        this.#beginnings(
          topic,
          committed.filter((entry) => entry.topic === topic),
        ),
      ),
    );
    if (generation.state !== 'active') return;
    const found = lookups.flatMap((lookup) => (lookup.status === 'fulfilled' ? lookup.value : []));
    for (const { place, position, isMoved } of found)
      this.#moveTo(generation.partitions.get(keyOf(place))!, position, isMoved);
    if (found.length > 0) {
      generation.isAnnounced = true;
      handlers.onAssigned(
        generation.number,
        found.map(({ place, position, metadata }) => ({ ...place, position: position.toString(), metadata })),
      );
      for (const { lost } of found) if (lost) handlers.onLost(lost);
      this.#noteCommitted(committed);
      this.#changed();
      void this.#commitMoved(generation);
    }
    for (const lookup of lookups) if (lookup.status === 'rejected') throw lookup.reason;
  }

  #noteCommitted(positions: readonly Committed[]): void {
    const { committed, handlers, options } = this.#parts;
    for (const { topic, partition, position } of positions) {
      const key = keyOf({ topic, partition });
      if (position >= 0n) committed.add(key);
      else if (committed.delete(key)) {
        const text = `Kafka has forgotten the position of group "${options.group}" in partition ${partition} of topic "${topic}": the topic was made anew, or the group had no member for days. Reading begins at the start of the log.`;
        handlers.onTrouble(new BusError('BUS_DATA_LOSS', text, { details: { topic, partition } }));
      }
    }
  }

  /** Of those partitions of a topic whose leaders answer. */
  async #beginnings(
    topic: string,
    committed: readonly Committed[],
  ): Promise<(Beginning & { readonly place: TopicPartition })[]> {
    const { cluster, options } = this.#parts;
    const logs = await logRanges(
      cluster,
      topic,
      committed.map(({ partition }) => partition),
    );
    const withoutPosition = committed.filter(({ position }) => position < 0n).map(({ partition }) => partition);
    const first = await this.#firstPositions(topic, logs, withoutPosition);
    return committed.flatMap((entry) => {
      const place = { topic, partition: entry.partition };
      const log = logs.get(entry.partition);
      // Whoever begins at the end does so once: a topic that was made anew is read from its start.
      if (log && entry.position < 0n && this.#parts.committed.has(keyOf(place)))
        return [{ place, position: log.start, metadata: '', isMoved: true }];
      const start = entry.position < 0n ? first.get(entry.partition) : 0n;
      return log && start !== undefined ? [{ place, ...beginningOf(place, entry, log, start, options.from) }] : [];
    });
  }

  async #firstPositions(
    topic: string,
    logs: ReadonlyMap<number, LogRange>,
    partitions: readonly number[],
  ): Promise<Map<number, bigint | undefined>> {
    const { from } = this.#parts.options;
    if (from === 'earliest' || partitions.length === 0)
      return new Map(partitions.map((partition) => [partition, logs.get(partition)?.start]));
    const latest = await listOffsets(this.#parts.cluster, topic, partitions, LATEST);
    if (from === 'latest') {
      const isAdded = (partition: number) => partition > (this.#parts.begun.get(topic) ?? Infinity);
      return new Map(
        partitions.map((partition) => [
          partition,
          isAdded(partition) ? logs.get(partition)?.start : latest.get(partition),
        ]),
      );
    }
    const atTime = await listOffsets(this.#parts.cluster, topic, partitions, from.time);
    return new Map(
      partitions.map((partition) => [
        partition,
        atTime.get(partition) === -1n ? latest.get(partition) : atTime.get(partition),
      ]),
    );
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
    const progress = generation.partitions.get(keyOf(batch));
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
  async #nextGeneration(heartbeat: () => Promise<void>): Promise<void> {
    while (!this.#isEnded && this.#generation?.state !== 'active') {
      await this.#change(BEAT_PAUSE_MS);
      if (!this.#isEnded && this.#isLost) await heartbeat();
    }
  }

  /** Waits, at most about so long, and beats once a second. Meanwhile nothing more is fetched. */
  async #until(
    isReady: () => boolean,
    generation: Generation,
    heartbeat: () => Promise<void>,
    withinMs = Infinity,
  ): Promise<void> {
    const since = systemClock.monotonic();
    const turns = async () => {
      while (!isReady() && generation.state === 'active' && systemClock.monotonic() - since < withinMs) {
        await this.#change(BEAT_PAUSE_MS);
        if (!isReady() && generation.state === 'active') await heartbeat();
      }
    };
    await this.#waited(turns());
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
    void this.#logOf(progress).then((found) => {
      log = found;
      isAnswered = true;
      this.#changed();
    });
    await this.#until(() => isAnswered, generation, heartbeat);
    if (generation.state === 'active') this.#settleDoubt(progress, log);
  }

  /** `undefined` while nobody can tell. */
  async #logOf({ topic, partition }: TopicPartition): Promise<LogRange | undefined> {
    const logs = await logRanges(this.#parts.cluster, topic, [partition]).catch(() => undefined);
    return logs?.get(partition);
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
    const progress = generation?.partitions.get(keyOf(payload));
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
    const start = (await this.#logOf(progress))?.start;
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
      await this.#commitAs(generation.member, positions);
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

/** What of a broker is used here; not in the types of kafkajs. */
interface WatchedBroker {
  joinGroup(request: object): Promise<{ readonly memberId: string; readonly generationId: number }>;
  offsetCommit(request: object): Promise<unknown>;
  syncGroup(request: object): Promise<unknown>;
  fetch(request: object): Promise<FetchAnswer>;
}

interface FetchAnswer {
  readonly responses: readonly { partitions: readonly FetchedPartition[] }[];
}

interface FetchedPartition {
  readonly messages: readonly unknown[];
  /** -1: the leader will do. */
  readonly preferredReadReplica?: number;
}

const isNews = ({ messages, preferredReadReplica = -1 }: FetchedPartition) =>
  messages.length > 0 || preferredReadReplica !== -1;

const isAnotherJoin = (error: unknown) =>
  ['REBALANCE_IN_PROGRESS', 'NOT_COORDINATOR_FOR_GROUP'].includes(protocolType(error) ?? '');

/** kafkajs's error names the place. */
const isOutOfRange = (error: unknown): error is TopicPartition => protocolType(error) === 'OFFSET_OUT_OF_RANGE';

const isUnknownTopic = (error: unknown) => protocolType(error) === 'UNKNOWN_TOPIC_OR_PARTITION';

function partitionsByTopic(places: readonly TopicPartition[]): Map<string, number[]> {
  const byTopic = new Map<string, number[]>();
  for (const { topic, partition } of places) byTopic.set(topic, [...(byTopic.get(topic) ?? []), partition]);
  return byTopic;
}

async function logRanges(
  cluster: Cluster,
  topic: string,
  partitions: readonly number[],
): Promise<Map<number, LogRange>> {
  const [starts, ends] = await Promise.all(
    [EARLIEST, LATEST].map((at) => listOffsets(cluster, topic, partitions, at, { uncommitted: true })),
  );
  const ranges = new Map<number, LogRange>();
  for (const partition of partitions) {
    const start = starts!.get(partition);
    const end = ends!.get(partition);
    if (start !== undefined && end !== undefined) ranges.set(partition, { start, end });
  }
  return ranges;
}

const keyOf = ({ topic, partition }: { readonly topic: string; readonly partition: number }) => `${partition} ${topic}`;

const BEAT_PAUSE_MS = 1_000;
const PATIENCE_MS = 1_000;
const GRACE_MS = 1_000;
const LOOKUP_PAUSE_MS = 500;
const DISCONNECT_TIMEOUT_MS = 10_000;
const SILENCE_MS = 15_000;
const REBALANCE_MARGIN_MS = 5_000;
const INT32_MAX = 2 ** 31 - 1;
const STUCK_MS = 60_000;
