import { inspect } from 'node:util';
import fc from 'fast-check';
import { describe, expect, expectTypeOf, test } from 'vitest';
import { defineEvent, type EventData, type EventInput } from './event.js';
import { schema, type Issue, type Schema } from './schema.js';

const issuesOf = (one: Schema<any, any>, value: unknown): readonly Issue[] => {
  const issues: Issue[] = [];
  one.check(value, [], issues);
  return issues;
};
const uuid = 'f81d4fae-7dec-11d0-a765-00a0c91e6bf6';

describe('each type takes what it is for, and nothing else', () => {
  const types: readonly [name: string, schema: Schema<any, any>, avro: unknown, right: unknown[], wrong: unknown[]][] =
    [
      ['string', schema.string(), 'string', ['', 'ünï', '😀'], [5, null, undefined, ['a'], '\ud800', new String('a')]],
      ['boolean', schema.boolean(), 'boolean', [true, false], [0, 'true', null, undefined]],
      [
        'long',
        schema.long(),
        'long',
        [0, -1, 2 ** 53 - 1, -(2 ** 53 - 1)],
        [1.5, 2 ** 53, NaN, Infinity, 5n, '5', null],
      ],
      [
        'bigLong',
        schema.bigLong(),
        'long',
        [0n, 2n ** 63n - 1n, -(2n ** 63n)],
        [5, 2n ** 63n, -(2n ** 63n) - 1n, null],
      ],
      ['double', schema.double(), 'double', [0, 1.5, NaN, -Infinity], [1n, '1', null]],
      ['bytes', schema.bytes(), 'bytes', [Buffer.from([0])], [new Uint8Array(1), 'AA==', [0], null]],
      [
        'dateTime',
        schema.dateTime(),
        'string',
        ['2026-01-02T03:04:05.678901+00:00'],
        ['2026-02-30T00:00:00Z', new Date(), 0],
      ],
      ['uuid', schema.uuid(), 'string', [uuid, uuid.toUpperCase()], [uuid.slice(1), `${uuid}0`, 5]],
      [
        'courseKey',
        schema.courseKey(),
        'string',
        ['course-v1:edX+Demo+2026', 'library-v1:edX+Lib', 'ccx-v1:edX+Demo+2026+ccx@1', 'edX/Demo/2026'],
        [
          '',
          'edX',
          'course-v1:edX',
          'course-v1:edX+Demo 2026',
          'edX/Demo',
          'a\nb/c/d',
          'course-v1:a\0b+c+d',
          'a\0b/c/d',
        ],
      ],
      [
        'usageKey',
        schema.usageKey(),
        'string',
        ['block-v1:edX+Demo+2026+type@problem+block@p1', 'lb:edX:Lib:problem:p1', 'i4x://edX/Demo/problem/p1'],
        ['', 'p1', 'block-v1:', 'block-v1:a b', 'block-v1:a\0b', 'i4x://a\x1bb'],
      ],
      [
        'array',
        schema.array(schema.long()),
        { type: 'array', items: 'long' },
        [[], [1, 2]],
        // eslint-disable-next-line no-sparse-arrays
        [[1, , 2], ['a'], { 0: 1, length: 1 }, new Set([1]), null],
      ],
      [
        'map',
        schema.map(schema.string()),
        { type: 'map', values: 'string' },
        [{}, { a: 'b' }, Object.create(null)],
        [
          { a: 1 },
          { '\ud800': 'b' },
          new Map(),
          new Set(['a']),
          new Headers(),
          Promise.resolve(),
          [],
          new Date(),
          null,
        ],
      ],
      [
        'record',
        schema.record('Point', { x: schema.long() }),
        { type: 'record', name: 'Point', fields: [{ name: 'x', type: 'long' }] },
        [
          { x: 1 },
          new (class Row {
            x = 1;
          })(),
        ],
        [{}, { x: 1, y: 2 }, { x: 'a' }, [], null, undefined],
      ],
      ['optional', schema.optional(schema.long()), ['null', 'long'], [null, undefined, 1], ['a', NaN]],
    ];

  test.each(types)('%s', (_, type, avro, right, wrong) => {
    expect(type.avro).toEqual(avro);
    for (const value of right) expect(issuesOf(type, value), inspect(value)).toEqual([]);
    for (const value of wrong) expect(issuesOf(type, value), inspect(value)).not.toEqual([]);
  });

  test('a bigint is a long on the wire and a bigint for the reader', () => {
    expect(schema.bigLong().reader).toEqual({ type: 'long', bigint: true });
    expect(schema.array(schema.optional(schema.bigLong())).reader).toEqual({
      type: 'array',
      items: ['null', { type: 'long', bigint: true }],
    });
  });

  test('nothing that is thrown at a schema makes it throw', () => {
    fc.assert(
      fc.property(fc.anything({ withBigInt: true, withNullPrototype: true, withSparseArray: true }), (value) => {
        for (const [, type] of types) issuesOf(type, value);
      }),
    );
  });
});

describe('an issue', () => {
  const event = defineEvent({
    type: 'org.example.deep.v1',
    data: { list: schema.array(schema.map(schema.record('Leaf', { n: schema.long() }))) },
  });

  test('says where, what was expected and what kind of thing was there, never its value', () => {
    const issues = event.validate({ list: [{}, { a: { n: 'the secret' } }, { b: { n: 1, more: 'the secret' } }] });
    expect(issues).toEqual([
      { path: ['list', 1, 'a', 'n'], message: 'must be an integer between -(2^53 - 1) and 2^53 - 1, got a string' },
      { path: ['list', 2, 'b', 'more'], message: 'is not a field of this event' },
    ]);
    expect(JSON.stringify(issues)).not.toContain('secret');
  });

  test('a missing field is called missing', () => {
    expect(event.validate({})).toEqual([{ path: ['list'], message: 'must be a list, is missing' }]);
    expect(event.validate(undefined)).toEqual([{ path: [], message: 'must be a plain object, is missing' }]);
  });
});

describe('the types of a definition', () => {
  const ALL = defineEvent({
    type: 'org.example.all.v1',
    data: {
      text: schema.string(),
      yes: schema.boolean(),
      count: schema.long(),
      big: schema.bigLong(),
      ratio: schema.double(),
      raw: schema.bytes(),
      at: schema.dateTime(),
      list: schema.array(schema.string()),
      table: schema.map(schema.long()),
      nested: schema.record('Nested', { inner: schema.string(), maybe: schema.optional(schema.long()) }),
      maybe: schema.optional(schema.string()),
    },
  });

  test('a handler gets every field, and null for what was left out', () => {
    expectTypeOf<EventData<typeof ALL>>().toEqualTypeOf<{
      readonly text: string;
      readonly yes: boolean;
      readonly count: number;
      readonly big: bigint;
      readonly ratio: number;
      readonly raw: Buffer;
      readonly at: string;
      readonly list: readonly string[];
      readonly table: Readonly<Record<string, number>>;
      readonly nested: { readonly inner: string; readonly maybe: number | null };
      readonly maybe: string | null;
    }>();
  });

  test('a sender may leave out what is optional, at every depth, and nothing else', () => {
    const right: EventInput<typeof ALL> = {
      text: '',
      yes: true,
      count: 1,
      big: 1n,
      ratio: 1,
      raw: Buffer.from(''),
      at: '2026-01-01T00:00:00Z',
      list: [],
      table: {},
      nested: { inner: '' },
    };
    expect(ALL.validate(right)).toEqual([]);
    expect(ALL.validate({ ...right, maybe: undefined, nested: { inner: '', maybe: null } })).toEqual([]);
    // @ts-expect-error a wrong type
    ((): EventInput<typeof ALL> => ({ ...right, count: '1' }))();
    // @ts-expect-error a bigint is no number
    ((): EventInput<typeof ALL> => ({ ...right, big: 1 }))();
    // @ts-expect-error a field too many
    ((): EventInput<typeof ALL> => ({ ...right, other: 1 }))();
    // @ts-expect-error a field that is missing
    ((): EventInput<typeof ALL> => ({ text: '' }))();
    // @ts-expect-error a wrong type inside
    ((): EventInput<typeof ALL> => ({ ...right, nested: { inner: 1 } }))();
  });
});
