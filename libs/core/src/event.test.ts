import { describe, expect, expectTypeOf, test } from 'vitest';
import { defineEvent, invalidEvent, type AvroRecord } from './event.js';
import { schema } from './schema.js';

const TYPE = 'org.example.course.changed.v1';
const codeOf = (act: () => unknown): unknown => {
  try {
    act();
    return undefined;
  } catch (error) {
    return (error as { readonly code?: unknown }).code;
  }
};

describe('a definition', () => {
  test('has the Avro record of Open edX, with a record written out once and named after that', () => {
    const point = schema.record('Point', { x: schema.long(), label: schema.optional(schema.string()) });
    const event = defineEvent({
      type: TYPE,
      data: {
        from: point,
        path: schema.array(point),
        named: schema.map(schema.record('Leg', { end: schema.optional(point) })),
      },
    });
    const expected: AvroRecord = {
      type: 'record',
      name: 'CloudEvent',
      namespace: TYPE,
      doc: 'Avro Event Format for CloudEvents created with openedx_events/schema',
      fields: [
        {
          name: 'from',
          type: {
            type: 'record',
            name: 'Point',
            fields: [
              { name: 'x', type: 'long' },
              { name: 'label', type: ['null', 'string'], default: null },
            ],
          },
        },
        { name: 'path', type: { type: 'array', items: 'Point' } },
        {
          name: 'named',
          type: {
            type: 'map',
            values: { type: 'record', name: 'Leg', fields: [{ name: 'end', type: ['null', 'Point'], default: null }] },
          },
        },
      ],
    };
    expect(event.avro).toEqual(expected);
    expect(event.reader).toEqual(expected);
  });

  test('two equal records of one name are one', () => {
    const again = () => schema.record('Point', { x: schema.long() });
    const { avro } = defineEvent({ type: TYPE, data: { a: again(), b: again() } });
    expect(avro.fields[1]).toEqual({ name: 'b', type: 'Point' });
  });

  test('the minor version is 0 unless given', () => {
    expect(defineEvent({ type: TYPE, data: {} }).minorversion).toBe(0);
    expect(defineEvent({ type: TYPE, minorversion: 3, data: {} }).minorversion).toBe(3);
  });

  test('is frozen', () => {
    expect(Object.isFrozen(defineEvent({ type: TYPE, data: {} }))).toBe(true);
  });
});

describe('what cannot travel is refused when it is defined', () => {
  const long = schema.long();
  test.each([
    ['a type without a dot', { type: 'changed', data: {} }],
    ['an empty type', { type: '', data: {} }],
    ['a type with a space', { type: 'org.example.a b', data: {} }],
    ['a part that begins with a digit', { type: 'org.1example.v1', data: {} }],
    ['a minor version below 0', { type: TYPE, minorversion: -1, data: {} }],
    ['a broken minor version', { type: TYPE, minorversion: 1.5, data: {} }],
    ['a field with a dash', { type: TYPE, data: { 'a-b': long } }],
    ['a field named __proto__', { type: TYPE, data: { ['__proto__']: long } }],
    ['a nested field with a dash', { type: TYPE, data: { a: schema.record('A', { 'b-c': long }) } }],
    ['a record with a bad name', { type: TYPE, data: { a: schema.record('A B', {}) } }],
    ['a record named as a type of Avro', { type: TYPE, data: { a: schema.record('string', {}) } }],
    ['a record named as the event', { type: TYPE, data: { a: schema.record('CloudEvent', {}) } }],
    [
      'two different records of one name',
      { type: TYPE, data: { a: schema.record('A', { x: long }), b: schema.record('A', { y: long }) } },
    ],
    [
      'two records of one name that differ for the reader only',
      { type: TYPE, data: { a: schema.record('A', { x: long }), b: schema.record('A', { x: schema.bigLong() }) } },
    ],
  ])('%s', (_, declaration) => {
    expect(codeOf(() => defineEvent(declaration as never))).toBe('BUS_CONFIG_INVALID');
  });

  test('an official name with a dash passes', () => {
    const type = 'org.openedx.enterprise.subsidy.redemption-reversed.v1';
    expect(defineEvent({ type, data: {} }).avro.namespace).toBe(type);
  });
});

describe('a key', () => {
  const event = defineEvent({
    type: TYPE,
    data: {
      course_key: schema.courseKey(),
      info: schema.record('Info', {
        course_key: schema.courseKey(),
        owner: schema.record('Owner', { id: schema.long() }),
      }),
      maybe: schema.optional(schema.string()),
      hidden: schema.optional(schema.record('Hidden', { id: schema.long() })),
      list: schema.array(schema.string()),
    },
  });

  test('is the whole field object at the end of its path, and reads the value there', () => {
    const key = event.key('info.course_key');
    expect(JSON.stringify(key.schema)).toBe('{"name":"course_key","type":"string"}');
    expect(key.read({ info: { course_key: 'course-v1:edX+Demo+1' } })).toBe('course-v1:edX+Demo+1');
    expect(event.key('info.owner.id').schema).toEqual({ name: 'id', type: 'long' });
    expect(event.key('course_key').read({ course_key: 'edX/Demo/1' })).toBe('edX/Demo/1');
  });

  test.each([
    '',
    '.',
    'nope',
    'info',
    'info.nope',
    'maybe',
    'hidden.id',
    'list',
    'list.0',
    'course_key.x',
    'constructor',
  ])('%j is no key field', (path) => {
    expect(codeOf(() => event.key(path))).toBe('BUS_CONFIG_INVALID');
  });
});

describe('as a Standard Schema', () => {
  const event = defineEvent({
    type: TYPE,
    data: { course_key: schema.courseKey(), pacing: schema.optional(schema.string()) },
  });

  test('it answers the value or the issues', () => {
    const standard = event['~standard'];
    expect(standard.version).toBe(1);
    expect(standard.vendor).toBe('event-bus');
    const value = { course_key: 'course-v1:edX+Demo+1' };
    expect(standard.validate(value)).toEqual({ value });
    expect(standard.validate({ course_key: 5 })).toEqual({
      issues: [{ message: expect.stringContaining('course key'), path: ['course_key'] }],
    });
  });

  test('its types are those of the event', () => {
    type Types = NonNullable<(typeof event)['~standard']['types']>;
    expectTypeOf<Types['output']>().toEqualTypeOf<{ readonly course_key: string; readonly pacing: string | null }>();
    expectTypeOf<{ readonly course_key: string }>().toExtend<Types['input']>();
  });
});

test('the error for wrong data names the first twenty fields and how many more there are', () => {
  const event = defineEvent({ type: TYPE, data: { list: schema.array(schema.long()) } });
  const issues = event.validate({ list: Array.from({ length: 30 }, () => 'x') });
  const error = invalidEvent(event, issues);
  expect(error.code).toBe('BUS_EVENT_INVALID');
  expect(error.message).toContain('list.0 must be');
  expect(error.message).toContain('and 10 more');
  expect(error.message).not.toContain('list.20 ');
});
