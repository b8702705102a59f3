import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { TopicRetention } from './databases.js';
import { openEnvironment, type Environment } from './environment.js';
import { encodeFrames } from './frame.js';
import { machineTime, thisProcess } from './machine.js';
import { Janitor } from './retention.js';

const DAY_MS = 24 * 3_600_000;
let environment: Environment;
beforeEach(async () => {
  environment = await openEnvironment(mkdtempSync(join(tmpdir(), 'event-bus-retention-')), true);
});
afterEach(() => environment.release());

const write = <T>(run: () => T) => environment.writer.write(run, { deadlineMs: 5_000 });
const frames = (count: number) =>
  encodeFrames(Array.from({ length: count }, () => ({ key: null, value: Buffer.alloc(76), headers: [] })));
const append = (partition: number, count: number, time: number) =>
  write(() => frames(count).forEach((frame) => environment.log.append(1, partition, frame, time)));
const first = (partition: number) => environment.snapshot(() => environment.log.ends(1, partition).first);
const reached = (group: string, partition: number, committed: number, seen = Date.now()) =>
  write(() => {
    void environment.databases.positions.put([1, partition, group], { committed, ahead: [] });
    void environment.databases.groups.put(group, { generation: 1, seen });
  });

async function sweep(rules: Partial<TopicRetention>, times = 1): Promise<void> {
  const retention = { ageMs: null, bytes: null, unread: 'keep', isNamed: false, ...rules } as const;
  await write(() => void environment.databases.topics.put('course', { id: 1, partitions: 2, retention }));
  const janitor = new Janitor(environment, 1_000_000);
  for (let i = 0; i < times; i++) await janitor.run();
  await janitor.close();
}

describe('retention', () => {
  it('deletes what is too old, in more than one step, and nothing younger', async () => {
    await append(0, 2_500, Date.now() - 3 * DAY_MS);
    await append(0, 10, Date.now() - DAY_MS);
    await sweep({ ageMs: 2 * DAY_MS });
    expect(first(0)).toBe(2_500);
  });

  it('deletes all of a partition that is too old, and goes on counting', async () => {
    await append(0, 5, Date.now() - 3 * DAY_MS);
    await sweep({ ageMs: DAY_MS });
    expect(environment.snapshot(() => environment.log.ends(1, 0))).toMatchObject({ first: 5, next: 5, bytes: 0 });
    await append(0, 1, Date.now());
    expect(environment.snapshot(() => environment.log.offsetAt(1, 0, Date.now() - 1_000))).toBe(5);
  });

  it('deletes the oldest of a topic that is too large', async () => {
    await append(0, 50, Date.now() - 2 * DAY_MS);
    await append(1, 50, Date.now() - DAY_MS);
    await sweep({ bytes: 7_000 });
    expect([first(0), first(1)]).toEqual([30, 0]);
  });

  it('keeps what a group has not read', async () => {
    await append(0, 100, Date.now() - 3 * DAY_MS);
    await reached('catalog', 0, 40);
    await reached('search', 0, 70);
    await sweep({ ageMs: DAY_MS });
    expect(first(0)).toBe(40);
    await sweep({ bytes: 1 });
    expect(first(0)).toBe(40);
  });

  it('drops it where it was told to', async () => {
    await append(0, 100, Date.now() - 3 * DAY_MS);
    await reached('catalog', 0, 40);
    await sweep({ ageMs: DAY_MS, unread: 'drop' });
    expect(first(0)).toBe(100);
  });

  it('warns about a group that is away for long, and stops waiting for it in the end', async () => {
    const warnings: string[] = [];
    const hear = (warning: Error) => void warnings.push(warning.message);
    process.on('warning', hear);
    await append(0, 100, Date.now() - 3 * DAY_MS);
    await reached('away', 0, 10, Date.now() - 20 * DAY_MS);
    await sweep({ ageMs: DAY_MS });
    expect(first(0)).toBe(10);
    await new Promise((resolve) => setImmediate(resolve));
    process.off('warning', hear);
    expect(warnings).toEqual([expect.stringContaining('"away"')]);
    await reached('away', 0, 10, Date.now() - 31 * DAY_MS);
    await sweep({ ageMs: DAY_MS });
    expect(first(0)).toBe(10);
    await sweep({ ageMs: DAY_MS }, 2);
    expect(first(0)).toBe(100);
  });

  it('keeps the unread records of a group that runs, whatever the clock says', async () => {
    await append(0, 100, Date.now() - 3 * DAY_MS);
    await reached('catalog', 0, 10, Date.now() - 31 * DAY_MS);
    await write(
      () =>
        void environment.databases.members.put(['catalog', 'a'], {
          ...thisProcess(),
          topics: [1],
          until: machineTime() + 60_000,
        }),
    );
    await sweep({ ageMs: DAY_MS }, 3);
    expect(first(0)).toBe(10);
  });
});
