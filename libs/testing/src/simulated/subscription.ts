/** One member of a group on the simulated broker, as its process sees it. */
import type {
  Batch,
  Clock,
  Commit,
  Random,
  Receiver,
  StoredRecord,
  SubscribeOptions,
  Subscription,
  TopicPartition,
} from '@event-bus/core';
import { delay } from '@event-bus/core/internal';
import { integer } from '../seeded-random.js';
import { keyOf, type Assigned, type Groups } from './groups.js';
import type { Link } from './link.js';
import type { Log } from './log.js';

export interface SubscriptionParts {
  /** Name of the process, for what the broker observes. */
  readonly process: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly link: Link;
  readonly log: Log;
  readonly groups: Groups;
  readonly sessionTimeoutMs: number;
  /** Largest batch, in records. */
  readonly batchRecords: number;
  /** What happens to one commit. */
  readonly commitFault: (commit: {
    readonly group: string;
    readonly topic: string;
    readonly partition: number;
  }) => 'refused' | 'unanswered' | undefined;
}

export async function subscribe(
  parts: SubscriptionParts,
  options: SubscribeOptions,
  receiver: Receiver,
): Promise<Subscription> {
  const { process, clock, random, link, log, groups, sessionTimeoutMs, batchRecords, commitFault } = parts;
  const { group, topics, from = 'earliest', revokeTimeoutMs = 25_000 } = options;
  const held = new Map<string, Held>();
  const leaving = new Map<AbortController, Promise<void>>();
  const ended = new AbortController();
  const early: [string, readonly Assigned[]][] = [];
  let member: string | undefined;
  let state: 'joining' | 'running' | 'stopping' | 'stopped' = 'joining';
  let isInTrouble = false;
  let lastMovedMs = clock.monotonic();
  let lastBeatMs = clock.monotonic();
  let stopped: Promise<void> | undefined;

  await join();
  void beat();

  return {
    async commit(commits) {
      const open = commits.map((commit) => held.get(keyOf(commit)));
      const asked = member;
      if (asked === undefined || open.every((partition) => partition === undefined)) return commits.map(() => 'fenced');
      const serve = async () => {
        const answers = commits.map((commit, index) => serveCommit(asked, commit, open[index]));
        if (answers.includes('unanswered')) await delay(clock, COMMIT_TIMEOUT_MS);
        return answers.map((answer) => (answer === 'unanswered' ? 'later' : answer));
      };
      return link.call(serve).catch(() => commits.map(() => 'later' as const));
    },
    holds: () => clock.monotonic() - lastBeatMs < sessionTimeoutMs,
    status: () => ({
      state: state === 'stopping' || leaving.size > 0 ? 'rebalancing' : isInTrouble ? 'trouble' : state,
      partitions: [...held.values()].map(({ topic, partition }) => ({ topic, partition })),
      idleMs: clock.monotonic() - lastMovedMs,
    }),
    stop: () => (stopped ??= stop()),
  };

  async function join(): Promise<void> {
    const askedMs = clock.monotonic();
    try {
      const joined = await link.call(() => {
        const id: string = groups.join({
          process,
          group,
          topics,
          from,
          sessionTimeoutMs,
          assign: (to, partitions) => link.push(() => assign(to, partitions)),
          revoke: (to, partitions) => link.push(() => to === member && void letGo(partitions)),
        });
        return id;
      });
      // Whoever stopped meanwhile does not come back.
      if (state === 'stopping' || state === 'stopped') return leave(joined);
      member = joined;
      state = 'running';
      lastBeatMs = askedMs;
      lastMovedMs = clock.monotonic();
      // What was assigned crossed the link behind the answer, or with it.
      for (const [to, partitions] of early.splice(0)) assign(to, partitions);
      trouble(undefined);
    } catch (error) {
      trouble(error as Error);
    }
  }

  /** Keeps the membership, whatever the receiver does, and notices when it was lost. */
  async function beat(): Promise<void> {
    for (;;) {
      await delay(clock, sessionTimeoutMs / 4, ended.signal).catch(() => undefined);
      if (ended.signal.aborted) return;
      lastMovedMs = clock.monotonic();
      // A process that was stopped for long does not know yet what it lost, but it knows that it was stopped.
      if (member !== undefined && clock.monotonic() - lastBeatMs >= sessionTimeoutMs) await lose();
      if (member === undefined) {
        if (state !== 'stopping') await join();
        continue;
      }
      const beating = member;
      const askedMs = clock.monotonic();
      try {
        const isKnown = await link.call(() => groups.beat(group, beating), sessionTimeoutMs / 4);
        lastBeatMs = askedMs;
        trouble(undefined);
        if (!isKnown && member === beating) await lose();
      } catch (error) {
        trouble(error as Error);
      }
    }
  }

  function assign(to: string, partitions: readonly Assigned[]): void {
    if (member === undefined && !ended.signal.aborted) return void early.push([to, partitions]);
    if (to !== member) return;
    // Given back with the leaving: whoever gave it back at once would be given it again at once.
    if (state !== 'running') return;
    receiver.assigned(partitions.map(({ topic, partition }) => ({ topic, partition })));
    for (const assigned of partitions) {
      const partition: Held = { ...assigned, isLeaving: false, wake: () => {} };
      held.set(keyOf(assigned), partition);
      void pump(partition);
    }
  }

  async function pump(partition: Held): Promise<void> {
    while (!partition.isLeaving) {
      const fetched = await link.call(() => fetch(partition)).catch(() => undefined);
      if (partition.isLeaving) return;
      lastMovedMs = clock.monotonic();
      if (fetched === undefined) await delay(clock, RETRY_MS);
      else if ('lostTo' in fetched) jump(partition, fetched.lostTo);
      else if (fetched.next === partition.position) await appended(partition);
      else await hand(partition, fetched);
    }
  }

  function fetch({ topic, partition, position }: Held): { lostTo: number } | Fetched {
    const start = log.start(topic, partition);
    if (position < start) return { lostTo: start };
    return log.fetch(topic, partition, position, integer(random, 1, batchRecords));
  }

  function jump(partition: Held, to: number): void {
    const at = { topic: partition.topic, partition: partition.partition };
    receiver.lost({ ...at, from: String(partition.position), to: String(to), reason: 'retention' });
    partition.position = to;
  }

  async function hand(partition: Held, { records, next }: Fetched): Promise<void> {
    partition.position = next;
    const batch: Batch = {
      topic: partition.topic,
      partition: partition.partition,
      records: records.filter(({ offset }) => !partition.ahead.has(Number(offset))),
      next: String(next),
    };
    await receiver.receive(batch);
  }

  /** Waits for a record behind the position, or for the end. */
  function appended(partition: Held): Promise<void> {
    return new Promise((resolve) => {
      let forget = () => {};
      partition.wake = () => {
        forget();
        resolve();
      };
      const watch = () => {
        if (log.end(partition.topic, partition.partition) > partition.position) link.push(partition.wake);
        else forget = log.onceAppended(partition.topic, watch);
      };
      watch();
    });
  }

  function serveCommit(by: string, { topic, partition, position, ahead }: Commit, open: Held | undefined) {
    if (open === undefined) return 'fenced' as const;
    const fault = commitFault({ group, topic, partition });
    if (fault === 'refused') return 'later' as const;
    const request = { topic, partition, fence: open.fence, position: Number(position), ahead: ahead.map(Number) };
    const answer = groups.commit(group, by, request);
    return fault ?? answer;
  }

  /** Gives partitions back when the receiver is done with them. */
  async function letGo(partitions: readonly TopicPartition[]): Promise<void> {
    const mine = partitions.filter((at) => held.get(keyOf(at))?.isLeaving === false);
    const by = member;
    if (mine.length > 0) await revoke(mine, new AbortController());
    if (by !== member) return;
    for (const at of mine) held.delete(keyOf(at));
    // What a stop is giving back already goes with its leaving.
    release(partitions.filter((at) => !held.has(keyOf(at))));
  }

  async function revoke(partitions: readonly TopicPartition[], gone: AbortController): Promise<void> {
    for (const at of partitions) {
      const partition = held.get(keyOf(at));
      if (partition === undefined) continue;
      partition.isLeaving = true;
      partition.wake();
    }
    const done = receiver.revoking(
      partitions.map(({ topic, partition }) => ({ topic, partition })),
      gone.signal,
    );
    leaving.set(gone, bounded(done, gone));
    await leaving.get(gone);
    leaving.delete(gone);
  }

  /** Waits until the revoke deadline; then the receiver hears that it is over and gets a moment to stop. */
  function bounded(done: Promise<void>, gone: AbortController): Promise<void> {
    return new Promise((resolve) => {
      let cancel = () => {};
      const abortAndEnd = () => {
        gone.abort();
        cancel = clock.timer(ABORT_GRACE_MS, resolve);
      };
      if (gone.signal.aborted) abortAndEnd();
      else cancel = clock.timer(revokeTimeoutMs, abortAndEnd);
      void done.finally(() => {
        cancel();
        resolve();
      });
    });
  }

  function release(partitions: readonly TopicPartition[]): void {
    const by = member;
    if (by === undefined) return;
    void link.call(() => groups.release(group, by, partitions)).catch(() => undefined);
  }

  /** The session is over: all partitions may have another owner already. */
  async function lose(): Promise<void> {
    const lost = [...held.values()];
    member = undefined;
    if (state === 'running') state = 'joining';
    for (const partition of lost) {
      partition.isLeaving = true;
      partition.wake();
    }
    held.clear();
    for (const gone of leaving.keys()) gone.abort();
    const gone = new AbortController();
    gone.abort();
    if (lost.length > 0) await revoke(lost, gone);
  }

  function trouble(error: Error | undefined): void {
    if (isInTrouble === (error !== undefined)) return;
    isInTrouble = error !== undefined;
    receiver.trouble(error);
  }

  async function stop(): Promise<void> {
    state = 'stopping';
    const all = [...held.values()].filter((partition) => !partition.isLeaving);
    if (all.length > 0) await revoke(all, new AbortController());
    await Promise.all(leaving.values());
    held.clear();
    state = 'stopped';
    ended.abort();
    if (member !== undefined) await leave(member);
    member = undefined;
  }

  async function leave(by: string): Promise<void> {
    await link.call(() => groups.leave(group, by)).catch(() => undefined);
  }
}

interface Held extends Assigned {
  position: number;
  isLeaving: boolean;
  /** Ends its wait for new records. */
  wake: () => void;
}

interface Fetched {
  readonly records: StoredRecord[];
  readonly next: number;
}

const RETRY_MS = 200;
const COMMIT_TIMEOUT_MS = 2_000;
const ABORT_GRACE_MS = 1_000;
