/** What the disk does to the log: full, without power, with a flipped bit, with readers that stand still. */
import {
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import type { PublishOutcome, StoredRecord } from '@event-bus/core';
import { embedded, type EmbeddedOptions, type EmbeddedTransport } from '@event-bus/embedded';
import { afterEach, beforeAll, beforeEach, expect, test, type TestContext } from 'vitest';
import { cuttableDisk, smallDisk, type Mount } from './mounts.js';
import { build, eventually, kill, Stage } from './processes.js';

beforeAll(build);
let stage: Stage;
const open = new Set<EmbeddedTransport>();
const mounts = new Set<Mount>();
beforeEach(() => void (stage = new Stage()));
afterEach(async () => {
  for (const log of open) await log.close();
  open.clear();
  await stage.end();
  for (const mount of mounts) mount.end();
  mounts.clear();
});

async function opened(path: string, options: EmbeddedOptions = {}): Promise<EmbeddedTransport> {
  const log = embedded({ path, ...options });
  await log.open();
  open.add(log);
  await log.ensureTopic('course', { partitions: 2 });
  return log;
}

async function shut(log: EmbeddedTransport): Promise<void> {
  open.delete(log);
  await log.close();
}

function diskOr(skip: TestContext['skip'], mount: Mount | string): Mount {
  if (typeof mount === 'string') {
    console.log(`Skipped: ${mount}.`);
    skip(mount);
    throw new Error('not reached');
  }
  mounts.add(mount);
  return mount;
}

const large = (n: number) => ({
  key: Buffer.from(`k${n}`),
  value: Buffer.concat([Buffer.from(`${n}:`), Buffer.alloc(20_000, 'x')]),
  headers: [],
});
const numberOf = ({ value }: StoredRecord) => Number(Buffer.from(value!).toString().split(':')[0]);

async function all(log: EmbeddedTransport): Promise<StoredRecord[]> {
  const records: StoredRecord[] = [];
  for await (const record of log.read({ topic: 'course' })) records.push(record);
  return records;
}

function fillUp(path: string): void {
  const file = openSync(path, 'w');
  try {
    for (;;) writeSync(file, Buffer.alloc(4_096));
  } catch (error) {
    expect(error).toMatchObject({ code: 'ENOSPC' });
  } finally {
    closeSync(file);
  }
}

/** Publishes until something is refused; answers the numbers that were stored and the refusal. */
async function fill(
  log: EmbeddedTransport,
  first = 0,
): Promise<{ stored: number[]; refused: Exclude<PublishOutcome, { status: 'stored' }> }> {
  const stored: number[] = [];
  for (let n = first; ; n++) {
    const [outcome] = await log.publish('course', [large(n)]);
    if (outcome!.status !== 'stored') return { stored, refused: outcome! };
    stored.push(n);
  }
}

test('a full disk is a typed error; what was acknowledged stays, and with more room it goes on', async ({ skip }) => {
  const disk = diskOr(skip, smallDisk(16));
  const log = await opened(join(disk.path, 'log'), { keepFreeBytes: 0 });

  const { stored, refused } = await fill(log);
  expect(refused).toMatchObject({ status: 'not-stored', error: { code: 'BUS_FULL' } });
  expect(stored.length).toBeGreaterThan(100);
  expect((await all(log)).map(numberOf).sort((a, b) => a - b)).toEqual(stored);

  disk.grow(64);
  let more: PublishOutcome | undefined;
  await eventually(
    async () => (([more] = await log.publish('course', [large(stored.length)])), more!.status === 'stored'),
    () => JSON.stringify(more),
  );
  await shut(log);
  const again = await opened(join(disk.path, 'log'), { keepFreeBytes: 0 });
  expect(new Set((await all(again)).map(numberOf))).toEqual(new Set([...stored, stored.length]));
});

test('a log on a full disk is refused or opened, and never ends the process', async ({ skip }) => {
  const disk = diskOr(skip, smallDisk(16));
  await shut(await opened(join(disk.path, 'log')));
  await shut(await opened(join(disk.path, 'restored')));
  rmSync(join(disk.path, 'restored', 'lock.mdb'));
  fillUp(join(disk.path, 'filler'));

  for (const name of ['new', 'restored'])
    await expect(embedded({ path: join(disk.path, name) }).open()).rejects.toMatchObject({ code: 'BUS_FULL' });
  const log = await opened(join(disk.path, 'log'));
  expect(await log.topics()).toEqual([{ topic: 'course', partitions: 2 }]);

  disk.grow(32);
  await opened(join(disk.path, 'new'));
  const { size, blocks } = statSync(join(disk.path, 'new', 'lock.mdb'));
  expect(blocks * 512).toBeGreaterThanOrEqual(size);
});

test('before the disk is full new records are refused, while commits and deletions go on', async ({ skip }) => {
  const disk = diskOr(skip, smallDisk(32));
  const log = await opened(join(disk.path, 'log'), { keepFreeBytes: 16 * 2 ** 20 });
  const { stored, refused } = await fill(log);
  expect(refused).toMatchObject({
    status: 'not-stored',
    error: { code: 'BUS_FULL', message: expect.stringContaining('are kept') },
  });
  const { bavail, bsize } = statfsSync(disk.path);
  expect(bavail * bsize).toBeGreaterThan(15.5 * 2 ** 20);

  let handed = 0;
  const subscription = await log.subscribe(
    { topics: ['course'], group: 'catalog' },
    {
      assigned() {},
      receive: ({ records }) => void (handed += records.length),
      revoking: async () => {},
      lost() {},
      trouble() {},
    },
  );
  await eventually(
    () => handed === stored.length,
    () => `${handed} of ${stored.length} were handed over`,
  );
  const ends = await log.positions({ topic: 'course' });
  const answers = await subscription.commit(
    ends.map(({ partition, end }) => ({ topic: 'course', partition, position: end!, ahead: [] })),
  );
  expect(answers).toEqual(['committed', 'committed']);
  for (const { partition, end } of ends) await log.deleteBefore('course', partition, end!);
  expect(await all(log)).toEqual([]);
  // The file does not shrink, but its pages are free again.
  const roomy = await opened(join(disk.path, 'log'), { keepFreeBytes: 0 });
  expect((await fill(roomy, stored.length)).stored.length).toBeGreaterThan(stored.length / 2);
});

test('a log over its own limit says so', async () => {
  const log = await opened(stage.path, { maxBytes: 200_000 });
  await log.seek({ topic: 'course', group: 'mistyped', to: 'start' });
  const { stored, refused } = await fill(log);
  expect(stored).toHaveLength(9);
  expect(refused).toMatchObject({
    status: 'not-stored',
    error: {
      code: 'BUS_FULL',
      message: expect.stringMatching(/Group "mistyped" has 9 records still to finish.*maxBytes/),
    },
  });
});

interface SenderMessage {
  readonly refused?: string;
  readonly value: string;
  readonly partition: number;
  readonly offset: string;
}

test('without power nothing acknowledged is lost', async ({ skip }) => {
  const disk = diskOr(skip, cuttableDisk(256));
  const acknowledged = new Map<string, string>();
  for (let round = 0; round < 5; round++) {
    const path = join(disk.path, 'log');
    const before = acknowledged.size;
    const sender = await stage.runOn(path, 'many-sends', `round-${round}`);
    const refusals = new Set<string>();
    sender.on('message', ({ refused, value, partition, offset }: SenderMessage) => {
      if (refused === undefined) acknowledged.set(value, `${partition}/${offset}`);
      else refusals.add(refused);
    });
    await eventually(
      () => acknowledged.size > before + 300,
      () => `${acknowledged.size - before} were acknowledged in round ${round}`,
    );
    disk.cutPower();
    // The process lives, and says what is wrong.
    await eventually(
      () => refusals.size > 0,
      () => `nothing was refused; the sender's exit code is ${sender.exitCode}`,
    );
    expect(['BUS_TRANSPORT_UNAVAILABLE', 'BUS_FULL']).toContain([...refusals][0]);
    expect(sender.exitCode).toBeNull();
    await kill(sender);
    disk.restorePower();

    const log = await opened(path);
    const places = new Map<string, string>();
    for (const { partition, offset, value } of await all(log))
      places.set(Buffer.from(value!).toString(), `${partition}/${offset}`);
    await shut(log);
    const lost = [...acknowledged].filter(([value, place]) => places.get(value) !== place);
    expect(lost, `round ${round}, ${acknowledged.size} acknowledged`).toEqual([]);
  }
  console.log(`5 power cuts, ${acknowledged.size} records acknowledged, none lost`);
});

test('a flipped bit in the file is found, set aside, and the rest is served', async () => {
  const log = await opened(stage.path);
  const marks = Array.from({ length: 200 }, (_, n) => `record-${String(n).padStart(6, '0')}-mark`);
  await log.publish(
    'course',
    marks.map((mark) => ({ key: Buffer.from('k'), value: Buffer.from(mark), headers: [] })),
  );
  await shut(log);

  const file = join(stage.path, 'data.mdb');
  const bytes = readFileSync(file);
  for (let at = bytes.indexOf('record-000100-mark'); at !== -1; at = bytes.indexOf('record-000100-mark', at + 1))
    bytes[at + 8]! ^= 4;
  writeFileSync(file, bytes);

  const again = await opened(stage.path);
  const warnings: string[] = [];
  const hear = (warning: Error) => void warnings.push(warning.message);
  process.on('warning', hear);
  const handed: StoredRecord[] = [];
  await again.subscribe(
    { topics: ['course'], group: 'catalog' },
    {
      assigned() {},
      receive: ({ records }) => void handed.push(...records),
      revoking: async () => {},
      lost() {},
      trouble() {},
    },
  );
  await eventually(
    () => handed.length === 200,
    () => `${handed.length} of 200 were handed over`,
  );
  const corrupt = handed.filter(({ headers }) => headers[0]?.[0] === 'corrupt-record');
  expect(corrupt).toHaveLength(1);
  expect(corrupt[0]!.key).toBeNull();
  expect(Buffer.from(corrupt[0]!.value!).includes('mark')).toBe(true);
  const served = handed.filter((record) => record !== corrupt[0]).map(({ value }) => Buffer.from(value!).toString());
  expect(served).toEqual(marks.filter((mark) => !mark.includes('000100')));

  const { partition, offset } = corrupt[0]!;
  process.off('warning', hear);
  expect(warnings).toEqual([expect.stringContaining(`Record ${offset} of course/${partition}`)]);
  const read: string[] = [];
  const reading = async (from: 'start' | { offset: string }) => {
    for await (const { value } of again.read({ topic: 'course', partition, from }))
      read.push(Buffer.from(value!).toString());
  };
  const error = await reading('start').catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: 'BUS_DATA_LOSS', details: { partition, offset } });
  await reading({ offset: (error as { details: { next: string } }).details.next });
  expect(read).toEqual(served);
});

test('a killed reader does not let the file grow, and one that stands still is told', async () => {
  const log = await opened(stage.path, { retention: { bytes: 1_000_000 }, partitions: 2 });
  let n = 0;
  const churn = async (rounds: number) => {
    for (let round = 0; round < rounds; round++) {
      await log.publish(
        'course',
        Array.from({ length: 20 }, () => large(n++)),
      );
      await log.sweep();
    }
    return statSync(join(stage.path, 'data.mdb')).size;
  };
  const steady = await churn(30);

  const killed = await stage.run('snapshot-holder');
  await kill(killed);
  log.checkReaders();
  expect(await churn(60)).toBeLessThanOrEqual(2 * steady);

  const still = await stage.run('snapshot-holder');
  still.kill('SIGSTOP');
  log.stats();
  await eventually(
    () => log.stats().oldestReaderMs > 300,
    () => `the oldest reader is ${log.stats().oldestReaderMs} ms old`,
  );
  still.kill('SIGCONT');
  await kill(still);
  log.checkReaders();
  expect(log.stats().oldestReaderMs).toBe(0);
});

test('the files belong to their user alone', async () => {
  await opened(stage.path);
  expect(statSync(stage.path).mode & 0o777).toBe(0o700);
  for (const file of ['data.mdb', 'lock.mdb', 'doorbell']) {
    expect(existsSync(join(stage.path, file))).toBe(true);
    expect(statSync(join(stage.path, file)).mode & 0o777, file).toBe(0o600);
  }
});
