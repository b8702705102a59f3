/**
 * What kafkajs does not tell of its consumer, and does not leave to others, caught where it passes: an assigner is given the cluster through
 * which the consumer joins its group and fetches.
 */
import { systemClock, type TopicPartition } from '@event-bus/core';
import { delay } from '@event-bus/core/internal';
import type { PartitionAssigner } from 'kafkajs';
import { commitTopics } from './admin.js';
import { subscribedRoundRobin } from './assigner.js';
import type { CommitPosition } from './client.js';
import { isFenced, isUnknownTopic, protocolType } from './failure.js';
import { DISCONNECT_TIMEOUT_MS, MAX_WAIT_MS } from './settings.js';

/** As the coordinator knows it, in the generation that it joined. */
export interface Member {
  readonly memberId: string;
  /** Once, and under that generation: kafkajs's own function tries again, and by then commits for the next one what the last one knew. */
  commit(positions: readonly CommitPosition[]): Promise<void>;
}

export interface ClusterHooks {
  /** Every join waits for it, the first one and those that are repeated. What it throws fails the join. */
  beforeJoin(): Promise<void>;
  /** The coordinator has answered; the assignment follows. */
  joined(member: Member): void;
  /** The coordinator counts the session anew; `atMs` is when it was asked to, on the monotonic clock. */
  renewed(atMs: number): void;
  /**
   * kafkajs breaks when its first join fails. When a later one does, it fetches on without a generation, or waits for batches that wait
   * for one: either way nobody would join any more.
   */
  joinFailed(error: unknown): void;
  /** kafkajs repeats a fetch until a deleted topic is there again, and goes on at the old position, past the new one's first records. */
  unknownTopic(): void;
  /** kafkajs would commit a position of its own, and jump there: until a next record comes, nobody would hear of those that are gone. */
  outOfRange(place: TopicPartition): Promise<void>;
}

/** The assigner whose cluster calls the hooks. */
export function hookedAssigner(group: string, hooks: ClusterHooks): PartitionAssigner {
  return ({ cluster, ...rest }) => {
    const joining = <T>(step: () => Promise<T>) => step().catch((error: unknown) => failed(hooks, error));
    const hooked = new WeakSet<HookedBroker>();
    let coordinator: () => Promise<HookedBroker>;

    // kafkajs has no awaited revoke. It has one point that every join passes: the group asks the cluster for its coordinator.
    const find = cluster.findGroupCoordinator.bind(cluster);
    cluster.findGroupCoordinator = (asked) =>
      joining(async () => {
        await hooks.beforeJoin();
        const found = await find(asked);
        // It may have to be connected again.
        coordinator = () => cluster.findBroker(found as never) as never;
        return found;
      });

    const findBroker = cluster.findBroker.bind(cluster);
    cluster.findBroker = async (node) => {
      const broker = await findBroker(node);
      hook(broker as unknown as HookedBroker);
      return broker;
    };

    // What has crashed says so only after disconnecting, and waits there for answers that a broker which is away never gives.
    const disconnect = cluster.disconnect.bind(cluster);
    cluster.disconnect = () => Promise.race([disconnect(), delay(systemClock, DISCONNECT_TIMEOUT_MS)]);

    return subscribedRoundRobin({ cluster, ...rest });

    function renewing(ask: Ask<unknown>): Ask<unknown> {
      return async (request) => {
        const askedMs = systemClock.monotonic();
        const answer = await ask(request);
        hooks.renewed(askedMs);
        return answer;
      };
    }

    function hook(broker: HookedBroker): void {
      if (hooked.has(broker)) return;
      hooked.add(broker);
      const joinGroup = broker.joinGroup.bind(broker);
      broker.joinGroup = async (request) => {
        const joined = await joining(() => joinGroup(request));
        hooks.joined(memberOf(group, joined, coordinator));
        return joined;
      };
      const syncGroup = renewing(broker.syncGroup.bind(broker));
      broker.syncGroup = (request) => joining(() => syncGroup(request));
      broker.heartbeat = renewing(broker.heartbeat.bind(broker));
      const fetch = broker.fetch.bind(broker);
      broker.fetch = (request) => fetch(request).then(withNews, (error: unknown) => recovered(hooks, error));
    }
  };
}

/** What a coordinator says of generations and members kafkajs answers with another join. */
function failed(hooks: ClusterHooks, error: unknown): never {
  const isRepeated = isFenced(error) || REPEATED.has(protocolType(error) ?? '');
  if (!isRepeated) hooks.joinFailed(error);
  throw error;
}

const REPEATED = new Set(['REBALANCE_IN_PROGRESS', 'NOT_COORDINATOR_FOR_GROUP']);

function memberOf(group: string, { memberId, generationId }: Joined, coordinator: () => Promise<HookedBroker>): Member {
  return {
    memberId,
    async commit(positions) {
      const broker = await coordinator();
      const topics = commitTopics(positions);
      await broker.offsetCommit({ groupId: group, memberId, groupGenerationId: generationId, topics });
    },
  };
}

/** kafkajs makes a batch, with some fifty promises, of each partition in an answer, also of those without a record. */
function withNews(answer: FetchAnswer): FetchAnswer {
  for (const topic of answer.responses) topic.partitions = topic.partitions.filter(isNews);
  return answer;
}

const isNews = ({ messages, preferredReadReplica = LEADER }: FetchedPartition) =>
  messages.length > 0 || preferredReadReplica !== LEADER;

async function recovered(hooks: ClusterHooks, error: unknown): Promise<FetchAnswer> {
  if (isUnknownTopic(error)) hooks.unknownTopic();
  if (!isOutOfRange(error)) throw error;
  await delay(systemClock, MAX_WAIT_MS);
  await hooks.outOfRange(error);
  return { responses: [] };
}

/** kafkajs's error names the place. */
const isOutOfRange = (error: unknown): error is TopicPartition => protocolType(error) === 'OFFSET_OUT_OF_RANGE';

/** What of a broker is used here; not in the types of kafkajs. */
interface HookedBroker {
  joinGroup: Ask<Joined>;
  syncGroup: Ask<unknown>;
  heartbeat: Ask<unknown>;
  offsetCommit: Ask<unknown>;
  fetch: Ask<FetchAnswer>;
}

type Ask<T> = (request: object) => Promise<T>;

interface Joined {
  readonly memberId: string;
  readonly generationId: number;
}

interface FetchAnswer {
  readonly responses: readonly { partitions: readonly FetchedPartition[] }[];
}

interface FetchedPartition {
  readonly messages: readonly unknown[];
  readonly preferredReadReplica?: number;
}

const LEADER = -1;
