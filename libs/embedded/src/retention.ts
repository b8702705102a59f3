/**
 * Forgets old records, a thousand at a time. Every process that has the log open looks now and then; deleting is a write like any other,
 * so two of them never delete the same. The rules are the topic's, whoever looks. What a group has not read yet is kept, unless the topic was told to drop it: then the group
 * learns the exact range when it reads on.
 */
import { BusError } from '@event-bus/core';
import type { TopicRow } from './databases.js';
import type { Environment } from './environment.js';
import { liveMembers } from './group-table.js';

export interface RetentionRules {
  /** Records older than this are deleted, in milliseconds. `Infinity`: never for their age. */
  readonly ageMs: number;
  /** Of a topic with more bytes than this the oldest records are deleted. `Infinity`: never for their size. */
  readonly bytes: number;
  /** Whether records that a group has not read are kept all the same. */
  readonly unread: 'keep' | 'drop';
}

export class Janitor {
  readonly #timer: NodeJS.Timeout;
  #running: Promise<void> | undefined;
  #isClosed = false;

  constructor(
    private readonly environment: Environment,
    everyMs: number,
  ) {
    this.#timer = setInterval(() => void this.run().catch(warn), everyMs).unref();
  }

  /** Deletes what the rules say, now. */
  run(): Promise<void> {
    return (this.#running ??= this.#sweep().finally(() => (this.#running = undefined)));
  }

  /** Resolves when it does nothing any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#timer);
    await this.#running?.catch(() => {});
  }

  async #sweep(): Promise<void> {
    const topics = this.environment.snapshot(() =>
      [...this.environment.databases.topics.getRange()].map(({ value }) => value),
    );
    const overdue = this.environment.snapshot(() => this.#overdueNow());
    for (const row of topics) {
      const rules = rulesOf(row);
      while (!this.#isClosed && this.environment.snapshot(() => this.#trimmable(row, rules)) !== undefined) {
        // Looked up again inside: another process may have been quicker.
        const trim = () => {
          const found = this.#trimmable(row, rules);
          return found === undefined
            ? 0
            : this.environment.log.trim(row.id, found.partition, found.upTo, CHUNK_RECORDS);
        };
        if ((await this.environment.writer.write(trim, { deadlineMs: WRITE_DEADLINE_MS })) === 0) break;
      }
    }
    this.#overdue = overdue;
  }

  /** The partition to trim next and the offset up to which that is allowed. */
  #trimmable(
    topic: TopicRow,
    rules: RetentionRules,
  ): { readonly partition: number; readonly upTo: number } | undefined {
    const { log } = this.environment;
    const tooOld = Date.now() - rules.ageMs;
    let oldest: { partition: number; upTo: number; time: number } | undefined;
    let bytes = 0;
    for (let partition = 0; partition < topic.partitions; partition++) {
      const ends = log.ends(topic.id, partition);
      bytes += ends.bytes;
      const limit = rules.unread === 'drop' ? ends.next : Math.min(ends.next, this.#slowest(topic, partition));
      if (ends.first >= limit) continue;
      const time = log.oldestTime(topic.id, partition) ?? 0;
      if (time < tooOld) {
        const upTo = Math.min(limit, log.offsetAt(topic.id, partition, tooOld));
        if (upTo > ends.first) return { partition, upTo };
      }
      if (oldest === undefined || time < oldest.time) oldest = { partition, upTo: limit, time };
    }
    if (bytes <= rules.bytes || oldest === undefined) return undefined;
    return {
      partition: oldest.partition,
      upTo: Math.min(oldest.upTo, this.#afterBytes(topic, oldest.partition, bytes - rules.bytes)),
    };
  }

  // The committed offset of the group that is farthest behind.
  #slowest(topic: TopicRow, partition: number): number {
    const { positions } = this.environment.databases;
    let slowest = Infinity;
    for (const { key, value } of positions.getRange({
      start: [topic.id, partition, ''],
      end: [topic.id, partition, LAST],
    })) {
      if (this.#isForgotten(key[2])) continue;
      slowest = Math.min(slowest, value.committed);
    }
    return slowest;
  }

  readonly #warned = new Set<string>();
  /** Groups that had been away for too long at the sweep before, and when they had been seen. */
  #overdue = new Map<string, number>();

  // A clock that was set forward makes every group look long away: whoever lives, or comes back until the next sweep, is not forgotten.
  #isForgotten(group: string): boolean {
    const seen = this.environment.databases.groups.get(group)?.seen ?? Date.now();
    const awayMs = Date.now() - seen;
    if (awayMs <= GROUP_FORGOTTEN_MS / 2 || liveMembers(this.environment, group).length > 0) return false;
    if (!this.#warned.has(group)) {
      this.#warned.add(group);
      process.emitWarning(
        `Group "${group}" had no member for ${Math.floor(awayMs / DAY_MS)} days. After ${GROUP_FORGOTTEN_MS / DAY_MS} its unread records are not kept any more.`,
        { code: 'EVENT_BUS_GROUP_AWAY' },
      );
    }
    return this.#overdue.get(group) === seen;
  }

  #overdueNow(): Map<string, number> {
    const before = Date.now() - GROUP_FORGOTTEN_MS;
    const groups = [...this.environment.databases.groups.getRange()];
    return new Map(groups.filter(({ value }) => value.seen < before).map(({ key, value }) => [key, value.seen]));
  }

  /** The offset behind the oldest `bytes` bytes. */
  #afterBytes(topic: TopicRow, partition: number, bytes: number): number {
    return this.environment.log.offsetAfterBytes(topic.id, partition, bytes, CHUNK_RECORDS);
  }
}

function rulesOf({ retention: { ageMs, bytes, unread } }: TopicRow): RetentionRules {
  return { ageMs: ageMs ?? Infinity, bytes: bytes ?? Infinity, unread };
}

function warn(error: unknown): void {
  process.emitWarning(
    `Old records could not be deleted: ${error instanceof BusError ? error.message : String(error)}`,
    { code: 'EVENT_BUS_RETENTION' },
  );
}

const CHUNK_RECORDS = 1_000;
const WRITE_DEADLINE_MS = 30_000;
const DAY_MS = 24 * 3_600_000;
const GROUP_FORGOTTEN_MS = 30 * DAY_MS;
const LAST = '\u{10ffff}';
