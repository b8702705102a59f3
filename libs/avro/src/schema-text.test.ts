import { expect, test } from 'vitest';
import { schemaText } from './schema-text.js';

// The expected text was printed by Python 3.11's json.dumps(value, sort_keys=True).
test('text equals what json.dumps writes, byte for byte', () => {
  const value = {
    b: [1, -2, true, null, {}],
    a: 'é😀\x7f\x01\n\t"\\/\u2028',
    doc: 'x',
    A: [],
    type: ['null', { type: 'map', values: 'long' }],
  };

  expect(schemaText(value)).toBe(
    String.raw`{"A": [], "a": "\u00e9\ud83d\ude00\u007f\u0001\n\t\"\\/\u2028", "b": [1, -2, true, null, {}], "doc": "x", "type": ["null", {"type": "map", "values": "long"}]}`,
  );
});

test('the field object of a key gives the text that Open edX registers', () => {
  expect(schemaText({ type: 'string', name: 'course_key' })).toBe('{"name": "course_key", "type": "string"}');
});

test('an attribute that is undefined is left out', () => {
  expect(schemaText({ name: 'a', default: undefined })).toBe('{"name": "a"}');
});

test('a number that two languages write differently is refused', () => {
  expect(() => schemaText({ default: 1e16 })).toThrow(TypeError);
});
