/**
 * A member of a group that takes what it gets, and watches the contract while it does: every batch of a partition that is held, one call
 * at a time, nothing once the partition is being revoked. What it saw wrong is in `violations`, which every case checks at its end.
 */
import type {
  Batch,
  Commit,
  LostRange,
  StartPosition,
  StoredRecord,
  Subscription,
  TopicPartition,
  Transport,
} from '@event-bus/core';

export interface MemberOptions {
  readonly topics: readonly string[];
  readonly group: string;
  readonly from?: StartPosition;
  readonly revokeTimeoutMs?: number;
  /** Called with every batch; its promise is the back-pressure. */
  readonly receive?: (batch: Batch) => void | Promise<void>;
  /** Whether everything received is committed while partitions leave. Default true. */
  readonly commitsOnRevoke?: boolean;
  /** Awaited while partitions leave, before that commit. */
  readonly revoking?: (partitions: readonly TopicPartition[], gone: AbortSignal) => Promise<void>;
}

export interface Member {
  readonly subscription: Subscription;
  readonly group: string;
  /** All that was handed over, in order of arrival. */
  readonly records: StoredRecord[];
  readonly lost: LostRange[];
  readonly troubles: (Error | undefined)[];
  readonly violations: string[];
  /** Partitions held, as `topic/partition`. */
  readonly held: ReadonlySet<string>;
  /** Commits the end of every batch received. Resolves when the transport took it or refused it for good. */
  commit(): Promise<void>;
  /** Sends these commits until none is answered with `later`. */
  send(commits: readonly Commit[]): Promise<readonly ('committed' | 'fenced')[]>;
}

export async function joinGroup(transport: Transport, options: MemberOptions): Promise<Member> {
  const { receive, revoking, commitsOnRevoke = true, ...rest } = options;
  const held = new Set<string>();
  const busy = new Set<string>();
  const ends = new Map<string, Commit>();
  let subscribed: (subscription: Subscription) => void;
  const ready = new Promise<Subscription>((resolve) => (subscribed = resolve));

  const member = { records: [], lost: [], troubles: [], violations: [] } as Pick<
    Member,
    'records' | 'lost' | 'troubles' | 'violations'
  >;

  const send: Member['send'] = async (commits) => {
    const subscription = await ready;
    const answers = await Promise.all(
      commits.map(async (commit) => {
        for (;;) {
          const [answer] = await subscription.commit([commit]);
          if (answer !== 'later') return answer!;
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
      }),
    );
    return answers;
  };

  const commitEnds = async (isWanted: (key: string) => boolean) => {
    const commits = [...ends].filter(([key]) => isWanted(key));
    for (const [key] of commits) ends.delete(key);
    if (commits.length > 0) await send(commits.map(([, commit]) => commit));
  };

  const subscription = await transport.subscribe(rest, {
    assigned(partitions) {
      for (const key of partitions.map(keyOf)) {
        if (held.has(key)) member.violations.push(`${key} was assigned while it was held`);
        held.add(key);
      }
    },
    async receive(batch) {
      const key = keyOf(batch);
      if (!held.has(key)) member.violations.push(`a batch of ${key} came although it is not held`);
      if (busy.has(key)) member.violations.push(`a batch of ${key} came while another was being received`);
      if (batch.records.some((record) => keyOf(record) !== key))
        member.violations.push(`a batch of ${key} holds records of another partition`);
      busy.add(key);
      member.records.push(...batch.records);
      const { topic, partition, next } = batch;
      await receive?.(batch);
      busy.delete(key);
      ends.set(key, { topic, partition, position: next, ahead: [] });
    },
    async revoking(partitions, gone) {
      const keys = partitions.map(keyOf);
      for (const key of keys) {
        if (!held.has(key)) member.violations.push(`${key} was revoked although it is not held`);
        held.delete(key);
      }
      await revoking?.(partitions, gone);
      if (commitsOnRevoke && !gone.aborted) await commitEnds((key) => keys.includes(key));
      for (const key of keys) ends.delete(key);
    },
    lost: (range) => void member.lost.push(range),
    trouble: (error) => void member.troubles.push(error),
  });
  subscribed!(subscription);

  return { ...member, subscription, group: options.group, held, send, commit: () => commitEnds(() => true) };
}

export const keyOf = ({ topic, partition }: TopicPartition): string => `${topic}/${partition}`;
