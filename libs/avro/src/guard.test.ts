import { createRequire } from 'node:module';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Cursor } from './cursor.js';
import { compileOwn, compileWriter, readerOf, type Resolver } from './guard.js';
import { writerSchema } from './writer-schema.js';

// avsc as everybody else in the process sees it.
const avsc = createRequire(import.meta.url)('avsc') as typeof import('avsc');

const ENDLESS_BLOCK = [0x01, 0x03, 0x02];
const TWENTY_MILLION = [0x80, 0xb4, 0x89, 0x13];
const TWO_THOUSAND_MILLION = [0x80, 0xd0, 0xac, 0xf3, 0x0e];

const bombs: [name: string, type: unknown, bytes: number[], reason: string][] = [
  ['a list whose block moves the cursor back', { type: 'array', items: 'long' }, ENDLESS_BLOCK, 'bad-block'],
  ['a list that claims 20 million items', { type: 'array', items: 'long' }, TWENTY_MILLION, 'too-many-items'],
  [
    'a list that claims 2 000 million items',
    { type: 'array', items: 'string' },
    TWO_THOUSAND_MILLION,
    'too-many-items',
  ],
  ['a list of 20 million nulls', { type: 'array', items: 'null' }, TWENTY_MILLION, 'too-many-items'],
  [
    'a list of 20 million empty records',
    { type: 'array', items: { type: 'record', name: 'E', fields: [] } },
    TWENTY_MILLION,
    'too-many-items',
  ],
  [
    'a list of lists that claim 9 000 items each',
    { type: 'array', items: { type: 'array', items: 'null' } },
    [0xd0, 0x8c, 0x01, 0xd0, 0x8c, 0x01],
    'too-many-items',
  ],
  ['a map whose block moves the cursor back', { type: 'map', values: 'long' }, ENDLESS_BLOCK, 'bad-block'],
  ['a map that claims 20 million entries', { type: 'map', values: 'null' }, TWENTY_MILLION, 'too-many-items'],
  ['a block that ends inside an item', { type: 'array', items: 'string' }, [0x01, 0x02, 0x02, 0x61, 0x00], 'bad-block'],
  ['a block beyond the value', { type: 'array', items: 'long' }, [0x01, 0x7e, 0x02, 0x00], 'bad-block'],
  ['bytes of 150 continued zeros', 'bytes', [...Array(150).fill(0x80), 0], 'bad-number'],
  ['a long of 150 continued zeros', 'long', [...Array(150).fill(0x80), 0], 'bad-number'],
  ['a branch that does not exist', ['null', 'long'], [0x04], 'bad-number'],
  [
    'a map with the key __proto__',
    { type: 'map', values: { type: 'map', values: 'boolean' } },
    [2, 18, ...Buffer.from('__proto__'), 2, 14, ...Buffer.from('isAdmin'), 1, 0, 0],
    'bad-key',
  ],
];

test.each(bombs)('%s ends with a reason', (_, type, bytes, reason) => {
  for (const [schema, value] of placesOf(type, bytes)) {
    const writer = compileWriter(writerSchema(JSON.stringify(schema)).schema);

    expect(() => writer._read(new Cursor().reading(Buffer.from(value), 0))).toThrow(withReason(reason));
  }
});

// A skipped block says its size and nothing is read of it, so what is wrong inside of it does no harm there.
const skippable = bombs.filter(([name]) => !/inside an item|branch|__proto__/.test(name));

test.each(skippable)('%s ends with a reason in a field that the reader skips', (_, type, bytes, reason) => {
  for (const [schema, value] of placesOf(type, bytes)) {
    expect(() => readThroughResolver(schema, value)).toThrow(withReason(reason));
  }
});

test('other users of avsc in the process keep their types and their buffers', () => {
  const bytes = avsc.Type.forSchema('bytes');
  const list = avsc.Type.forSchema({ type: 'array', items: 'long' });

  for (const [, type, value] of bombs)
    for (const [schema, all] of placesOf(type, value)) attempt(() => readThroughResolver(schema, all));

  expect(bytes.fromBuffer(bytes.toBuffer(Buffer.from('hello'))).toString()).toBe('hello');
  expect(list.fromBuffer(list.toBuffer([1, 2]))).toEqual([1, 2]);
  expect(Object.getPrototypeOf(list)).toBe(avsc.types.ArrayType.prototype);
  expect(({} as Record<string, unknown>)['isAdmin']).toBeUndefined();
});

test('a recursive value nested ten thousand times ends with an error that can be caught', () => {
  const node = { type: 'record', name: 'Node', fields: [{ name: 'next', type: ['null', 'Node'] }] };
  const writer = compileWriter(writerSchema(JSON.stringify(node)).schema);

  expect(() => writer._read(new Cursor().reading(Buffer.alloc(100_000, 2), 0))).toThrow(RangeError);
  expect(() => writer._skip(new Cursor().reading(Buffer.alloc(100_000, 2), 0))).toThrow(RangeError);
});

test('lists and maps in blocks with a size are read, and skipped without being read', () => {
  const blocks = [0x03, 0x04, 0x02, 0x04, 0x02, 0x06, 0x00];
  const list = compileWriter({ type: 'array', items: 'long' });
  const map = compileWriter({ type: 'map', values: 'long' });

  expect(list._read(new Cursor().reading(Buffer.from(blocks), 0))).toEqual([1, 2, 3]);
  expect(map._read(new Cursor().reading(Buffer.from([0x01, 0x06, 0x02, 0x61, 0x02, 0x00]), 0))).toEqual({ a: 1 });
  const cursor = new Cursor().reading(Buffer.from(blocks), 0);
  list._skip(cursor);
  expect(cursor.pos).toBe(blocks.length);
});

test('values are real plain objects, also inside lists, maps and through a resolver', () => {
  const inner = { type: 'record', name: 'Inner', fields: [{ name: 'n', type: 'long' }] };
  const ours = {
    type: 'record',
    name: 'CloudEvent',
    fields: [
      { name: 'list', type: { type: 'array', items: inner } },
      { name: 'map', type: { type: 'map', values: 'Inner' } },
    ],
  };
  const theirs = { ...ours, fields: [...ours.fields, { name: 'more', type: 'string' }] };
  const reader = compileOwn(ours);
  const bytes = avsc.Type.forSchema(theirs as never).toBuffer({ list: [{ n: 1 }], map: { a: { n: 2 } }, more: 'x' });

  const value = readerOf(reader, compileWriter(theirs))._read(new Cursor().reading(bytes, 0));

  expect(value).toStrictEqual({ list: [{ n: 1 }], map: { a: { n: 2 } } });
});

test('one schema for both sides needs no resolver', () => {
  const schema = {
    type: 'record',
    name: 'a.CloudEvent',
    fields: [{ name: 'n', type: { type: 'long', bigint: true } }],
  };
  const reader = compileOwn(schema);

  expect(readerOf(reader, compileWriter(writerSchema(JSON.stringify(schema)).schema))).toBe(reader);
});

test('a field is a bigint where the reader asks for it, whether the writer wrote long or int', () => {
  const reader = compileOwn({
    type: 'record',
    name: 'R',
    fields: [{ name: 'n', type: ['null', { type: 'long', bigint: true }] }],
  });
  const record = (type: string) => compileWriter({ type: 'record', name: 'R', fields: [{ name: 'n', type }] });

  expect(readerOf(reader, record('int'))._read(new Cursor().reading(Buffer.from([0x02]), 0))).toEqual({ n: 1n });
  expect(readerOf(reader, record('long'))._read(new Cursor().reading(Buffer.from([0x02]), 0))).toEqual({ n: 1n });
});

test('a union that cannot be told apart is refused in a schema of ours, and is no obstacle in that of a writer', () => {
  const ambiguous = { type: 'record', name: 'R', fields: [{ name: 'u', type: ['int', 'long'] }] };

  expect(() => compileOwn(ambiguous)).toThrow(/ambiguous/);
  expect(() => compileWriter(ambiguous)).not.toThrow();
});

test('any bytes under any schema give a plain value or an error, and never touch a prototype', () => {
  const schemas = [
    { type: 'array', items: ['null', { type: 'map', values: 'string' }] },
    {
      type: 'map',
      values: {
        type: 'record',
        name: 'R',
        fields: [
          { name: 'a', type: 'bytes' },
          { name: 'b', type: ['null', 'R'] },
        ],
      },
    },
    {
      type: 'record',
      name: 'S',
      fields: [
        { name: 'e', type: { type: 'enum', name: 'E', symbols: ['A', 'B'] } },
        { name: 'f', type: { type: 'fixed', name: 'F', size: 3 } },
        { name: 'd', type: ['double', 'float', 'boolean'] },
      ],
    },
  ].map((schema) => compileWriter(schema));
  fc.assert(
    fc.property(fc.constantFrom(...schemas), bytesLikeAvro(), (type, bytes) => {
      const cursor = new Cursor().reading(bytes, 0);

      const read = attempt(() => type._read(cursor));
      attempt(() => type._skip(new Cursor().reading(bytes, 0)));

      expect(cursor.pos).toBeLessThanOrEqual(bytes.length);
      expect(nodesOf(read)).toBeLessThan(3 * (bytes.length + 10_000));
      expect(Object.keys(Object.prototype)).toEqual([]);
    }),
    { numRuns: 2_000 },
  );
});

/** A type and its bytes at the top, behind a union, in a map, in a list, and as a field. */
function placesOf(type: unknown, bytes: readonly number[]): [schema: unknown, bytes: number[]][] {
  return [
    [type, [...bytes]],
    ...(Array.isArray(type)
      ? []
      : ([
          [
            ['null', type],
            [0x02, ...bytes],
          ],
        ] as [unknown, number[]][])),
    [{ type: 'map', values: type }, [0x02, 0x02, 0x61, ...bytes]],
    [{ type: 'array', items: type }, [0x02, ...bytes]],
    [{ type: 'record', name: 'Outer', fields: [{ name: 'a', type }] }, [...bytes]],
  ];
}

function readThroughResolver(schema: unknown, bytes: readonly number[]): unknown {
  const last = { name: 'last', type: 'long' };
  const reader = compileOwn({ type: 'record', name: 'R', fields: [last] });
  const text = JSON.stringify({ type: 'record', name: 'R', fields: [{ name: 'gone', type: schema }, last] });
  const resolver: Resolver = readerOf(reader, compileWriter(writerSchema(text).schema));
  return resolver._read(new Cursor().reading(Buffer.from(bytes), 0));
}

/** Random bytes with many of those that mean something: small counts, negative counts, lengths, text. */
function bytesLikeAvro(): fc.Arbitrary<Buffer> {
  const byte = fc.oneof(
    fc.integer({ min: 0, max: 8 }),
    fc.constantFrom(0x80, 0xff, 0x7f),
    fc.integer({ min: 0, max: 255 }),
  );
  return fc.array(byte, { maxLength: 60 }).map((bytes) => Buffer.from(bytes));
}

function nodesOf(value: unknown): number {
  if (typeof value !== 'object' || value === null || Buffer.isBuffer(value)) return 1;
  return Object.values(value).reduce<number>((sum, inner) => sum + nodesOf(inner), 1);
}

function attempt(run: () => unknown): unknown {
  try {
    return run();
  } catch (error) {
    expect(error).toBeInstanceOf(Error);
    return undefined;
  }
}

const withReason = (reason: string) => expect.objectContaining({ details: expect.objectContaining({ reason }) });
