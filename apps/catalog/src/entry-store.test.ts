import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Sqlite from 'libsql';
import { expect, onTestFinished, test } from 'vitest';
import type { CourseEntry } from './course-entry.js';
import { openDatabase } from './database.js';
import { EntryStore } from './entry-store.js';

async function setup() {
  const folder = mkdtempSync(join(tmpdir(), 'catalog-'));
  const databaseFile = join(folder, 'catalog.db');
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return { databaseFile, store: await storeOn(databaseFile) };
}

async function storeOn(databaseFile: string): Promise<EntryStore> {
  const db = await openDatabase({ databaseFile, turnTimeoutMs: 200 });
  onTestFinished(() => db.destroy());
  return new EntryStore(db);
}

function entry(name: string, second: number, run = '2026'): CourseEntry {
  return {
    course_key: `course-v1:edX+Demo+${run}`,
    name,
    start: '2026-02-01T00:00:00Z',
    end: null,
    enrollment_start: null,
    enrollment_end: null,
    pacing: 'self',
    hidden: false,
    invitation_only: true,
    eventId: `event-${second}`,
    eventTime: `2026-01-01T00:00:00.${String(second).padStart(6, '0')}+00:00`,
    receivedAt: new Date().toISOString(),
    latencyMs: 1.5,
  };
}

test('an entry is stored as it came', async () => {
  const { store } = await setup();
  const demo = entry('Demo', 1);
  expect(await store.put(demo)).toBe(true);
  expect(await store.find(demo.course_key)).toEqual(demo);
  expect(await store.find('course-v1:no+such+course')).toBeUndefined();
});

test('an older event and the same event again change nothing', async () => {
  const { store } = await setup();
  expect(await store.put(entry('new', 2))).toBe(true);
  expect(await store.put(entry('old', 1))).toBe(false);
  expect(await store.put(entry('again', 2))).toBe(false);
  expect(await store.find('course-v1:edX+Demo+2026')).toHaveProperty('name', 'new');
  expect(await store.put(entry('newer', 3))).toBe(true);
  expect(await store.find('course-v1:edX+Demo+2026')).toHaveProperty('name', 'newer');
});

test('the same events in any order end with the same entry', async () => {
  const { store } = await setup();
  for (const second of [3, 1, 5, 5, 2, 4]) await store.put(entry(`name ${second}`, second));
  expect(await store.list()).toMatchObject([{ name: 'name 5' }]);
});

test('two stores on one file see each other, and each finds what the other wrote', async () => {
  const { store, databaseFile } = await setup();
  const other = await storeOn(databaseFile);
  await store.put(entry('mine', 1, 'a'));
  await other.put(entry('theirs', 1, 'b'));
  expect(await store.count()).toBe(2);
  expect((await store.fromOthers('2026', 10)).map(({ name }) => name)).toEqual(['theirs']);
  expect(await store.fromOthers('2999', 10)).toEqual([]);
});

test(
  'a statement that could not have its turn is reported, and the next one is kept',
  { timeout: 20_000 },
  async () => {
    const { store, databaseFile } = await setup();
    await store.put(entry('first', 1));
    const holder = fork(HOLDER, [databaseFile], { execArgv: [], stdio: 'ignore' });
    onTestFinished(() => void holder.kill());
    await once(holder, 'message');
    await expect(store.put(entry('second', 2))).rejects.toThrow(/locked/);
    holder.kill();
    await once(holder, 'exit');
    expect(await store.put(entry('third', 3))).toBe(true);
    const reader = new Sqlite(databaseFile);
    onTestFinished(() => void reader.close());
    expect(reader.prepare('select name from catalog_course').get()).toMatchObject({ name: 'third' });
  },
);

test('what is stored is for this user only', async () => {
  const { store, databaseFile } = await setup();
  await store.put(entry('Demo', 1));
  for (const file of [databaseFile, `${databaseFile}-wal`]) expect(statSync(file).mode & 0o777, file).toBe(0o600);
});

test('a PostgreSQL that does not answer is named by the variable that says where it is', async () => {
  await expect(openDatabase({ databaseUrl: 'postgres://127.0.0.1:1/x', databaseFile: '' })).rejects.toThrow(
    /DATABASE_URL.*ECONNREFUSED/,
  );
});

/** A process that begins to write to the file and does not end. */
const HOLDER = new URL('./lock-holder.test.fixture.mjs', import.meta.url);
