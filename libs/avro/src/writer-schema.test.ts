import { expect, test } from 'vitest';
import { compileWriter } from './guard.js';
import { writerSchema } from './writer-schema.js';

const record = (fields: unknown[], name = 'CloudEvent') => ({ type: 'record', name, namespace: 'org.test.v1', fields });
const read = (schema: unknown) => writerSchema(JSON.stringify(schema));

test('the name of the outermost record is the registered one', () => {
  expect(read(record([])).name).toBe('org.test.v1.CloudEvent');
  expect(read({ type: 'record', name: 'org.test.v1.CloudEvent', fields: [] }).name).toBe('org.test.v1.CloudEvent');
  expect(read('string').name).toBeUndefined();
  expect(read(['null', record([])]).name).toBeUndefined();
});

test('a hyphen is replaced for avsc alone, in a definition and where its name is used', () => {
  const inner = { type: 'record', name: 'Inner', fields: [{ name: 'n', type: 'long' }] };
  const { name, schema } = read({
    ...record([
      { name: 'a', type: inner },
      { name: 'b', type: 'Inner' },
    ]),
    namespace: 'org.redemption-reversed.v1',
  });

  expect(name).toBe('org.redemption-reversed.v1.CloudEvent');
  expect(() => compileWriter(schema)).not.toThrow();
  expect(JSON.stringify(schema)).not.toContain('-');
});

test('names without a namespace stay without one, also inside a record that has one', () => {
  const none = { type: 'record', name: 'None', namespace: '', fields: [{ name: 'n', type: 'long' }] };

  expect(() =>
    compileWriter(
      read({
        type: 'record',
        name: 'R',
        fields: [
          { name: 'a', type: none },
          { name: 'b', type: 'None' },
        ],
      }).schema,
    ),
  ).not.toThrow();
  expect(() =>
    compileWriter(
      read(
        record([
          { name: 'a', type: none },
          { name: 'b', type: '.None' },
        ]),
      ).schema,
    ),
  ).not.toThrow();
});

test('only what decides the bytes is taken over', () => {
  const { schema } = read({
    ...record([
      { name: 'a', type: { type: 'long', logicalType: 'timestamp-micros' }, default: 3, aliases: ['b'], doc: 'x' },
    ]),
    doc: 'text',
    aliases: ['Old'],
  });

  expect(schema).toEqual({ type: 'record', name: 'org.test.v1.CloudEvent', fields: [{ name: 'a', type: 'long' }] });
});

test('for a writer simple defaults are kept', () => {
  const text = JSON.stringify(
    record([
      { name: 'a', type: 'long', default: 3 },
      { name: 'b', type: ['null', 'long'], default: null },
      { name: 'c', type: { type: 'map', values: 'long' }, default: { a: 1 } },
    ]),
  );

  expect(writerSchema(text, { defaults: true }).schema).toEqual({
    type: 'record',
    name: 'org.test.v1.CloudEvent',
    fields: [
      { name: 'a', type: 'long', default: 3 },
      { name: 'b', type: ['null', 'long'], default: null },
      { name: 'c', type: { type: 'map', values: 'long' } },
    ],
  });
});

const nested = (levels: number): unknown => (levels === 0 ? 'long' : { type: 'array', items: nested(levels - 1) });
const twice = (name: string, inner: unknown) => ({
  type: 'record',
  name,
  fields: [
    { name: 'a', type: inner },
    { name: 'b', type: (inner as { name?: string }).name ?? inner },
  ],
});
const doubling = (levels: number): unknown =>
  levels === 0 ? { type: 'record', name: 'R0', fields: [] } : twice(`R${levels}`, doubling(levels - 1));
const chain = (levels: number): unknown =>
  levels === 0 ? 'long' : { type: 'record', name: `R${levels}`, fields: [{ name: 'a', type: chain(levels - 1) }] };

test.each<[string, unknown]>([
  ['a field named __proto__', record([{ name: '__proto__', type: 'long' }])],
  ['a field named toString', record([{ name: 'toString', type: 'long' }])],
  ['more than 64 levels', nested(65)],
  ['a record that holds itself', record([{ name: 'a', type: 'CloudEvent' }])],
  [
    'two records that hold each other',
    record([{ name: 'a', type: { type: 'record', name: 'B', fields: [{ name: 'c', type: 'CloudEvent' }] } }]),
  ],
  ['records that hold each other twice, down to one of no bytes', doubling(40)],
  ['forty records in each other for one byte', chain(40)],
  ['twenty nulls', record(Array.from({ length: 20 }, (_, i) => ({ name: `f${i}`, type: 'null' })))],
  [
    'too many types',
    record(
      Array.from({ length: 100 }, (_, i) => ({
        name: `f${i}`,
        type: { type: 'record', name: `R${i}`, fields: [{ name: 'a', type: 'long' }] },
      })),
    ),
  ],
  ['too many fields', record(Array.from({ length: 1_001 }, (_, i) => ({ name: `f${i}`, type: 'long' })))],
  ['a record without fields', { type: 'record', name: 'R' }],
  ['a type without a name', { type: 'enum', symbols: ['A'] }],
  ['a part that is null', record([{ name: 'a', type: null }])],
  ['a field that is null', record([null])],
  ['a number', 3],
])('a schema with %s is refused', (_, schema) => {
  expect(() => read(schema)).toThrow(
    expect.objectContaining({
      code: 'BUS_DECODE_FAILED',
      details: expect.objectContaining({ reason: 'unusable-schema' }),
    }),
  );
});

test('what is not JSON and what is too long is refused', () => {
  expect(() => writerSchema('{')).toThrow(/cannot be used/);
  expect(() => writerSchema(`"${'x'.repeat(256 * 1024)}"`)).toThrow(/cannot be used/);
  expect(() => writerSchema('['.repeat(100_000))).toThrow(/cannot be used/);
});

test('ordinary schemas pass: recursion through a union, records in records, an empty record in a union', () => {
  const tree = record([
    { name: 'left', type: ['null', 'CloudEvent'] },
    { name: 'none', type: [{ type: 'record', name: 'Nothing', fields: [] }, 'string'] },
  ]);

  expect(() => compileWriter(read(tree).schema)).not.toThrow();
  expect(() => compileWriter(read(chain(20)).schema)).not.toThrow();
  expect(() => compileWriter(read({ name: 'course_key', type: 'string' }).schema)).not.toThrow();
});
