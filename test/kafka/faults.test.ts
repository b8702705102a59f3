/** Edits of courses go on while brokers and members die, move, pause and come back: nothing is lost, and each course stays in order. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { addressesOf, startRegistry, startServers, type KafkaServers } from './broker.js';
import { Courses, type Member } from './courses.js';
import { eventually, kafkajs } from './port.js';

const EDITS = Number(process.env['EVENT_BUS_TEST_EDITS'] ?? 20_000);
// So long that some are always at work: a fault that meets none proves nothing.
const HANDLE_MS = 20;

const registry = await startRegistry();
const single = await startServers({ own: true });
const cluster = await startServers({ own: true, brokers: 3 });

describe.skipIf(!registry || !single || !cluster)('edits of courses', () => {
  const open: Courses[] = [];
  afterEach(async () => {
    for (const courses of open.splice(0)) await courses.close();
  });
  afterAll(async () => {
    await Promise.all([registry!.stop(), single!.stop(), cluster!.stop()]);
  });

  async function setup(servers: KafkaServers, partitions = 6): Promise<Courses> {
    const brokers = addressesOf(servers);
    const courses = new Courses({ brokers, registry: registry!.env.SCHEMA_REGISTRY_URL, partitions });
    open.push(courses);
    await courses.open();
    return courses;
  }

  it('outlive a broker that is killed and started again in their middle', async () => {
    const courses = await setup(single!);
    await courses.join(HANDLE_MS);
    const editing = courses.edit(EDITS, { pauseMs: 5 });
    await eventually(() => courses.count('effect') > EDITS / 3, 300_000);

    courses.note('kill', 'fault-on');
    await single!.kill();
    await single!.restart();
    courses.note('kill', 'fault-off');
    await editing;

    expect(await courses.verdicts({ mustMeetWork: ['kill'] })).toBe('');
    report(courses, 'kill -9 of the broker');
    expect(courses.count('sent')).toBe(EDITS);
  }, 600_000);

  it('outlive a rolling restart of three brokers', async () => {
    const courses = await setup(cluster!);
    await courses.join(HANDLE_MS);
    await courses.join(HANDLE_MS);
    const stop = new AbortController();
    const editing = courses.edit(Infinity, { pauseMs: 20, until: stop.signal });

    for (const broker of [1, 2, 3]) {
      const before = courses.count('effect');
      await eventually(() => courses.count('effect') > before + 200, 120_000);
      courses.note(`restart ${broker}`, 'fault-on');
      await cluster!.restart(broker);
      courses.note(`restart ${broker}`, 'fault-off');
    }
    stop.abort();
    await editing;

    expect(await courses.verdicts({ mustMeetWork: ['restart 1', 'restart 2', 'restart 3'] })).toBe('');
    report(courses, 'rolling restart');
  }, 600_000);

  it('outlive leaders that move', async () => {
    const courses = await setup(cluster!);
    await courses.join(HANDLE_MS);
    const stop = new AbortController();
    const editing = courses.edit(Infinity, { pauseMs: 10, until: stop.signal });

    for (let move = 0; move < 6; move++) {
      const before = courses.count('effect');
      await eventually(() => courses.count('effect') > before + 200, 120_000);
      courses.note(`move ${move}`, 'fault-on');
      await moveLeaders(addressesOf(cluster), courses.topic, 6, move);
    }
    stop.abort();
    await editing;

    expect(await courses.verdicts({ mustMeetWork: ['move 0', 'move 5'] })).toBe('');
    report(courses, 'leader moves');
  }, 600_000);

  it('are handled once each while a second and a third member come and go 20 times', async () => {
    const courses = await setup(single!);
    await courses.join(50);
    const stop = new AbortController();
    const editing = courses.edit(Infinity, { pauseMs: 50, until: stop.signal });
    await eventually(() => courses.count('effect') > 100);

    const guests: Member[] = [];
    for (let joined = 0; joined < 20; joined++) {
      const guest = await courses.join(50);
      guests.push(guest);
      await eventually(() => guest.bus.status().consumers[0]!.inFlight > 0, 120_000);
      if (guests.length > 1) await guests.shift()!.close();
    }
    await Promise.all(guests.map((guest) => guest.close()));
    stop.abort();
    await editing;

    expect(await courses.verdicts({ maxEffects: 1 })).toBe('');
    report(courses, '20 joins and leaves');
  }, 600_000);

  it('go on when a member stands still past its session, and count nothing that it does afterwards', async () => {
    build();
    const courses = await setup(single!);
    const still = await courses.joinProcess(20);
    await courses.join(20);
    const stop = new AbortController();
    const editing = courses.edit(Infinity, { pauseMs: 100, until: stop.signal });
    const ofStill = (type: string) => still.lines().filter((line) => line.type === type).length;
    await eventually(() => ofStill('committed') > 0 && courses.count('committed') > 0, 120_000);

    // Right after a commit: between the broker's answer and its line in the history it must not stop.
    const commits = ofStill('committed');
    await eventually(() => ofStill('committed') > commits && isBusy(still.lines()), 60_000);
    courses.note('stop', 'fault-on');
    still.child.kill('SIGSTOP');
    const before = courses.lines().filter((line) => line.type === 'assigned' && line.process !== still.name).length;
    await eventually(
      () => courses.lines().filter((line) => line.type === 'assigned' && line.process !== still.name).length > before,
      120_000,
    );
    const assigned = ofStill('assigned');
    still.child.kill('SIGCONT');
    await eventually(() => ofStill('assigned') > assigned, 120_000);
    courses.note('stop', 'fault-off');
    stop.abort();
    await editing;

    expect(await courses.verdicts({ mustMeetWork: ['stop'] })).toBe('');
    report(courses, 'SIGSTOP past the session');
  }, 600_000);
});

function report(courses: Courses, what: string): void {
  const counts = ['sent', 'unknown', 'refused', 'effect', 'committed', 'assigned'] as const;
  const lines = courses.lines();
  const texts = counts.map((type) => `${lines.filter((line) => line.type === type).length} ${type}`);
  console.log(
    `${what}: ${texts.join(', ')}, ${courses.doubled()} effects more than once, longest wait ${courses.longestWaitMs()} ms`,
  );
}

/** Whether it has deliveries that are not settled. */
function isBusy(lines: ReturnType<Courses['lines']>): boolean {
  const count = (type: string) => lines.filter((line) => line.type === type).length;
  return count('delivered') > count('settled');
}

/** Each partition has two of the three brokers; the one that leads leaves, so that the other has to. */
async function moveLeaders(
  brokers: readonly string[],
  topic: string,
  partitions: number,
  round: number,
): Promise<void> {
  const admin = new kafkajs.Kafka({ brokers: [...brokers], logLevel: 0 }).admin();
  await admin.connect();
  const replicas = [1, 2].map((step) => ((round + step) % 3) + 1);
  const partitionAssignment = Array.from({ length: partitions }, (_, partition) => ({ partition, replicas }));
  await admin.alterPartitionReassignments({ topics: [{ topic, partitionAssignment }] });
  await eventually(async () => {
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
    return topics[0]!.partitions.every(({ replicas: now, leader }) => now.length === 2 && replicas.includes(leader));
  }, 60_000);
  await admin.disconnect();
}

/** What a process of its own runs. */
function build(): void {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  execFileSync(process.execPath, [tsc, '-b', 'libs/kafka', 'libs/openedx'], { cwd: root, stdio: 'inherit' });
}
