import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { defineEvent } from './event.js';
import { fullTopic, resolveRoutes, wrongName, type Routes } from './routes.js';
import { schema } from './schema.js';

const CHANGED = defineEvent({
  type: 'org.example.course.changed.v1',
  data: { info: schema.record('Info', { course_key: schema.courseKey(), tags: schema.array(schema.string()) }) },
});
const known = new Map([[CHANGED.type, CHANGED]]);
const resolve = (topics: unknown, prefix?: string) =>
  resolveRoutes({ [CHANGED.type]: topics } as Routes, known, prefix);

describe('routes', () => {
  test('give full names, key fields and switches', () => {
    let isOn = false;
    const { routes, problems } = resolve(
      { courses: { keyField: 'info.course_key' }, audit: { enabled: () => isOn }, off: { enabled: false } },
      'stage',
    );
    expect(problems).toEqual([]);
    const [courses, audit, off] = routes.get(CHANGED.type)!;
    expect(courses).toMatchObject({ base: 'courses', topic: 'stage-courses', keyField: 'info.course_key' });
    expect(courses!.isEnabled()).toBe(true);
    expect(audit).not.toHaveProperty('keyField');
    expect(audit!.isEnabled()).toBe(false);
    isOn = true;
    expect(audit!.isEnabled()).toBe(true);
    expect(off!.isEnabled()).toBe(false);
  });

  test('of an unknown event type are a problem that says what to do', () => {
    const { problems } = resolveRoutes({ 'org.unknown.v1': { courses: {} } }, known, undefined);
    expect(problems).toEqual([expect.stringMatching(/"org.unknown.v1".*add it to "events"/)]);
  });

  test.each([
    [{ courses: { keyField: 'info.nope' } }, 'info.nope'],
    [{ courses: { keyField: 'info' } }, 'key'],
    [{ courses: { keyField: 'info.tags' } }, 'key'],
    [{ courses: { keyField: '' } }, 'key'],
    [{ 'a b': {} }, '"a b"'],
    [{ '': {} }, 'topic name'],
    [{ courses: null }, 'must be an object'],
    [{ courses: 'on' }, 'must be an object'],
    // As the environment and JSON files write them.
    [{ courses: { event_key_field: 'info.course_key' } }, '"event_key_field"'],
    [{ courses: { enabled: 'false' } }, '"false"'],
    [{ courses: { enabled: null } }, 'null'],
  ])('%j is refused', (topics, why) => {
    const { routes, problems } = resolve(topics);
    expect(problems).toEqual([expect.stringContaining(why)]);
    expect(routes.size).toBe(0);
  });

  test('all problems of all routes are said', () => {
    expect(resolve({ 'a b': { keyField: 'nope', enabled: 1 } }).problems).toHaveLength(3);
  });

  test('whatever stands in the configuration, the answer is routes or problems, never a throw', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.anything()), (topics) => {
        const { routes, problems } = resolve(topics);
        expect(routes.size === 1 || problems.length > 0).toBe(true);
      }),
    );
  });
});

describe('names', () => {
  test('a prefix goes before with a dash, and an empty one not at all', () => {
    expect(fullTopic('stage', 'courses')).toBe('stage-courses');
    expect(fullTopic('', 'courses')).toBe('courses');
    expect(fullTopic(undefined, 'courses')).toBe('courses');
  });

  test.each(['courses', 'a', 'A.b_c-9', 'x'.repeat(200), '...'])('%s is right', (name) => {
    expect(wrongName('topic', name)).toBeUndefined();
  });

  test.each(['', '.', '..', 'a/b', 'a b', 'ä', 'a\n', 'x'.repeat(201)])('%j is refused', (name) => {
    expect(wrongName('group', name)).toContain('The group name');
  });
});
