import { PassThrough } from 'node:stream';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, onTestFinished, test, vi } from 'vitest';
import { ChangeFeed } from './change-feed.js';
import type { CourseEntry } from './course-entry.js';
import type { EntryStore } from './entry-store.js';

function setup(highWaterMark = 1 << 20) {
  const others: CourseEntry[] = [];
  const fromOthers = async (since: string, limit: number) =>
    others.filter(({ receivedAt }) => receivedAt >= since).slice(0, limit);
  const feed = new ChangeFeed({ fromOthers } as unknown as EntryStore);
  onTestFinished(() => feed.beforeApplicationShutdown());
  const response = new PassThrough({ readableHighWaterMark: highWaterMark, writableHighWaterMark: highWaterMark });
  feed.open(response);
  /** Everything a page was sent until now: names of courses, or "reload". */
  const told: string[] = [];
  const read = () => {
    response.on('data', (chunk) => {
      for (const block of String(chunk).split('\n\n')) {
        if (block.startsWith('event: reload')) told.push('reload');
        const data = /^event: changes\ndata: (.*)$/.exec(block)?.[1];
        if (data) told.push(...(JSON.parse(data) as CourseEntry[]).map(({ name }) => name));
      }
    });
  };
  return { feed, response, others, told, read };
}

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

const entry = (name: string, key = name) =>
  ({ course_key: key, name, eventTime: name, receivedAt: new Date().toISOString() }) as CourseEntry;

test('a page is told of each change', async () => {
  const { feed, told, read } = setup();
  read();
  feed.tell(entry('one'));
  feed.tell(entry('two'));
  await vi.waitFor(() => expect(told).toEqual(['one', 'two']));
});

test('a page that was busy is told the last state of each course', async () => {
  const { feed, told, read } = setup(64);
  for (let n = 0; n < 500; n++) feed.tell(entry(`v${n}`, `course ${n % 3}`));
  read();
  await vi.waitFor(() => expect(told.toSorted()).toEqual(['v0', 'v497', 'v498', 'v499']));
});

test('a page that cannot follow is told to load the list, and nothing is kept for it meanwhile', async () => {
  const { feed, told, read } = setup(64);
  const entries = Array.from({ length: 5_000 }, (_, n) => {
    const one = entry(`${n}`);
    feed.tell(one);
    return new WeakRef(one);
  });
  await vi.waitFor(() => {
    collectGarbage();
    expect(entries.filter((one) => one.deref()).length).toBeLessThanOrEqual(1_000);
  });
  read();
  await vi.waitFor(() => expect(told).toEqual(['0', 'reload']));
});

test('changes that another process handled are told once', async () => {
  const { others, told, read } = setup();
  read();
  others.push(entry('theirs', 'course'));
  await vi.waitFor(() => expect(told).toEqual(['theirs']), 3_000);
  others.splice(0, 1, entry('theirs, again', 'course'));
  await vi.waitFor(() => expect(told).toEqual(['theirs', 'theirs, again']), 3_000);
});

test('what others handled while this process stood still is told when it goes on', async () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const { others, told, read } = setup();
  read();
  await vi.advanceTimersByTimeAsync(2_000);

  others.push(entry('meanwhile'));
  vi.setSystemTime(Date.now() + 60_000);
  await vi.advanceTimersByTimeAsync(2_000);

  expect(told).toEqual(['meanwhile']);
});

test('a page is told to load the list when others handled too much', async () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const { others, told, read } = setup();
  read();

  for (let n = 0; n < 1_500; n++) others.push(entry(`${n}`));
  await vi.advanceTimersByTimeAsync(2_000);

  expect(told).toEqual(['reload']);
});

test('stopping ends every page', async () => {
  const { feed, response } = setup();
  feed.beforeApplicationShutdown();
  await vi.waitFor(() => expect(response.writableEnded).toBe(true));
});
