/** Processes that die at any moment lose nothing that was acknowledged, and commit nothing that was not handed over. */
import type { ChildProcess } from 'node:child_process';
import { embedded, type EmbeddedTransport } from '@event-bus/embedded';
import { seededRandom } from '@event-bus/testing';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { checkConsumers, checkSenders, type StoredLog } from './history.js';
import { build, eventually, finish, kill, Stage } from './processes.js';

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

test('senders and consumers are killed at random', async () => {
  const seed = Number(process.env.EVENT_BUS_TEST_SEED ?? Date.now() % 1_000_000);
  console.log(`seed ${seed}`);
  const random = seededRandom(seed);
  const starts = [
    ...[0, 1].map((i) => (round: number) => stage.start('sender', `sender-${i}-${round}`, '50')),
    ...[0, 1, 2].map(() => () => stage.start('consumer', 'catalog')),
  ];
  const running = new Map<number, ChildProcess>();
  const start = async (who: number, round: number) => void running.set(who, await starts[who]!(round));
  await Promise.all(starts.map((_, who) => start(who, 0)));

  let kills = 0;
  const restarts: Promise<void>[] = [];
  for (const end = performance.now() + 60_000; kills < KILLS && performance.now() < end;) {
    await new Promise((resolve) => setTimeout(resolve, 200 + random() * 600));
    const alive = [...running.keys()];
    if (alive.length < 3) continue;
    const victim = alive[Math.floor(random() * alive.length)]!;
    const child = running.get(victim)!;
    running.delete(victim);
    await kill(child);
    restarts.push(start(victim, ++kills));
  }
  await Promise.all(restarts);
  for (const sender of [0, 1]) expect(await finish(running.get(sender)!)).toBe(0);
  await drained();
  for (const consumer of [2, 3, 4]) expect(await finish(running.get(consumer)!)).toBe(0);

  const stored = await readAll();
  const sent = checkSenders(stage.histories('sender'), stored);
  const delivered = checkConsumers(stage.histories('consumer'), stored);
  console.log(
    `${kills} kills, ${stored.size} records stored, ${sent.acknowledged} acknowledged, ${delivered.deliveries} deliveries, ${delivered.commits} commits`,
  );
  expect([...sent.violations, ...delivered.violations, ...delivered.overlaps]).toEqual([]);
  // Otherwise the kills met no work, and nothing was proved.
  expect(kills).toBe(KILLS);
  expect(sent.acknowledged).toBeGreaterThan(500);
  expect(delivered.deliveries).toBeGreaterThan(stored.size);
}, 120_000);

const KILLS = 20;

async function drained(): Promise<void> {
  await eventually(
    async () => (await log.positions({ topic: 'course', group: 'catalog' })).every(({ lag }) => lag === 0),
    () => 'the group did not catch up',
    60_000,
  );
}

async function readAll(): Promise<StoredLog> {
  const stored: StoredLog = new Map();
  for await (const { partition, offset, value, key } of log.read({ topic: 'course' }))
    stored.set(`${partition}/${offset}`, {
      partition,
      offset,
      value: Buffer.from(value!).toString(),
      key: Buffer.from(key!).toString(),
    });
  return stored;
}
