import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openEnvironment, type Environment } from './environment.js';
import {
  advance,
  LEASE_MS,
  liveMembers,
  positionOf,
  takeTurn,
  type PartitionId,
  type TableCommit,
  type Turn,
} from './group-table.js';
import { machineTime, thisProcess } from './machine.js';

const retention = { ageMs: null, bytes: null, unread: 'keep', isNamed: false } as const;
const TOPIC = { id: 1, partitions: 4, retention };
const all: PartitionId[] = [0, 1, 2, 3].map((partition) => ({ topic: 1, partition }));
let environment: Environment;
beforeEach(
  async () => void (environment = await openEnvironment(mkdtempSync(join(tmpdir(), 'event-bus-table-')), true)),
);
afterEach(() => environment.release());

const write = <T>(run: () => T) => environment.writer.write(run, { deadlineMs: 5_000 });

function turn(member: string, changes: Partial<Turn> = {}) {
  return write(() =>
    takeTurn(environment, {
      group: 'catalog',
      member,
      process: thisProcess(),
      topics: [TOPIC],
      from: 'earliest',
      commits: [],
      held: [],
      isLeaving: false,
      ...changes,
    }),
  );
}

const numbers = (ids: readonly PartitionId[]) => ids.map(({ partition }) => partition);
const commit = (partition: number, position: number): TableCommit => ({ topic: 1, partition, position, ahead: [] });
const end = (member: string, until: number) =>
  write(() => void environment.databases.members.put(['catalog', member], { ...thisProcess(), topics: [1], until }));

describe('a turn at the group table', () => {
  it('takes everything for a member that is alone, and keeps it', async () => {
    expect(numbers((await turn('a')).taken)).toEqual([0, 1, 2, 3]);
    expect(await turn('a', { held: all })).toMatchObject({ taken: [], lost: [], unwanted: [] });
  });

  it('takes nothing that another still owns, and what was given back', async () => {
    await turn('a');
    expect((await turn('b')).taken).toEqual([]);
    const { unwanted } = await turn('a', { held: all });
    expect(numbers(unwanted)).toEqual([2, 3]);
    const kept = all.slice(0, 2);
    await turn('a', { held: kept });
    expect(numbers((await turn('b')).taken)).toEqual([2, 3]);
    expect(await turn('a', { held: kept })).toMatchObject({ taken: [], lost: [], unwanted: [] });
  });

  it('raises the generation when others have to look, and only then', async () => {
    const { generation } = await turn('a');
    expect((await turn('a', { held: all })).generation).toBe(generation);
    expect((await turn('b')).generation).toBe(generation + 1);
    expect((await turn('a', { held: all })).generation).toBe(generation + 1);
    expect((await turn('a', { held: all.slice(0, 2) })).generation).toBe(generation + 2);
  });

  it('notes now and then that the group is in use', async () => {
    await turn('a');
    await write(
      () => void environment.databases.groups.put('catalog', { generation: 1, seen: Date.now() - 7_200_000 }),
    );
    await turn('a', { held: all });
    expect(environment.snapshot(() => environment.databases.groups.get('catalog'))).toMatchObject({
      generation: 1,
      seen: expect.closeTo(Date.now(), -4),
    });
  });

  it('takes over from a member past its deadline, which then learns what it lost and whose commit is refused', async () => {
    await turn('a');
    await turn('b');
    await end('a', machineTime() - 1);
    expect(numbers((await turn('b')).taken)).toEqual([0, 1, 2, 3]);
    const late = await turn('a', { held: all, commits: [commit(0, 5)] });
    expect(late.commits).toEqual(['fenced']);
    expect(numbers(late.lost)).toEqual([0, 1, 2, 3]);
    expect(late.taken).toEqual([]);
    await expect(write(() => positionOf(environment, 'catalog', all[0]!)?.committed)).resolves.toBe(0);
  });

  it('gives those who live another lease when nobody could renew one', async () => {
    await turn('a');
    await turn('b');
    for (const each of ['a', 'b']) await end(each, machineTime() - 60_000);
    expect((await turn('b')).taken).toEqual([]);
    expect(await turn('a', { held: all, commits: [commit(0, 5)] })).toMatchObject({ commits: ['committed'], lost: [] });
    for (const each of ['a', 'b']) await end(each, machineTime() - 60_000);
    await turn('b');
    await end('a', machineTime() - 1);
    expect(numbers((await turn('b')).taken)).toEqual([0, 1, 2, 3]);
  });

  it('takes over from a process that is gone, whatever its deadline says', async () => {
    await turn('a', { process: { pid: 2 ** 22 + 1, started: '1' } });
    expect(numbers((await turn('b')).taken)).toEqual([0, 1, 2, 3]);
  });

  it('renews a lease that ended while nobody else wanted it', async () => {
    await turn('a');
    await end('a', machineTime() - 1);
    const again = await turn('a', { held: all, commits: [commit(0, 3)] });
    expect(again).toMatchObject({ commits: ['committed'], lost: [], taken: [] });
    expect(again.until).toBeGreaterThan(machineTime() + LEASE_MS / 2);
  });

  it('goes through the table again once another comes or dies, however settled it was', async () => {
    await turn('a');
    const { generation } = await turn('a', { held: all });
    expect(await turn('a', { held: all, settledAt: generation })).toMatchObject({
      generation,
      unwanted: [],
      taken: [],
    });
    await turn('b');
    expect(numbers((await turn('a', { held: all, settledAt: generation })).unwanted)).toEqual([2, 3]);
    await turn('a', { held: all.slice(0, 2) });
    const { generation: settledAt } = await turn('b');
    await end('b', machineTime() - 1);
    expect(numbers((await turn('a', { held: all.slice(0, 2), settledAt })).taken)).toEqual([2, 3]);
  });

  it('gives everything back when it leaves', async () => {
    await turn('a');
    await turn('a', { held: all, isLeaving: true });
    expect(await write(() => liveMembers(environment, 'catalog', 1))).toEqual([]);
    expect(numbers((await turn('b')).taken)).toEqual([0, 1, 2, 3]);
  });

  it('hands the position on with the partition', async () => {
    await turn('a');
    await turn('a', { held: all, commits: [{ topic: 1, partition: 1, position: 7, ahead: [9, 10] }] });
    await turn('a', { held: all, isLeaving: true });
    const { taken } = await turn('b');
    expect(taken[1]).toMatchObject({ position: 7, ahead: [[9, 11]] });
  });

  it('takes again what a turn took whose answer never came', async () => {
    await turn('a');
    expect(numbers((await turn('a', { held: [] })).taken)).toEqual([0, 1, 2, 3]);
  });

  it('shares a topic only among those who want it', async () => {
    const other = { id: 2, partitions: 2, retention };
    await turn('a', { topics: [TOPIC, other] });
    await turn('b');
    const { unwanted } = await turn('a', {
      topics: [TOPIC, other],
      held: [...all, { topic: 2, partition: 0 }, { topic: 2, partition: 1 }],
    });
    expect(unwanted.map(({ topic }) => topic)).toEqual([1, 1]);
  });
});

describe('advance', () => {
  const row = { committed: 5, ahead: [2, 3] };

  it('never moves back', () => {
    expect(advance(row, 3, [])).toEqual(row);
  });

  it('moves past what was finished ahead', () => {
    expect(advance(row, 7, [])).toEqual({ committed: 10, ahead: [] });
    expect(advance(row, 6, [6])).toEqual({ committed: 10, ahead: [] });
  });

  it('keeps what others finished ahead and adds to it', () => {
    expect(advance(row, 6, [12])).toEqual({ committed: 6, ahead: [1, 3, 2, 1] });
  });
});
