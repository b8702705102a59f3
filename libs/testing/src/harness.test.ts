import { NonRetryable, defineEvent, exponential, schema } from '@event-bus/core';
import { expect, onTestFinished, test, vi } from 'vitest';
import { harness } from './harness.js';

const COURSE_CHANGED = defineEvent({
  type: 'org.openedx.content_authoring.course.changed.v1',
  data: { course_key: schema.courseKey(), title: schema.string() },
});
const COURSE_INDEXED = defineEvent({
  type: 'org.openedx.content_authoring.course.indexed.v1',
  data: { course_key: schema.courseKey() },
});
const course = (n: number) => ({ course_key: `course-v1:edX+Demo+${n}`, title: `Course ${n}` });

function setup() {
  const test = harness();
  const bus = test.bus({
    service: 'catalog',
    routes: {
      [COURSE_CHANGED.type]: { courses: { keyField: 'course_key' } },
      [COURSE_INDEXED.type]: { indexed: { keyField: 'course_key' } },
    },
    events: [COURSE_CHANGED, COURSE_INDEXED],
  });
  onTestFinished(async () => {
    await bus.close();
    test.close();
  });
  return { test, bus };
}

test('sends resolve without anybody moving the time, and quiet waits for every handler', async () => {
  const { test, bus } = setup();
  const titles: string[] = [];
  bus.handle(COURSE_CHANGED, { id: 'CourseView.changed' }, ({ title }) => void titles.push(title));
  await bus.start();

  for (const n of [1, 2, 3]) await bus.send(COURSE_CHANGED, course(n));
  await test.quiet();

  expect(titles.sort()).toEqual(['Course 1', 'Course 2', 'Course 3']);
  expect(test.sent).toHaveLength(3);
  expect(test.handled('CourseView.changed')).toHaveLength(3);
});

test('retries happen in virtual time, and their outcomes are listed in order', async () => {
  const { test, bus } = setup();
  let failures = 3;
  bus.handle(
    COURSE_CHANGED,
    { id: 'view', retry: exponential({ attempts: 5, firstMs: 60_000, maxMs: 600_000 }) },
    () => {
      if (failures-- > 0) throw new Error('not yet');
    },
  );
  await bus.start();

  await bus.send(COURSE_CHANGED, course(1));
  await test.quiet();

  expect(test.outcomes('view').map(({ type, attempt }) => [type, attempt])).toEqual([
    ['retrying', 1],
    ['retrying', 2],
    ['retrying', 3],
    ['handled', 4],
  ]);
});

test('a dead letter is told with its reason', async () => {
  const { test, bus } = setup();
  bus.handle(COURSE_CHANGED, { id: 'view' }, () => {
    throw new NonRetryable('the course is frozen');
  });
  bus.handle(COURSE_CHANGED, { id: 'audit' }, () => {});
  await bus.start();

  await bus.send(COURSE_CHANGED, course(1));
  await test.quiet();

  expect(test.deadLetters()).toMatchObject([{ handler: 'view', reason: 'BUS_HANDLER_REFUSED', attempt: 1 }]);
  expect(test.deadLetters('audit')).toEqual([]);
});

test('what a handler sends is waited for too, and so is what it awaits outside of virtual time', async () => {
  const { test, bus } = setup();
  const indexed: string[] = [];
  bus.handle(COURSE_CHANGED, { id: 'view', timeoutMs: 1_000 }, async ({ course_key }) => {
    await new Promise((resolve) => setTimeout(resolve, 50));
    await bus.send(COURSE_INDEXED, { course_key });
  });
  bus.handle(COURSE_INDEXED, { id: 'index' }, ({ course_key }) => void indexed.push(course_key));
  await bus.start();

  await bus.send(COURSE_CHANGED, course(1));
  await test.quiet();

  expect(indexed).toEqual([course(1).course_key]);
  expect(test.retried()).toEqual([]);
});

test('when it does not become quiet, it says what is left', async () => {
  const { test, bus } = setup();
  bus.handle(COURSE_CHANGED, { id: 'view' }, () => {});
  await bus.start();
  bus.pause('view');

  await bus.send(COURSE_CHANGED, course(1));

  await expect(test.quiet(10_000)).rejects.toThrow(/group catalog has 1 records in hand.*view is switched off/);
  bus.resume('view');
  await test.quiet();
});

test('a bus that has not started is not quiet once it has sent something', async () => {
  const { test, bus } = setup();
  bus.handle(COURSE_CHANGED, { id: 'view' }, () => {});
  await test.quiet();

  await bus.send(COURSE_CHANGED, course(1));

  await expect(test.quiet()).rejects.toThrow(/"default" has not started.*await its start\(\) first/);
  await bus.start();
  await test.quiet();
  expect(test.handled('view')).toHaveLength(1);
});

test('while it waits for something, time passes: a bus closes though a handler never settles', async () => {
  const test = harness({ handlerPatienceMs: 10 });
  const bus = test.bus({ service: 'catalog', routes: { [COURSE_CHANGED.type]: { courses: {} } } });
  let hasBegun = false;
  bus.handle(COURSE_CHANGED, { id: 'view' }, () => {
    hasBegun = true;
    return new Promise(() => {});
  });
  await bus.start();
  await bus.send(COURSE_CHANGED, course(1));
  await vi.waitFor(() => expect(hasBegun).toBe(true));

  await test.waitFor(bus.close());

  expect(test.outcomes('view').map(({ type }) => type)).toEqual(['interrupted']);
  await expect(test.waitFor(Promise.reject(new Error('as it came')))).rejects.toThrow('as it came');
  test.close();
});

test('sends and quiet do not wait for the fake timers of a test', async () => {
  const { test, bus } = setup();
  let failures = 1;
  bus.handle(COURSE_CHANGED, { id: 'view' }, () => {
    if (failures-- > 0) throw new Error('not yet');
  });
  await bus.start();
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());

  await bus.send(COURSE_CHANGED, course(1));
  await test.quiet();

  expect(test.handled('view')).toHaveLength(1);
});

test('two harnesses of one service hear their own bus alone', async () => {
  const [one, other] = [setup(), setup()];
  for (const { bus } of [one, other]) {
    bus.handle(COURSE_CHANGED, { id: 'view' }, () => {});
    await bus.start();
  }

  await one.bus.send(COURSE_CHANGED, course(1));
  await one.test.quiet();

  expect([one.test.sent.length, one.test.handled().length]).toEqual([1, 1]);
  expect([other.test.sent.length, other.test.outcomes().length]).toEqual([0, 0]);
});
