import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { CourseStore } from './course-store.js';
import type { Course, CourseDraft } from './course.js';
import { openDatabase } from './database.js';

async function setup() {
  const folder = mkdtempSync(join(tmpdir(), 'studio-'));
  const databaseFile = join(folder, 'studio.db');
  const db = await openDatabase({ databaseFile });
  onTestFinished(async () => {
    await db.destroy();
    rmSync(folder, { recursive: true });
  });
  return { store: new CourseStore(db), databaseFile };
}

function draft(name: string, run = '2026'): CourseDraft {
  return {
    course_key: `course-v1:edX+Demo+${run}`,
    name,
    start: '2026-02-01T00:00:00Z',
    end: null,
    enrollment_start: null,
    enrollment_end: '2026-03-01T00:00:00.000001+01:00',
    pacing: 'self',
    hidden: true,
    invitation_only: false,
  };
}

test('a course is stored as it was written', async () => {
  const { store } = await setup();
  const { course, isNew } = await store.put(draft('Demo'));
  expect(isNew).toBe(true);
  expect(await store.find(course.course_key)).toEqual(course);
  expect(course).toMatchObject({ ...draft('Demo'), announced_at: null, updated_at: course.created_at });
});

test('each change of a course has a later time, also within a millisecond', async () => {
  const { store } = await setup();
  const times: string[] = [];
  for (let n = 0; n < 50; n++) times.push((await store.put(draft(`Demo ${n}`))).course.updated_at);
  expect(times).toEqual([...new Set(times)].sort());
  expect((await store.put(draft('Demo'))).isNew).toBe(false);
});

test('changes at once end with the one of the latest time', async () => {
  const { store } = await setup();
  const written = await Promise.all(Array.from({ length: 20 }, (_, n) => store.put(draft(`Demo ${n}`))));
  const latest = written.map(({ course }) => course).sort((a, b) => (a.updated_at < b.updated_at ? 1 : -1))[0]!;
  expect((await store.find(latest.course_key))?.name).toBe(latest.name);
});

test('a course is unannounced until its last change was marked', async () => {
  const { store } = await setup();
  const first = (await store.put(draft('One'))).course;
  const second = (await store.put(draft('Two'))).course;
  const other = (await store.put(draft('Other', '2027'))).course;
  const version = ({ course_key, updated_at }: Course) => ({ course_key, updated_at });
  await store.markAnnounced([first]);
  const place = ({ course_key, updated_at }: Course) => `${updated_at} ${course_key}`;
  const behind = [second, other].sort((a, b) => (place(a) > place(b) ? 1 : -1)).map(version);
  expect(await store.unannounced(10)).toEqual(behind);
  expect(await store.unannounced(1)).toEqual(behind.slice(0, 1));
  expect(await store.unannounced(1, behind[0])).toEqual(behind.slice(1));
  expect(await store.unannounced(1, behind[1])).toEqual([]);
  await store.markAnnounced([second]);
  expect(await store.unannounced(10)).toEqual([version(other)]);
  expect(await store.find(second.course_key)).toHaveProperty('announced_at', second.updated_at);
});

test('courses are found by a part of name or key, the latest change first', async () => {
  const { store } = await setup();
  await store.put(draft('Physics 100%', 'a'));
  await store.put(draft('History', 'b'));
  await store.put(draft('physics_2', 'c'));
  const names = async (search: string, limit?: number) =>
    (await store.list({ search, limit })).map((course) => course.name);
  expect(await names('PHYSICS')).toEqual(['physics_2', 'Physics 100%']);
  expect(await names('0%')).toEqual(['Physics 100%']);
  expect(await names('s_2')).toEqual(['physics_2']);
  expect(await names('+b')).toEqual(['History']);
  expect(await names('', 1)).toEqual(['physics_2']);
  expect(await store.count('physics')).toBe(2);
});

test('a second Studio on one file is told what to do', async () => {
  const { databaseFile } = await setup();
  await expect(openDatabase({ databaseFile })).rejects.toThrow(
    /is in use by another Studio.*EVENT_BUS_PATH.*DATABASE_URL/s,
  );
});

test('what is stored is for this user only', async () => {
  const { store, databaseFile } = await setup();
  await store.put(draft('Demo'));
  for (const file of [databaseFile, `${databaseFile}-wal`]) expect(statSync(file).mode & 0o777, file).toBe(0o600);
});

test('a PostgreSQL that does not answer is named by the variable that says where it is', async () => {
  await expect(openDatabase({ databaseUrl: 'postgres://127.0.0.1:1/x', databaseFile: '' })).rejects.toThrow(
    /DATABASE_URL.*ECONNREFUSED/,
  );
});
