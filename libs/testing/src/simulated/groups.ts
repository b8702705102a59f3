/**
 * The groups of a simulated broker: who owns which partition, and where each group stands. A partition has one owner at a time and a
 * fence that rises with each owner; a commit with another fence is refused. `eager`: every change takes all partitions from everybody
 * first, as Kafka's classic protocol does. `cooperative`: only what moves is taken, as the embedded log does.
 */
import type { Clock, StartPosition, TopicPartition } from '@event-bus/core';
import type { Log } from './log.js';

export interface Assigned extends TopicPartition {
  readonly fence: number;
  readonly position: number;
  readonly ahead: ReadonlySet<number>;
}

export interface JoinRequest {
  readonly process: string;
  readonly group: string;
  readonly topics: readonly string[];
  readonly from: StartPosition;
  readonly sessionTimeoutMs: number;
  assign(member: string, partitions: readonly Assigned[]): void;
  revoke(member: string, partitions: readonly TopicPartition[]): void;
}

export interface CommitRequest extends TopicPartition {
  readonly fence: number;
  readonly position: number;
  readonly ahead: readonly number[];
}

/** What the broker knows of a group and no member does. `fence` rises with every owner. */
export interface GroupFact extends TopicPartition {
  readonly type: 'assigned' | 'released' | 'expired' | 'committed' | 'fenced';
  readonly group: string;
  readonly process: string;
  readonly fence: number;
  readonly position?: number;
  readonly ahead?: readonly number[];
}

export interface Groups {
  /** Answers the member's id. */
  join(request: JoinRequest): string;
  /** False: the member is not known (any more) and has to join anew. */
  beat(group: string, member: string): boolean;
  release(group: string, member: string, partitions: readonly TopicPartition[]): void;
  leave(group: string, member: string): void;
  commit(group: string, member: string, commit: CommitRequest): 'committed' | 'fenced';
  position(group: string, at: TopicPartition): GroupPosition | undefined;
  seek(group: string, at: TopicPartition, position: number): void;
  isRunning(group: string): boolean;
  /** Takes every partition of a group from its owner once and gives it out anew. */
  rebalance(group: string): void;
}

export interface GroupPosition {
  readonly position: number;
  readonly ahead: ReadonlySet<number>;
}

export interface GroupsOptions {
  readonly log: Log;
  readonly clock: Clock;
  readonly protocol: 'eager' | 'cooperative';
  readonly observe: (fact: GroupFact) => void;
}

export function memoryGroups({ log, clock, protocol, observe }: GroupsOptions): Groups {
  const groups = new Map<string, Group>();
  let joined = 0;

  const groupOf = (name: string): Group => {
    const found = groups.get(name) ?? { name, members: new Map(), owners: new Map(), positions: new Map(), fence: 0 };
    groups.set(name, found);
    return found;
  };

  function rebalance(group: Group): void {
    const wanted = assignment(group, log);
    if (protocol === 'eager') {
      const isSettled =
        wanted.size === group.owners.size && [...wanted].every(([key, { member }]) => stays(group, key, member));
      if (isSettled) return;
      take(group, () => true);
      if (group.owners.size === 0) give(group, wanted);
    } else {
      take(group, (key, owner) => wanted.get(key)?.member !== owner.member);
      give(group, wanted);
    }
  }

  /** Asks the owners to let go; what has been asked before is not asked again. */
  function take(group: Group, isWanted: (key: string, owner: Owner) => boolean): void {
    const asked = new Map<string, TopicPartition[]>();
    for (const [key, owner] of group.owners) {
      if (owner.isLeaving || !isWanted(key, owner)) continue;
      owner.isLeaving = true;
      asked.set(owner.member, [...(asked.get(owner.member) ?? []), { topic: owner.topic, partition: owner.partition }]);
    }
    for (const [member, partitions] of asked) group.members.get(member)?.revoke(member, partitions);
  }

  /** Gives out what nobody owns. */
  function give(group: Group, wanted: ReadonlyMap<string, Wanted>): void {
    const given = new Map<string, Assigned[]>();
    for (const [key, { topic, partition, member }] of wanted) {
      if (group.owners.has(key)) continue;
      const fence = ++group.fence;
      const { position, ahead } = positionOf(group, key, { topic, partition }, group.members.get(member)!.from);
      const { process } = group.members.get(member)!;
      group.owners.set(key, { topic, partition, member, process, fence, isLeaving: false });
      given.set(member, [...(given.get(member) ?? []), { topic, partition, fence, position, ahead: new Set(ahead) }]);
      observe({ type: 'assigned', group: group.name, process, topic, partition, fence, position, ahead: [...ahead] });
    }
    for (const [member, partitions] of given) group.members.get(member)!.assign(member, partitions);
  }

  /** The start of a new group is a position from then on: a member that dies before its first commit skips nothing. */
  function positionOf(group: Group, key: string, at: TopicPartition, from: StartPosition): GroupPosition {
    const known = group.positions.get(key) ?? {
      position: log.offsetAt(at.topic, at.partition, from),
      ahead: new Set<number>(),
    };
    group.positions.set(key, known);
    return known;
  }

  function drop(group: Group, member: string, why: 'released' | 'expired', keys?: ReadonlySet<string>): void {
    for (const [key, owner] of group.owners) {
      if (owner.member !== member || keys?.has(key) === false) continue;
      group.owners.delete(key);
      observe({
        type: why,
        group: group.name,
        process: owner.process,
        topic: owner.topic,
        partition: owner.partition,
        fence: owner.fence,
      });
    }
  }

  function remove(group: Group, member: string, why: 'released' | 'expired'): void {
    group.members.get(member)?.cancelExpiry();
    if (!group.members.delete(member)) return;
    drop(group, member, why);
    rebalance(group);
  }

  return {
    join(request) {
      const group = groupOf(request.group);
      const id = `${request.group}-${++joined}`;
      const expire = () => remove(group, id, 'expired');
      const member: Member = {
        ...request,
        cancelExpiry: clock.timer(request.sessionTimeoutMs, expire),
        beat() {
          member.cancelExpiry();
          member.cancelExpiry = clock.timer(request.sessionTimeoutMs, expire);
        },
      };
      group.members.set(id, member);
      for (const topic of request.topics) {
        if (!log.topics().some((known) => known.topic === topic)) log.onceAppended(topic, () => rebalance(group));
      }
      rebalance(group);
      return id;
    },
    beat(group, member) {
      const found = groupOf(group).members.get(member);
      found?.beat();
      return found !== undefined;
    },
    release(name, member, partitions) {
      const group = groupOf(name);
      if (!group.members.has(member)) return;
      drop(group, member, 'released', new Set(partitions.map(keyOf)));
      rebalance(group);
    },
    leave: (name, member) => remove(groupOf(name), member, 'released'),
    commit(name, member, { topic, partition, fence, position, ahead }) {
      const group = groupOf(name);
      const key = keyOf({ topic, partition });
      const owner = group.owners.get(key);
      const answer = owner?.member === member && owner.fence === fence ? 'committed' : 'fenced';
      const process = group.members.get(member)?.process ?? 'expired';
      observe({ type: answer, group: name, process, topic, partition, fence, position, ahead });
      if (answer === 'fenced') return answer;
      const known = group.positions.get(key)!;
      const behind = Math.max(known.position, position);
      group.positions.set(key, { position: behind, ahead: new Set(ahead.filter((offset) => offset >= behind)) });
      return answer;
    },
    position: (group, at) => groups.get(group)?.positions.get(keyOf(at)),
    seek: (group, at, position) => void groupOf(group).positions.set(keyOf(at), { position, ahead: new Set() }),
    isRunning: (group) => (groups.get(group)?.members.size ?? 0) > 0,
    rebalance(name) {
      const group = groupOf(name);
      take(group, () => true);
    },
  };
}

interface Group {
  readonly name: string;
  readonly members: Map<string, Member>;
  readonly owners: Map<string, Owner>;
  readonly positions: Map<string, GroupPosition>;
  fence: number;
}

interface Member extends JoinRequest {
  cancelExpiry: () => void;
  readonly beat: () => void;
}

interface Owner extends TopicPartition {
  readonly member: string;
  readonly process: string;
  readonly fence: number;
  isLeaving: boolean;
}

interface Wanted extends TopicPartition {
  readonly member: string;
}

function stays(group: Group, key: string, member: string): boolean {
  const owner = group.owners.get(key);
  return owner?.member === member && !owner.isLeaving;
}

/** Every partition goes round the members that subscribed to its topic. */
function assignment(group: Group, log: Log): Map<string, Wanted> {
  const wanted = new Map<string, Wanted>();
  for (const { topic, partitions } of log.topics()) {
    const members = [...group.members].filter(([, member]) => member.topics.includes(topic)).map(([id]) => id);
    if (members.length === 0) continue;
    for (let partition = 0; partition < partitions; partition++) {
      wanted.set(keyOf({ topic, partition }), { topic, partition, member: members[partition % members.length]! });
    }
  }
  return wanted;
}

export function keyOf({ topic, partition }: TopicPartition): string {
  return `${topic}/${partition}`;
}
