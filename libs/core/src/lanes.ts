/**
 * All lanes of a consumer: which may run, how many at once, and what an attempt's outcome does to its lane. Knows no transport.
 *
 *   add ─▶ ready ─▶ running ─┬─ handled, skipped ────────────▶ settled
 *            ▲               ├─ failed ─▶ retrying ─┐  └─▶ burying ─▶ settled once the dead letter is stored
 *            └───────────────┼──────────────────────┘
 *            └──── gate ◀────┘ held, while the handler is switched off or broken
 */
import type { Assignment, Work } from './assignment.js';
import type { Clock, Random } from './clock.js';
import type { DeadLetter } from './dead-letter.js';
import { Attempt, type Around, type AttemptOutcome, type Delivery } from './delivery.js';
import { Feeds } from './feeds.js';
import { Gate } from './gate.js';
import { Lane } from './lane.js';
import { decide, reasonOf } from './retry.js';
import { signals, type BusIdentity } from './signals.js';

export interface LanesSetup {
  readonly identity: BusIdentity;
  readonly group: string;
  readonly handlerIds: readonly string[];
  readonly concurrency: number;
  readonly breakerAfter: number;
  readonly around: readonly Around[];
  readonly clock: Clock;
  readonly random: Random;
  /** Whether the partitions can still be ours. */
  readonly holds: () => boolean;
  /** The data of a delivery, for one attempt; a promise where it has to be waited for. */
  readonly data: (assignment: Assignment, delivery: Delivery) => unknown;
  /** Called once for each delivery that needs no more work, while its partition is ours. */
  readonly settled: (assignment: Assignment, work: Work) => void;
  /** Writes a dead letter; `false` when the partition left before it was stored. */
  readonly bury: (assignment: Assignment, letter: DeadLetter) => Promise<boolean>;
}

export class Lanes {
  readonly #gates: ReadonlyMap<string, Gate>;
  readonly #feeds: Feeds;
  /** In no order. */
  readonly #running: Lane[] = [];
  #retrying = 0;
  #isPumping = false;
  #isResting = false;
  #timeout: { readonly at: number; readonly cancel: () => void } | undefined;

  constructor(private readonly setup: LanesSetup) {
    this.#gates = new Map(setup.handlerIds.map((id) => [id, this.#gate(id)]));
    this.#feeds = new Feeds(this.#gates, setup.concurrency);
  }

  get retrying(): number {
    return this.#retrying;
  }

  /** Handlers that are switched off, and those whose breaker is open. */
  closedGates(): { readonly switchedOff: readonly string[]; readonly broken: readonly string[] } {
    const gates = [...this.#gates];
    return {
      switchedOff: gates.filter(([, gate]) => gate.isSwitchedOff).map(([id]) => id),
      broken: gates.filter(([, gate]) => gate.isBroken).map(([id]) => id),
    };
  }

  gate(handler: string): Gate | undefined {
    return this.#gates.get(handler);
  }

  /** Puts a delivery at the end of its key's lane. `pump` starts what may start. */
  add(assignment: Assignment, work: Work, delivery: Delivery): void {
    const id = laneId(delivery);
    let lane = assignment.lanes.get(id);
    if (lane === undefined) {
      const feed = this.#feeds.of(delivery.handler.id);
      lane = new Lane(id, assignment, feed);
      assignment.lanes.set(id, lane);
      feed.ready.push(lane);
    }
    lane.line.push({ delivery, work });
  }

  /** The data of these deliveries can be read now. */
  read(assignment: Assignment, deliveries: readonly Delivery[]): void {
    for (const delivery of deliveries) {
      delivery.isWaiting = false;
      this.#wake(assignment.lanes.get(laneId(delivery)));
    }
    this.pump();
  }

  /** Takes deliveries out that waited for a schema: their data can never be read. */
  remove(assignment: Assignment, deliveries: readonly Delivery[]): void {
    for (const delivery of deliveries) {
      const lane = assignment.lanes.get(laneId(delivery));
      lane?.line.remove((one) => one.delivery === delivery);
      if (lane?.line.size === 0) assignment.lanes.delete(lane.id);
      else this.#wake(lane);
    }
    this.pump();
  }

  /** Starts ready lanes up to the limit. Also called from within itself, by handlers that answer at once: the outer loop goes on. */
  pump(): void {
    if (this.#isPumping || this.#isResting) return;
    const { clock, holds } = this.setup;
    if (!holds()) return this.#rest((go) => clock.timer(LOOK_AGAIN_MS, go));
    this.#isPumping = true;
    const since = clock.monotonic();
    try {
      for (;;) {
        const now = clock.monotonic();
        // Others have their turn; and whoever stood still looks again whether he still holds what he has.
        if (now - since > TURN_MS) return this.#rest((go) => clock.soon(go));
        const lane = this.#feeds.next();
        if (lane === undefined) return;
        this.#offer(lane, now);
      }
    } finally {
      this.#isPumping = false;
    }
  }

  /** Starts nothing more of these assignments. What runs goes on. */
  leave(assignments: ReadonlySet<Assignment>): void {
    const isLeaving = (lane: Lane) => assignments.has(lane.assignment);
    this.#feeds.remove(isLeaving);
    for (const gate of this.#gates.values()) gate.forget(isLeaving);
    for (const assignment of assignments) {
      for (const lane of assignment.lanes.values()) {
        if (lane.cancelRetry === undefined) continue;
        this.#endRetry(lane);
      }
    }
  }

  /** Interrupts what still runs of these assignments. Their outcome counts for nothing any more. */
  interrupt(assignments: ReadonlySet<Assignment>): void {
    const running = this.#running.slice();
    for (const { assignment, attempt } of running) {
      if (assignments.has(assignment)) attempt!.interrupt();
    }
    this.pump();
  }

  close(): void {
    for (const gate of this.#gates.values()) gate.close();
    this.#timeout?.cancel();
  }

  /** Handlers that answer at once, or data that is slow to read, must not hold up all else that this process does. */
  #rest(until: (go: () => void) => void): void {
    this.#isResting = true;
    until(() => {
      this.#isResting = false;
      this.pump();
    });
  }

  // attempted

  /** Starts the lane if it may; one that has to wait is put back by whoever ends the wait. */
  #offer(lane: Lane, now: number): void {
    const head = lane.line.peek();
    if (head === undefined || lane.assignment.state !== 'held') return;
    if (head.delivery.isWaiting) lane.state = 'reading';
    else if (lane.feed.gate.admits(lane)) this.#start(lane, head.delivery, now);
  }

  #start(lane: Lane, delivery: Delivery, now: number): void {
    const attempt = new Attempt(delivery, now, (outcome) => this.#ended(lane, attempt, outcome));
    lane.state = 'running';
    lane.attempt = attempt;
    lane.place = this.#running.push(lane) - 1;
    this.#feeds.started(lane);
    lane.assignment.begin();
    this.#watch(attempt.deadline);
    if (signals.delivered.isHeard) signals.delivered.publish(this.#fact(delivery, attempt.context.attempt));
    attempt.run(() => this.setup.data(lane.assignment, delivery), this.setup.around);
  }

  #ended(lane: Lane, attempt: Attempt, outcome: AttemptOutcome): void {
    this.#leavePlace(lane);
    if (lane.assignment.state === 'gone' || outcome.status === 'interrupted') this.#interrupted(attempt);
    else if (outcome.status === 'handled') this.#handled(lane, attempt);
    else this.#failed(lane, attempt, outcome.error);
    lane.assignment.done();
    this.pump();
  }

  // A map of attempts would compute a hash for each; the last lane moves into the place instead.
  #leavePlace(lane: Lane): void {
    this.#feeds.ended(lane);
    const last = this.#running.pop()!;
    if (last !== lane) {
      this.#running[lane.place] = last;
      last.place = lane.place;
    }
    lane.attempt = undefined;
  }

  // settled and reported

  #handled(lane: Lane, attempt: Attempt): void {
    const { delivery, context } = attempt;
    lane.feed.gate.succeeded();
    if (signals.handled.isHeard) {
      signals.handled.publish({
        ...this.#fact(delivery, context.attempt),
        durationMs: this.setup.clock.monotonic() - attempt.startedAt,
      });
    }
    this.#settle(lane);
  }

  #interrupted(attempt: Attempt): void {
    if (signals.interrupted.isHeard) signals.interrupted.publish(this.#fact(attempt.delivery, attempt.context.attempt));
  }

  #failed(lane: Lane, attempt: Attempt, error: unknown): void {
    const { delivery, context } = attempt;
    const { gate } = lane.feed;
    const decision = decide(delivery.handler.retry, {
      error,
      attempt: context.attempt,
      event: context.event,
      random: this.setup.random,
    });
    delivery.firstFailedAt ??= this.setup.clock.now();
    // A word about this event says nothing about the handler; nor does it when one event fails again and again.
    const isWord = decision.action === 'skip' || (decision.action === 'dead' && decision.isExhausted !== true);
    if (isWord) gate.passed(lane);
    else if (delivery.attempts === 0) gate.failed(error);
    // And while the handler is broken its failures say nothing about the event: they do not count.
    if (!isWord && gate.isBroken) return this.#hold(lane, attempt, error);
    delivery.attempts++;
    if (decision.action === 'skip') this.#skip(lane, delivery, decision.rule);
    else if (decision.action === 'dead') void this.#bury(lane, delivery, error);
    else this.#retry(lane, attempt, error, decision.afterMs);
  }

  #skip(lane: Lane, delivery: Delivery, rule: string): void {
    const { topic, partition, offset } = delivery.record;
    if (signals.skipped.isHeard) {
      const eventType = delivery.handler.definition.type;
      signals.skipped.publish({
        ...this.setup.identity,
        group: this.setup.group,
        handler: delivery.handler.id,
        topic,
        partition,
        offset,
        eventType,
        rule,
      });
    }
    this.#settle(lane);
  }

  #hold(lane: Lane, attempt: Attempt, error: unknown): void {
    this.#sayRetrying(attempt, error, 0);
    if (lane.assignment.state === 'held') lane.feed.gate.hold(lane);
  }

  #retry(lane: Lane, attempt: Attempt, error: unknown, afterMs: number): void {
    this.#sayRetrying(attempt, error, afterMs);
    // A partition that is leaving starts nothing more; the next owner tries again.
    if (lane.assignment.state !== 'held') return;
    lane.state = 'retrying';
    this.#retrying++;
    lane.cancelRetry = this.setup.clock.timer(afterMs, () => {
      this.#endRetry(lane);
      this.#release([lane]);
    });
  }

  #endRetry(lane: Lane): void {
    lane.cancelRetry?.();
    lane.cancelRetry = undefined;
    this.#retrying--;
  }

  async #bury(lane: Lane, delivery: Delivery, error: unknown): Promise<void> {
    const { clock, group, bury } = this.setup;
    lane.state = 'burying';
    lane.assignment.begin();
    const isStored = await bury(lane.assignment, {
      record: delivery.record,
      group,
      handler: delivery.handler.id,
      event: delivery.received.metadata,
      reason: reasonOf(error),
      error,
      attempts: delivery.attempts,
      firstFailedAt: delivery.firstFailedAt!,
      lastFailedAt: clock.now(),
    });
    if (isStored) this.#settle(lane);
    lane.assignment.done();
    this.pump();
  }

  #settle(lane: Lane): void {
    const { work } = lane.line.shift()!;
    this.setup.settled(lane.assignment, work);
    if (lane.line.size === 0) lane.assignment.lanes.delete(lane.id);
    else this.#release([lane]);
  }

  #wake(lane: Lane | undefined): void {
    if (lane?.state === 'reading') this.#ready(lane);
  }

  #release(lanes: readonly Lane[]): void {
    for (const lane of lanes) this.#ready(lane);
    this.pump();
  }

  #ready(lane: Lane): void {
    lane.state = 'ready';
    lane.feed.ready.push(lane);
  }

  // One timer for all attempts, at the earliest deadline: a timer for each would cost more than a short handler.
  #watch(deadline: number): void {
    if (this.#timeout !== undefined && this.#timeout.at <= deadline) return;
    this.#timeout?.cancel();
    const { clock } = this.setup;
    // Of a process that was stopped for a while the answers of handlers may be there already, unread: they come first.
    const fire = () => clock.soon(() => this.#expire());
    this.#timeout = { at: deadline, cancel: clock.timer(deadline - clock.monotonic(), fire) };
  }

  #expire(): void {
    this.#timeout = undefined;
    const now = this.setup.clock.monotonic();
    const attempts = this.#running.map(({ attempt }) => attempt!);
    for (const attempt of attempts) if (attempt.deadline <= now) attempt.expire();
    let next = Infinity;
    for (const { attempt } of this.#running) next = Math.min(next, attempt!.deadline);
    if (next < Infinity) this.#watch(Math.max(next, now + 1));
  }

  #gate(handler: string): Gate {
    const { identity, group, clock, breakerAfter } = this.setup;
    return new Gate({
      clock,
      breakerAfter,
      release: (lanes) => this.#release(lanes),
      changed: (state, reason, error) => signals[state].publish({ ...identity, group, handler, reason, error }),
    });
  }

  #sayRetrying(attempt: Attempt, error: unknown, afterMs: number): void {
    if (!signals.retrying.isHeard) return;
    const durationMs = this.setup.clock.monotonic() - attempt.startedAt;
    signals.retrying.publish({ ...this.#fact(attempt.delivery, attempt.context.attempt), durationMs, error, afterMs });
  }

  #fact(delivery: Delivery, attempt: number) {
    const { topic, partition, offset } = delivery.record;
    const { identity, group } = this.setup;
    return {
      ...identity,
      group,
      handler: delivery.handler.id,
      event: delivery.received.metadata,
      topic,
      partition,
      offset,
      attempt,
    };
  }
}

// Records without a key are ordered by partition: they share one lane.
function laneId({ handler, record }: Delivery): string {
  const { key } = record;
  if (key === null) return `${handler.id}\n`;
  return `${handler.id}\n=${Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1')}`;
}

// Handlers may be started so long at a stretch, and then as long as one of them takes.
const TURN_MS = 20;
const LOOK_AGAIN_MS = 50;
