/** The transport: a durable log in a directory, for the processes of one machine. The file reads as the table of contents of this library. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { avroCodec } from '@event-bus/avro';
import {
  BusError,
  isBusError,
  type BusRecord,
  type PartitionPositions,
  type PublishOutcome,
  type Transport,
} from '@event-bus/core';
import { countOf, mergeRanges, partitionOf, rangesOf, recordBytes } from '@event-bus/core/internal';
import type { TopicRetention, TopicRow } from './databases.js';
import { openEnvironment, type Environment } from './environment.js';
import { closedError, freeBytesOf } from './failures.js';
import { encodeFrames } from './frame.js';
import { farthestBehind, liveMembers, noteChange, positionOf } from './group-table.js';
import { machineTime } from './machine.js';
import { checkOptions, retentionOf, type EmbeddedOptions, type Settings } from './options.js';
import { offsetOf, positionText } from './position.js';
import { checkPartition, checkTime, readRange, seekOffset } from './reading.js';
import { Janitor } from './retention.js';
import { schemaStore } from './schema-store.js';
import { GroupSubscription } from './subscription.js';

/** What the embedded log can do beyond the contract of a transport. */
export interface EmbeddedTransport extends Transport {
  /** Facts for health checks and metrics. */
  stats(): EmbeddedStats;
  /** Applies the retention rules now instead of within the next half minute. */
  sweep(): Promise<void>;
  /** Clears away the snapshots of processes that died, now instead of within the next half minute. */
  checkReaders(): void;
  /** Forgets all records of a partition before an offset, read or not; groups that have not read them learn the exact range. */
  deleteBefore(topic: string, partition: number, offset: string): Promise<void>;
}

export interface EmbeddedStats {
  /** The directory, with links resolved. */
  readonly path: string;
  /** Bytes of all records, what `maxBytes` limits. */
  readonly bytes: number;
  /** Free bytes of the disk. */
  readonly freeBytes: number;
  /** For how long the write under way has been waiting, in milliseconds; 0 when there is none. More than a few seconds: some process holds the lock. */
  readonly writeWaitMs: number;
  /** For how long the oldest snapshot has been open, in milliseconds; one that stays open lets the file grow. */
  readonly oldestReaderMs: number;
  /** How readers of this process learn of new records: `off` when there are none. */
  readonly wakeUp: 'bell' | 'polling' | 'off';
}

/**
 * A durable, ordered log in a directory. No server; all processes of one machine that are given the same path share it, with the same
 * promises as on a broker. `{ ephemeral: true }` is a log of its own in a temporary directory, not flushed and gone when closed: for tests.
 * Making it opens nothing. Throws `BUS_CONFIG_INVALID` with all that is wrong with the options.
 */
export function embedded(options: EmbeddedOptions): EmbeddedTransport {
  const settings = checkOptions(options);
  const subscriptions = new Set<GroupSubscription>();
  let environment: Environment | undefined;
  let janitor: Janitor | undefined;
  let opening: Promise<void> | undefined;
  let closing: Promise<void> | undefined;
  const closed = new AbortController();
  let keyless = 0;
  let publishing = 0;
  let published = () => {};

  const open = async () => {
    const opened = await openEnvironment(
      settings.path ?? mkdtempSync(join(tmpdir(), 'event-bus-')),
      settings.isEphemeral,
    );
    environment = opened;
    janitor = new Janitor(opened, settings.sweepIntervalMs);
  };

  const opened = (): Environment => {
    if (closed.signal.aborted) throw closedError();
    if (environment === undefined)
      throw new BusError('BUS_CLOSED', 'The embedded log is not open yet. Call open() and wait for it.');
    return environment;
  };

  const topicRow = (topic: string): TopicRow => {
    const row = opened().topic(topic);
    if (row === undefined)
      throw new BusError('BUS_TOPIC_MISSING', `Topic "${topic}" does not exist. Create it with ensureTopic.`, {
        details: { topic },
      });
    return row;
  };

  // Asked for each send that a full log refuses, and goes through all positions.
  let lastBehind = { at: -Infinity, text: '' };
  const behind = (current: Environment) => {
    if (machineTime() - lastBehind.at < BEHIND_HOLDS_MS) return lastBehind.text;
    const found = farthestBehind(current);
    const text = found === undefined ? '' : ` Group "${found.group}" has ${found.records} records still to finish.`;
    lastBehind = { at: machineTime(), text };
    return text;
  };

  const store = async (
    topic: string,
    row: TopicRow,
    records: readonly BusRecord[],
    deadlineMs: number,
  ): Promise<readonly PublishOutcome[]> => {
    const current = opened();
    const { log, writer, epoch, snapshot } = current;
    const sticky = keyless++;
    const partitions = records.map(({ key }) =>
      key === null ? sticky % row.partitions : partitionOf(key, row.partitions),
    );
    const frames = encodeFrames(records);
    let bytes = 0;
    for (const frame of frames) bytes += frame.length;
    const offsets: number[] = [];
    const append = () => {
      refuseFull(current, settings, bytes, behind);
      const now = Date.now();
      writer.wake();
      for (let i = 0; i < frames.length; i++) offsets.push(log.append(row.id, partitions[i]!, frames[i]!, now));
    };
    const isUndone = () =>
      snapshot(() => offsets.every((offset, i) => log.ends(row.id, partitions[i]!).next <= offset));
    try {
      await writer.write(append, { deadlineMs, records: records.length, bytes, isUndone });
      return offsets.map((offset, i) => ({
        status: 'stored',
        partition: partitions[i]!,
        offset: positionText(epoch, offset),
      }));
    } catch (error) {
      if (!isBusError(error)) throw error;
      return records.map(() => ({ status: error.details.outcome === 'unknown' ? 'unknown' : 'not-stored', error }));
    }
  };

  const close = async () => {
    closed.abort(closedError());
    await opening?.catch(() => {});
    await Promise.all([...subscriptions].map((subscription) => subscription.stop()));
    if (publishing > 0) await new Promise<void>((resolve) => (published = resolve));
    await janitor?.close();
    await transport.codec.close();
    const last = environment;
    environment = undefined;
    await last?.release();
  };

  const transport: EmbeddedTransport = {
    name: 'embedded',
    capabilities: {
      durable: !settings.isEphemeral,
      fenced: true,
      seekByTime: true,
      lagExact: true,
      finishedAhead: true,
      maxRecordBytes: settings.maxRecordBytes,
    },
    codec: avroCodec({ registry: schemaStore(() => environment) }),

    open() {
      if (closed.signal.aborted) return Promise.reject(closedError());
      opening ??= open().catch((error: unknown) => {
        opening = undefined;
        throw error;
      });
      return opening;
    },

    async publish(topic, records, { deadlineMs = PUBLISH_DEADLINE_MS } = {}) {
      const row = topicRow(topic);
      for (let index = 0; index < records.length; index++) {
        const bytes = recordBytes(records[index]!);
        if (bytes > settings.maxRecordBytes) {
          throw new BusError(
            'BUS_RECORD_TOO_LARGE',
            `Record ${index} for topic "${topic}" has ${bytes} bytes, the limit is ${settings.maxRecordBytes}. Send a reference instead, or raise maxRecordBytes.`,
            { details: { topic, index, bytes } },
          );
        }
      }
      if (records.length === 0) return [];
      publishing++;
      try {
        return await store(topic, row, records, deadlineMs);
      } finally {
        if (--publishing === 0) published();
      }
    },

    async subscribe({ topics, group, from = 'earliest', revokeTimeoutMs = REVOKE_TIMEOUT_MS }, receiver) {
      checkGroup(group);
      if (typeof from === 'object') checkTime(from.time);
      const rows = new Map(topics.map((topic) => [topic, topicRow(topic)]));
      const subscription: GroupSubscription = new GroupSubscription({
        environment: opened(),
        group,
        topics: rows,
        from,
        revokeTimeoutMs,
        receiver,
        stopped: () => subscriptions.delete(subscription),
      });
      subscriptions.add(subscription);
      await subscription.start().catch((error: unknown) => {
        subscriptions.delete(subscription);
        throw error;
      });
      return subscription;
    },

    async *read(range) {
      yield* readRange(opened(), topicRow(range.topic), range, closed.signal);
    },

    async positions({ topic, group }) {
      if (group !== undefined) checkGroup(group);
      const row = topicRow(topic);
      const current = opened();
      return current.snapshot(() =>
        Array.from({ length: row.partitions }, (_, partition) =>
          partitionPositions(current, topic, row, partition, group),
        ),
      );
    },

    async seek({ topic, group, to, partition }) {
      checkGroup(group);
      const row = topicRow(topic);
      const current = opened();
      const partitions = partition === undefined ? [...Array(row.partitions).keys()] : [partition];
      if (typeof to === 'object' && 'offset' in to && partitions.length > 1) {
        throw new BusError(
          'BUS_CONFIG_INVALID',
          `Position ${to.offset} belongs to one partition, topic "${topic}" has ${row.partitions}. Say which with "partition".`,
        );
      }
      const move = () => {
        if (liveMembers(current, group, row.id).length > 0)
          throw new BusError('BUS_BUSY', `Group "${group}" is running on topic "${topic}". Stop its consumers first.`, {
            details: { topic, group },
          });
        const offsets = partitions.map((each) => seekOffset(current, row, each, to));
        for (const [i, offset] of offsets.entries())
          void current.databases.positions.put([row.id, partitions[i]!, group], { committed: offset, ahead: [] });
        noteChange(current, group, true);
      };
      await current.writer.write(move, { deadlineMs: WRITE_DEADLINE_MS });
    },

    async topics() {
      const { snapshot, databases } = opened();
      return snapshot(() =>
        [...databases.topics.getRange()].map(({ key, value }) => ({ topic: key, partitions: value.partitions })),
      );
    },

    async ensureTopic(topic, { partitions } = {}) {
      checkTopic(topic, partitions);
      const current = opened();
      const retention = retentionOf(settings, topic);
      const row =
        current.topic(topic) ??
        (await createTopic(current, topic, {
          partitions: partitions ?? settings.topics[topic]?.partitions ?? settings.partitions,
          retention,
        }));
      if (retention.isNamed) await keepRetention(current, topic, retention);
      if (partitions !== undefined && partitions !== row.partitions) {
        throw new BusError(
          'BUS_TOPIC_MISSING',
          `Topic "${topic}" has ${row.partitions} partitions, not ${partitions}. The count stays as it was made: keys would move to other partitions.`,
          { details: { topic, partitions: row.partitions } },
        );
      }
      return { topic, partitions: row.partitions };
    },

    stats() {
      const { path, snapshot, log, readers, writer, bell } = opened();
      return {
        path,
        bytes: snapshot(() => log.bytes()),
        freeBytes: freeBytesOf(path),
        writeWaitMs: writer.waitMs,
        oldestReaderMs: readers.oldestMs(),
        wakeUp: bell.mode,
      };
    },

    async sweep() {
      opened();
      await janitor!.run();
    },

    checkReaders() {
      opened().readers.check();
    },

    async deleteBefore(topic, partition, offset) {
      const row = topicRow(topic);
      const { writer, log, epoch } = opened();
      checkPartition(row, partition);
      const upTo = offsetOf(epoch, offset);
      const trim = () => log.trim(row.id, partition, upTo, DELETE_CHUNK);
      while ((await writer.write(trim, { deadlineMs: WRITE_DEADLINE_MS })) === DELETE_CHUNK) opened();
    },

    close() {
      return (closing ??= close());
    },
  };
  return transport;
}

async function createTopic(
  { writer, databases }: Environment,
  topic: string,
  made: Omit<TopicRow, 'id'>,
): Promise<TopicRow> {
  const create = () => {
    const known = databases.topics.get(topic);
    if (known !== undefined) return known;
    let id = 0;
    for (const { value } of databases.topics.getRange()) id = Math.max(id, value.id);
    const row: TopicRow = { id: id + 1, ...made };
    void databases.topics.put(topic, row);
    return row;
  };
  return writer.write(create, { deadlineMs: WRITE_DEADLINE_MS });
}

// Who names a topic rules it; of two who name it, who came last.
async function keepRetention(
  { writer, databases, snapshot }: Environment,
  topic: string,
  retention: TopicRetention,
): Promise<void> {
  const before = snapshot(() => databases.topics.get(topic)!.retention);
  if (isDeepStrictEqual(before, retention)) return;
  const keep = () => void databases.topics.put(topic, { ...databases.topics.get(topic)!, retention });
  await writer.write(keep, { deadlineMs: WRITE_DEADLINE_MS });
  if (before.isNamed) {
    process.emitWarning(
      `The retention of topic "${topic}" was ${JSON.stringify(before)}, and is ${JSON.stringify(retention)} now, as the options of this process say. Give all processes that name the topic the same.`,
      { code: 'EVENT_BUS_RETENTION_CHANGED' },
    );
  }
}

function partitionPositions(
  environment: Environment,
  topic: string,
  row: TopicRow,
  partition: number,
  group: string | undefined,
): PartitionPositions {
  const { epoch, log } = environment;
  const { first, next } = log.ends(row.id, partition);
  const ends = { topic, partition, start: positionText(epoch, first), end: positionText(epoch, next) };
  const known = group === undefined ? undefined : positionOf(environment, group, { topic: row.id, partition });
  if (known === undefined) return ends;
  const { committed, ahead } = known;
  const from = Math.max(committed, first);
  const finished = mergeRanges(from, rangesOf(committed, ahead), [], Infinity);
  return { ...ends, committed: positionText(epoch, committed), lag: next - from - countOf(finished) };
}

function refuseFull(
  environment: Environment,
  { maxBytes, keepFreeBytes }: Settings,
  bytes: number,
  behind: (environment: Environment) => string,
): void {
  const { path, log } = environment;
  const stored = log.bytesWithWritten();
  if (stored + bytes > maxBytes) {
    throw new BusError(
      'BUS_FULL',
      `The log in ${path} holds ${stored} bytes, ${maxBytes} is the limit.${behind(environment)} Let the consumers catch up, shorten the retention, or raise maxBytes.`,
      { details: { bytes: stored, maxBytes, outcome: 'not-stored' } },
    );
  }
  // The rest is for commits and deletions: they need pages too.
  const freeBytes = environment.freeBytes() - log.bytesWritten;
  if (keepFreeBytes > 0 && freeBytes - bytes < keepFreeBytes) {
    throw new BusError(
      'BUS_FULL',
      `The disk of ${path} has ${freeBytes} bytes free: with ${bytes} more, fewer would be left than the ${keepFreeBytes} that are kept for commits and deletions. Free some space.`,
      { details: { freeBytes, keepFreeBytes, outcome: 'not-stored' } },
    );
  }
}

function checkTopic(topic: string, partitions: number | undefined): void {
  if (!TOPIC.test(topic) || topic === '.' || topic === '..') {
    throw new BusError(
      'BUS_CONFIG_INVALID',
      `Topic name "${topic.slice(0, 300)}" must be 1 to 249 letters, digits, dots, underscores or dashes, and not "." or "..".`,
    );
  }
  if (
    partitions !== undefined &&
    !(Number.isInteger(partitions) && partitions > 0 && partitions <= PARTITIONS_AT_MOST)
  ) {
    throw new BusError(
      'BUS_CONFIG_INVALID',
      `Topic "${topic}" must have 1 to ${PARTITIONS_AT_MOST} partitions, got ${partitions}.`,
    );
  }
}

function checkGroup(group: string): void {
  if (group === '' || Buffer.byteLength(group) > 255 || CONTROL.test(group)) {
    throw new BusError(
      'BUS_CONFIG_INVALID',
      `Group name "${group.slice(0, 300)}" must be 1 to 255 bytes without control characters.`,
    );
  }
}

// As on Kafka, so that a service can move there.
const TOPIC = /^[a-zA-Z0-9._-]{1,249}$/;
const CONTROL = /\p{Cc}/u;
const PARTITIONS_AT_MOST = 1_024;
const PUBLISH_DEADLINE_MS = 30_000;
const REVOKE_TIMEOUT_MS = 25_000;
const WRITE_DEADLINE_MS = 30_000;
const DELETE_CHUNK = 1_000;
const BEHIND_HOLDS_MS = 1_000;
