/**
 * The table that all members of a group share: who is there, who owns which partition, how far each has come. A member takes a turn about
 * once a second and whenever something changed: one write transaction with its commits, its heartbeat, what it gives back and what it
 * takes. Write transactions are serial, so two members cannot take the same partition, and a commit and the right to it are one row.
 *
 *   free ──taken by whom it is meant for──▶ owned ──meant for another──▶ revoked by its owner ──▶ free
 *                                             └── owner dead or past its deadline ──────────────▶ free
 */
import type { StartPosition } from '@event-bus/core';
import { mergeRanges, rangesOf, rangesOfOffsets, runsOf, type Range } from '@event-bus/core/internal';
import type { MemberRow, PositionRow, TopicRow } from './databases.js';
import type { Environment } from './environment.js';
import { isAlive, machineTime, type ProcessIdentity } from './machine.js';
import { sharePartitions } from './shares.js';

export interface PartitionId {
  readonly topic: number;
  readonly partition: number;
}

export interface TableCommit extends PartitionId {
  readonly position: number;
  readonly ahead: readonly number[];
}

export interface Turn {
  readonly group: string;
  readonly member: string;
  readonly process: ProcessIdentity;
  readonly topics: readonly TopicRow[];
  /** Where partitions without a position begin. */
  readonly from: StartPosition;
  readonly commits: readonly TableCommit[];
  /** What the member believes to own, also while it is being revoked. Whatever else is in its name goes back, or begins anew. */
  readonly held: readonly PartitionId[];
  /** The generation at which nothing was to be shared anew and nothing has changed here since: then the table is not gone through again. */
  readonly settledAt?: number | undefined;
  readonly isLeaving: boolean;
}

export interface TurnResult {
  readonly commits: readonly ('committed' | 'fenced')[];
  /** Until when the member may act as owner, on the machine's clock. */
  readonly until: number;
  readonly generation: number;
  /** Believed to be owned and not owned any more. */
  readonly lost: readonly PartitionId[];
  /** Owned and meant for another member: to be revoked. */
  readonly unwanted: readonly PartitionId[];
  readonly taken: readonly Taken[];
  /** How many partitions of its own the member gave back. */
  readonly returned: number;
}

export interface Taken extends PartitionId {
  readonly position: number;
  readonly ahead: readonly Range[];
}

/** Takes a turn. Inside a write transaction. */
export function takeTurn(environment: Environment, turn: Turn): TurnResult {
  const { members } = environment.databases;
  const { group, member } = turn;
  const now = machineTime();
  const commits = turn.commits.map((commit) => applyCommit(environment, group, member, commit));
  const isNew = members.get([group, member]) === undefined;
  const until = now + LEASE_MS;
  const { live, dead } = membersOf(environment, group, member, now);
  for (const gone of dead) void members.remove([group, gone]);
  for (const [id, row] of live) if (row.until <= now) void members.put([group, id], { ...row, until });

  const shares: Shares = { lost: [], unwanted: [], taken: [], returned: 0 };
  const isSettled = !isNew && dead.length === 0 && turn.settledAt === generationOf(environment, group);
  if (turn.isLeaving) {
    void members.remove([group, member]);
    for (const topic of turn.topics) leaveTopic(environment, turn, topic);
  } else {
    const row: MemberRow = { ...turn.process, topics: turn.topics.map(({ id }) => id), until };
    void members.put([group, member], row);
    live.set(member, row);
    if (!isSettled) for (const topic of turn.topics) shareTopic(environment, turn, topic, live, shares);
  }
  const isChanged = isNew || turn.isLeaving || dead.length > 0 || shares.returned > 0;
  return { commits, until, generation: noteChange(environment, group, isChanged), ...shares };
}

interface Shares {
  readonly lost: PartitionId[];
  readonly unwanted: PartitionId[];
  readonly taken: Taken[];
  returned: number;
}

function shareTopic(
  environment: Environment,
  { group, member, from, held }: Turn,
  topic: TopicRow,
  live: ReadonlyMap<string, MemberRow>,
  shares: Shares,
): void {
  const rows = rowsOf(environment, group, topic, from);
  const owners = rows.map(({ owner }) => (owner !== undefined && live.has(owner) ? owner : undefined));
  const eligible = [...live].filter(([, row]) => row.topics.includes(topic.id)).map(([id]) => id);
  const wanted = sharePartitions(owners, eligible.sort(), topic.id);
  const isHeld = new Set(held.filter((id) => id.topic === topic.id).map(({ partition }) => partition));
  for (const [partition, row] of rows.entries()) {
    const id = { topic: topic.id, partition };
    const isMine = row.owner === member;
    const isForMe = wanted[partition] === member;
    if (isHeld.has(partition)) {
      if (!isMine) shares.lost.push(id);
      else if (!isForMe) shares.unwanted.push(id);
    } else if (isForMe && (isMine || owners[partition] === undefined)) {
      if (!isMine) void environment.databases.positions.put([topic.id, partition, group], { ...row, owner: member });
      shares.taken.push({ ...id, position: row.committed, ahead: rangesOf(row.committed, row.ahead) });
    } else if (isMine) {
      // Revoked, or left from a turn whose answer never came.
      giveBack(environment, group, member, id);
      shares.returned++;
    }
  }
}

function leaveTopic(environment: Environment, { group, member }: Turn, topic: TopicRow): void {
  for (let partition = 0; partition < topic.partitions; partition++) {
    giveBack(environment, group, member, { topic: topic.id, partition });
  }
}

/** The position of a group in a partition and what it finished beyond. */
export function positionOf(environment: Environment, group: string, id: PartitionId): PositionRow | undefined {
  return environment.databases.positions.get([id.topic, id.partition, group]);
}

/** Members that are alive and within their deadline, of a topic or of any. */
export function liveMembers(environment: Environment, group: string, topic?: number): string[] {
  const now = machineTime();
  const { live } = membersOf(environment, group, undefined, now);
  return [...live]
    .filter(([, row]) => row.until > now && (topic === undefined || row.topics.includes(topic)))
    .map(([id]) => id);
}

/** The group that has most records still to finish: what retention waits for. */
export function farthestBehind({ databases, log }: Environment): { group: string; records: number } | undefined {
  const behind = new Map<string, number>();
  for (const { key, value } of databases.positions.getRange()) {
    const [topic, partition, group] = key;
    const { first, next } = log.ends(topic, partition);
    behind.set(group, (behind.get(group) ?? 0) + Math.max(0, next - Math.max(value.committed, first)));
  }
  let farthest: { group: string; records: number } | undefined;
  for (const [group, records] of behind) if (records > (farthest?.records ?? 0)) farthest = { group, records };
  return farthest;
}

export function generationOf(environment: Environment, group: string): number {
  return environment.databases.groups.get(group)?.generation ?? 0;
}

/** Where a group begins in a partition that it does not know yet. */
export function startOffset(environment: Environment, { topic, partition }: PartitionId, from: StartPosition): number {
  if (from === 'earliest') return environment.log.ends(topic, partition).first;
  if (from === 'latest') return environment.log.ends(topic, partition).next;
  return environment.log.offsetAt(topic, partition, from.time);
}

/** Raises the group's generation when others have to look, and notes now and then that it is in use. */
export function noteChange(environment: Environment, group: string, isChanged: boolean): number {
  const { groups } = environment.databases;
  const row = groups.get(group) ?? { generation: 0, seen: 0 };
  const generation = isChanged ? row.generation + 1 : row.generation;
  if (isChanged || Date.now() - row.seen > SEEN_EVERY_MS) void groups.put(group, { generation, seen: Date.now() });
  if (isChanged) environment.writer.wake();
  return generation;
}

function applyCommit(
  environment: Environment,
  group: string,
  member: string,
  commit: TableCommit,
): 'committed' | 'fenced' {
  const row = positionOf(environment, group, commit);
  if (row?.owner !== member) return 'fenced';
  void environment.databases.positions.put([commit.topic, commit.partition, group], {
    owner: member,
    ...advance(row, commit.position, commit.ahead),
  });
  return 'committed';
}

/** A row after a commit: it never moves back, and keeps what was finished ahead and is still ahead. */
export function advance(
  row: PositionRow,
  position: number,
  ahead: readonly number[],
): { committed: number; ahead: number[] } {
  const from = Math.max(row.committed, position);
  const ranges = mergeRanges(from, rangesOf(row.committed, row.ahead), rangesOfOffsets(ahead), RANGES_AT_MOST);
  const reached = ranges[0]?.[0] === from ? ranges.shift()![1] : from;
  return { committed: reached, ahead: runsOf(reached, ranges) };
}

function giveBack(environment: Environment, group: string, member: string, id: PartitionId): void {
  const row = positionOf(environment, group, id);
  if (row?.owner === member)
    void environment.databases.positions.put([id.topic, id.partition, group], {
      committed: row.committed,
      ahead: row.ahead,
    });
}

// When no lease of the group was renewed in time, none could be: the log's lock stood still, or the machine. Those who live get another one.
function membersOf(
  environment: Environment,
  group: string,
  self: string | undefined,
  now: number,
): { live: Map<string, MemberRow>; dead: string[] } {
  const rows = [...environment.databases.members.getRange({ start: [group, ''], end: [group, LAST] })];
  const hasStalled = rows.every(({ value }) => value.until <= now);
  const live = new Map<string, MemberRow>();
  const dead: string[] = [];
  for (const { key, value } of rows) {
    if (key[1] === self) continue;
    if ((hasStalled || value.until > now) && isAlive(value)) live.set(key[1], value);
    else dead.push(key[1]);
  }
  return { live, dead };
}

function rowsOf(environment: Environment, group: string, topic: TopicRow, from: StartPosition): PositionRow[] {
  const { positions } = environment.databases;
  return Array.from({ length: topic.partitions }, (_, partition) => {
    const id = { topic: topic.id, partition };
    const known = positionOf(environment, group, id);
    if (known !== undefined) return known;
    const row: PositionRow = { committed: startOffset(environment, id, from), ahead: [] };
    void positions.put([topic.id, partition, group], row);
    return row;
  });
}

/** How long a member owns without a sign of life. */
export const LEASE_MS = 5_000;

const RANGES_AT_MOST = 1_000;
const SEEN_EVERY_MS = 3_600_000;
const LAST = '\u{10ffff}';
