import { expect, test } from 'vitest';
import { readListQuery } from './list-query.js';

test('an address without a query asks for all', () => {
  expect(readListQuery({})).toEqual({ search: '', limit: undefined });
});

test('a part of a name and a number are taken as they are', () => {
  expect(readListQuery({ search: ' 50%', limit: '200' })).toEqual({ search: ' 50%', limit: 200 });
});

test.each(['0', '-1', '1.5', '1e3', '0x10', '', ' 5', '9999999999', ['1', '2'], { a: '5' }])(
  'a limit of %j is refused',
  (limit) => {
    expect(() => readListQuery({ limit })).toThrow(
      expect.objectContaining({ response: { errors: [{ field: 'limit', message: expect.any(String) }] } }),
    );
  },
);

test.each(['a\0b', ['a', 'b'], { a: 'b' }])('a search for %j is refused', (search) => {
  expect(() => readListQuery({ search })).toThrow(
    expect.objectContaining({ response: { errors: [{ field: 'search', message: expect.any(String) }] } }),
  );
});
