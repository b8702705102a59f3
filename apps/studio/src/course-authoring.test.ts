import { Logger } from '@nestjs/common';
import type { EventBusProducer } from '@event-bus/nest';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { expect, onTestFinished, test, vi } from 'vitest';
import { CourseAuthoring, NotAnnounced } from './course-authoring.js';
import { CourseStore } from './course-store.js';
import type { CourseDraft } from './course.js';
import { openDatabase } from './database.js';

/** Studio's authoring on a database of its own and a bus that takes everything but what `refuses` names. */
async function setup() {
  const folder = mkdtempSync(join(tmpdir(), 'studio-'));
  const db = await openDatabase({ databaseFile: join(folder, 'studio.db') });
  const store = new CourseStore(db);
  const sent: string[] = [];
  const refuses = new Set<string>();
  const send: EventBusProducer['send'] = async (_definition, data) => {
    const { course_key, name } = (data as any).catalog_info;
    if (refuses.has('all') || refuses.has(course_key)) throw new Error('the bus is away');
    sent.push(name);
    return undefined as any;
  };
  const authoring = new CourseAuthoring(store, { send } as EventBusProducer);
  vi.spyOn(Logger.prototype, 'log').mockImplementation(() => {});
  const warn = vi.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
  onTestFinished(async () => {
    await authoring.onApplicationShutdown();
    await db.destroy();
    rmSync(folder, { recursive: true });
    vi.restoreAllMocks();
  });
  return { authoring, store, db, sent, refuses, warn };
}

const keyOf = (run: string) => `course-v1:edX+Demo+${run}`;

function draft(name: string, run = name): CourseDraft {
  return {
    course_key: keyOf(run),
    name,
    start: '2026-02-01T00:00:00Z',
    end: null,
    enrollment_start: null,
    enrollment_end: null,
    pacing: 'self',
    hidden: false,
    invitation_only: false,
  };
}

async function nothingIsBehind(store: CourseStore): Promise<void> {
  await vi.waitFor(async () => expect(await store.unannounced(1)).toEqual([]), 10_000);
}

test('what was saved is sent once, and marked', async () => {
  const { authoring, store, sent } = await setup();

  const { course, isNew } = await authoring.save(draft('one'));
  await authoring.save(draft('two', 'one'));

  expect(isNew).toBe(true);
  expect(course.announced_at).toBe(course.updated_at);
  await nothingIsBehind(store);
  expect(sent).toEqual(['one', 'two']);
});

test('changes of one course are sent in the order in which they were stored', async () => {
  const { authoring, sent } = await setup();
  const names = Array.from({ length: 50 }, (_, n) => `change ${n}`);

  await Promise.all(names.map((name) => authoring.save(draft(name, 'course'))));

  expect(sent).toEqual(names);
});

test('all that is behind is announced at start, each course once and as it is', async () => {
  const { authoring, store, sent } = await setup();
  const names = Array.from({ length: 250 }, (_, n) => `course ${String(n).padStart(3, '0')}`);
  for (const name of names) await store.put(draft(name));
  await store.put(draft('changed', names[0]));

  authoring.onApplicationBootstrap();

  await nothingIsBehind(store);
  expect(sent.toSorted()).toEqual(['changed', ...names.slice(1)]);
});

test('a course that the bus did not take is stored, said so, and sent again later', async () => {
  const { authoring, store, sent, refuses } = await setup();
  refuses.add('all');
  await expect(authoring.save(draft('late'))).rejects.toThrow(NotAnnounced);
  expect(await store.find(keyOf('late'))).toMatchObject({ name: 'late', announced_at: null });

  refuses.clear();

  await nothingIsBehind(store);
  expect(sent).toEqual(['late']);
});

test('a course that cannot be announced holds up no other', async () => {
  const { authoring, store, sent, refuses } = await setup();
  for (let n = 0; n < 150; n++) await store.put(draft(`${n}`));
  refuses.add(keyOf('0'));

  authoring.onApplicationBootstrap();

  await vi.waitFor(async () => {
    expect((await store.unannounced(10)).map(({ course_key }) => course_key)).toEqual([keyOf('0')]);
  });
  expect(sent).toHaveLength(149);
});

test('a row that cannot be found again is tried again after a pause, and said', async () => {
  const { authoring, store, db, warn } = await setup();
  await store.put(draft('cut'));
  // libsql reads a text up to its first U+0000.
  await sql`update studio_course set course_key = 'a' || char(0) || 'b'`.execute(db);
  const looks = vi.spyOn(store, 'unannounced');

  authoring.onApplicationBootstrap();

  await vi.waitFor(() => expect(warn).toHaveBeenCalled());
  expect(looks).toHaveBeenCalledTimes(1);
  expect(warn).toHaveBeenCalledWith(expect.any(String), {
    reason: expect.stringContaining('no row under a key'),
    nextTryMs: 1_000,
  });
});

test('marks that cannot be written are kept, and nothing is sent again for them', async () => {
  const { authoring, store, db, sent, warn } = await setup();
  const refuse = sql`create trigger full before update of announced_at on studio_course
    begin select raise(fail, 'database or disk is full'); end`;
  await refuse.execute(db);
  await store.put(draft('behind'));
  authoring.onApplicationBootstrap();
  await authoring.save(draft('saved'));
  await vi.waitFor(() => expect(warn).toHaveBeenCalledTimes(2), 10_000);

  await sql`drop trigger full`.execute(db);

  await nothingIsBehind(store);
  expect(sent.toSorted()).toEqual(['behind', 'saved']);
});
