/**
 * Who gets which partition. kafkajs's own assigner deals the topics of the leader out to every member, whether or not that member asked for
 * them: in a rolling deploy that adds a topic, its records would go to members that pass over them without a word, and the topics that
 * only others asked for would have no owner. This one keeps its name and its bytes, so both may lead the same group.
 */
import { kafkajs } from './library.js';
import type { TopicPartition } from '@event-bus/core';
import type { PartitionAssigner } from 'kafkajs';

type AssignerCluster = Parameters<PartitionAssigner>[0]['cluster'];

export const subscribedRoundRobin: PartitionAssigner = (config) => ({
  ...kafkajs.PartitionAssigners.roundRobin(config),
  async assign({ members }) {
    const wishes = new Map(members.map(({ memberId, memberMetadata }) => [memberId, topicsOf(memberMetadata)]));
    const places = await partitionsOf(config.cluster, new Set([...wishes.values()].flat()));
    return Array.from(dealOut(wishes, places), ([memberId, assignment]) => ({
      memberId,
      memberAssignment: kafkajs.AssignerProtocol.MemberAssignment.encode({
        version: VERSION,
        assignment,
        userData: Buffer.alloc(0),
      }),
    }));
  },
});

const VERSION = 0;

/** In turn, each partition to the next member that asked for its topic. Every member has an entry, if an empty one. */
export function dealOut(
  wishes: ReadonlyMap<string, readonly string[]>,
  places: readonly TopicPartition[],
): Map<string, Record<string, number[]>> {
  const members = [...wishes.keys()].sort();
  const dealt = new Map(members.map((member) => [member, Object.create(null) as Record<string, number[]>]));
  let turn = 0;
  for (const { topic, partition } of places) {
    const next = members.findIndex((_, i) => wishes.get(members[(turn + i) % members.length]!)!.includes(topic));
    if (next < 0) continue;
    const taken = (turn + next) % members.length;
    (dealt.get(members[taken]!)![topic] ??= []).push(partition);
    turn = taken + 1;
  }
  return dealt;
}

function topicsOf(memberMetadata: Buffer): readonly string[] {
  return kafkajs.AssignerProtocol.MemberMetadata.decode(memberMetadata)?.topics ?? [];
}

/** The leader may know nothing yet of a topic that only another member asked for. */
async function partitionsOf(cluster: AssignerCluster, topics: ReadonlySet<string>): Promise<TopicPartition[]> {
  const wanted = [...topics].sort();
  for (const topic of wanted) {
    // One that was deleted in between must not keep the group from the others.
    await cluster.addTargetTopic(topic).catch(() => {});
  }
  return wanted.flatMap((topic) =>
    (cluster.findTopicPartitionMetadata(topic) ?? []).map(({ partitionId }) => ({ topic, partition: partitionId })),
  );
}
