/** Several processes share the partitions of a group; who comes, goes or stands still loses nothing for the others. */
import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { compact, embedded, type EmbeddedTransport } from '@event-bus/embedded';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { lockHolder } from '../../libs/embedded/src/lock.js';
import { checkConsumers, checkSenders, numberOf, type StoredLog } from './history.js';
import { build, eventually, finish, kill, Stage, type Line } from './processes.js';

beforeAll(build);
let stage: Stage;
let log: EmbeddedTransport;
beforeEach(async () => {
  stage = new Stage();
  log = embedded({ path: stage.path });
  await log.open();
  await log.ensureTopic('course', { partitions: 6 });
});
afterEach(async () => {
  await log.close();
  await stage.end();
});

test('members that join and leave move partitions without losing or doubling a record', async () => {
  const sender = await stage.start('sender', 'sender', '60');
  const first = await stage.start('consumer', 'catalog');
  await eventually(
    () => owned(first.pid!).size === 6,
    () => `the first member holds ${[...owned(first.pid!)].join(', ')}`,
  );

  const second = await stage.start('consumer', 'catalog');
  await eventually(
    () => owned(first.pid!).size === 3 && owned(second.pid!).size === 3,
    () => 'two members do not share',
  );
  const third = await stage.start('consumer', 'catalog');
  await eventually(
    () => [first, second, third].every(({ pid }) => owned(pid!).size === 2),
    () => 'three members do not share',
  );
  expect(await finish(third)).toBe(0);
  await eventually(
    () => owned(first.pid!).size + owned(second.pid!).size === 6,
    () => 'the partitions of the third found no owner',
  );
  expect(await finish(first)).toBe(0);
  await eventually(
    () => owned(second.pid!).size === 6,
    () => 'the last member does not hold all',
  );

  await finish(sender);
  await drained();
  await finish(second);
  const stored = await readAll();
  const sent = checkSenders(stage.histories('sender'), stored);
  const delivered = checkConsumers(stage.histories('consumer'), stored);
  expect([...sent.violations, ...delivered.violations]).toEqual([]);
  expect(delivered).toMatchObject({ deliveries: stored.size, doubled: 0, fenced: 0, overlaps: [] });
}, 120_000);

test('the partitions of a killed member are taken within moments, not at the end of its lease', async () => {
  const [first, second] = [await stage.start('consumer', 'catalog'), await stage.start('consumer', 'catalog')];
  await eventually(
    () => owned(first.pid!).size === 3 && owned(second.pid!).size === 3,
    () => 'two members do not share',
  );
  await kill(first);
  await eventually(
    () => owned(second.pid!).size === 6,
    () => 'the partitions found no owner',
    4_000,
  );
}, 60_000);

test('a member that stood still past its lease is fenced, and asks before it goes on', async () => {
  const sender = await stage.start('sender', 'sender', '60');
  const [still, other] = [await stage.start('consumer', 'catalog'), await stage.start('consumer', 'catalog')];
  await eventually(
    () => owned(still.pid!).size === 3 && owned(other.pid!).size === 3,
    () => 'two members do not share',
  );

  await stopOutsideTheLock(still);
  const atStop = new Map(
    (await log.positions({ topic: 'course', group: 'catalog' })).map(({ partition, committed }) => [
      partition,
      numberOf(committed!),
    ]),
  );
  await eventually(
    () => owned(other.pid!).size === 6,
    () => 'nobody took over',
  );
  await eventually(
    async () => handedBy(other.pid!) > 500,
    () => 'the other does not go on',
  );
  const before = linesBy(still.pid!).length;
  still.kill('SIGCONT');
  await eventually(
    () => owned(still.pid!).size === 3 && owned(other.pid!).size === 3,
    () => 'the member did not come back',
  );

  await finish(sender);
  await drained();
  await finish(still);
  await finish(other);
  const stored = await readAll();
  expect([
    ...checkSenders(stage.histories('sender'), stored).violations,
    ...checkConsumers(stage.histories('consumer'), stored).violations,
  ]).toEqual([]);
  const after = linesBy(still.pid!).slice(before);
  const lost = after.findIndex(({ type, isLost }) => type === 'revoking' && isLost === true);
  expect(lost, 'it never learnt that its partitions are gone').toBeGreaterThanOrEqual(0);
  // What was done in the instant of the stop is noted after it: a batch of each partition, and commits that were taken by then.
  const handed = after.slice(0, lost).filter(({ type }) => type === 'delivered');
  expect(new Set(handed.map(({ partition }) => partition as number)).size).toBe(handed.length);
  const early = after
    .slice(
      0,
      after.findIndex(({ type }) => type === 'assigned'),
    )
    .flatMap(({ places }) => (places ?? []) as { partition: number; position: string; answer: string }[])
    .filter(({ partition, position }) => numberOf(position) > atStop.get(partition)!);
  expect(early.filter(({ answer }) => answer === 'committed')).toEqual([]);
}, 120_000);

test('a service that computed past its lease starts no handler for what another has handled', async () => {
  const busy = await stage.start('handler', '8000');
  const other = await stage.start('handler', '0');
  const handledBy = (pid: number) =>
    stage
      .histories('handler')
      .flat()
      .filter(({ name }) => name === pid);
  other.send('send');
  await eventually(
    () => handledBy(other.pid!).length === 32,
    () => `the other handled ${handledBy(other.pid!).length} of 32`,
  );
  expect(await finish(busy)).toBe(0);
  expect(await finish(other)).toBe(0);
  expect(handledBy(busy.pid!).map(({ key }) => key as string)).toEqual(['key-0']);
}, 60_000);

test('a record wakes another process by the bell', async () => {
  const seen: string[] = [];
  await log.subscribe(
    { topics: ['course'], group: 'catalog' },
    {
      assigned() {},
      receive: ({ records }) => void seen.push(...records.map(({ value }) => Buffer.from(value!).toString())),
      revoking: async () => {},
      lost() {},
      trouble() {},
    },
  );
  await eventually(
    () => log.stats().wakeUp === 'bell',
    () => `readers wake by ${log.stats().wakeUp}`,
  );
  const publisher = await stage.run('publisher');
  publisher.send('ring');
  await eventually(
    () => seen.includes('ring'),
    () => 'the record did not arrive',
    5_000,
  );
  expect(await finish(publisher)).toBe(0);
}, 60_000);

test('a log that another process has open is not compacted', async () => {
  const publisher = await stage.run('publisher');
  await log.close();
  const to = join(stage.directory, 'copy');
  await expect(compact({ from: stage.path, to })).rejects.toMatchObject({
    code: 'BUS_BUSY',
    details: { pids: [publisher.pid] },
  });
  expect(await finish(publisher)).toBe(0);
  await compact({ from: stage.path, to });
});

test('positions never move back while members come and go', async () => {
  const sender = await stage.start('sender', 'sender', '60');
  const members = [await stage.start('consumer', 'catalog')];
  const reached = new Map<number, number>();
  const watch = async () => {
    for (const { partition, committed } of await log.positions({ topic: 'course', group: 'catalog' })) {
      if (committed === undefined) continue;
      expect(numberOf(committed)).toBeGreaterThanOrEqual(reached.get(partition) ?? 0);
      reached.set(partition, numberOf(committed));
    }
  };
  for (let round = 0; round < 3; round++) {
    members.push(await stage.start('consumer', 'catalog'));
    for (let i = 0; i < 20; i++) {
      await watch();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await kill(members.shift()!);
  }
  await finish(sender);
  await drained();
  await watch();
}, 120_000);

// Who is stopped with the lock in hand holds up everybody.
async function stopOutsideTheLock(child: ChildProcess): Promise<void> {
  for (;;) {
    child.kill('SIGSTOP');
    await eventually(
      () => readFileSync(`/proc/${child.pid}/stat`, 'latin1').includes(') T '),
      () => 'the process does not stop',
    );
    if (lockHolder(stage.path) !== child.pid) return;
    child.kill('SIGCONT');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const linesBy = (pid: number): Line[] => stage.histories('consumer').find((lines) => lines[0]?.name === pid) ?? [];

function owned(pid: number): Set<number> {
  const partitions = new Set<number>();
  for (const line of linesBy(pid)) {
    if (line.type === 'assigned') for (const partition of line.partitions as number[]) partitions.add(partition);
    if (line.type === 'revoking') for (const partition of line.partitions as number[]) partitions.delete(partition);
  }
  return partitions;
}

const handedBy = (pid: number): number =>
  linesBy(pid).reduce((sum, { records }) => sum + ((records as unknown[] | undefined)?.length ?? 0), 0);

async function drained(): Promise<void> {
  await eventually(
    async () => (await log.positions({ topic: 'course', group: 'catalog' })).every(({ lag }) => lag === 0),
    () => 'the group did not catch up',
    60_000,
  );
}

async function readAll(): Promise<StoredLog> {
  const stored: StoredLog = new Map();
  for await (const { partition, offset, value, key } of log.read({ topic: 'course' })) {
    stored.set(`${partition}/${offset}`, {
      partition,
      offset,
      value: Buffer.from(value!).toString(),
      key: Buffer.from(key!).toString(),
    });
  }
  return stored;
}
