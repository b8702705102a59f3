import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  DEAD_LETTER_BYTES,
  DEAD_LETTER_HEADERS,
  deadLetterRecord,
  deadLetterTopic,
  type DeadLetter,
} from './dead-letter.js';
import { BusError } from './errors.js';
import type { StoredRecord } from './transport.js';

const record: StoredRecord = {
  topic: 'stage-courses',
  partition: 3,
  offset: '42',
  timestamp: 1_700_000_000_000,
  key: Buffer.from([0, 255, 1]),
  value: Buffer.from('value'),
  headers: [
    ['ce_id', Buffer.from('1')],
    ['twice', Buffer.from('a')],
    ['twice', Buffer.from([0xff])],
  ],
};
const letter = (change: Partial<DeadLetter> = {}): DeadLetter => ({
  record,
  group: 'catalog',
  handler: 'view',
  event: undefined,
  reason: 'BUS_HANDLER_FAILED',
  error: new TypeError('broken'),
  attempts: 5,
  firstFailedAt: 1_700_000_001_000,
  lastFailedAt: 1_700_000_002_000,
  ...change,
});
const factsOf = (one: DeadLetter) =>
  Object.fromEntries(
    deadLetterRecord(one)
      .headers.slice(one.record.headers.length)
      .map(([name, value]) => [name, Buffer.from(value).toString()]),
  );

describe('a dead letter', () => {
  test('is the record byte for byte, and behind it what happened, in a fixed order', () => {
    const { key, value, headers } = deadLetterRecord(letter());
    expect(key).toBe(record.key);
    expect(value).toBe(record.value);
    expect(headers.slice(0, 3)).toEqual(record.headers);
    expect(headers.slice(3).map(([name]) => name)).toEqual(Object.values(DEAD_LETTER_HEADERS));
    expect(factsOf(letter())).toEqual({
      'dead-reason': 'BUS_HANDLER_FAILED',
      'dead-error': 'TypeError',
      'dead-message': 'broken',
      'dead-handler': 'view',
      'dead-group': 'catalog',
      'dead-attempts': '5',
      'dead-first': '2023-11-14T22:13:21.000Z',
      'dead-last': '2023-11-14T22:13:22.000Z',
      'dead-topic': 'stage-courses',
      'dead-partition': '3',
      'dead-offset': '42',
      'dead-timestamp': '1700000000000',
    });
  });

  test('of a record nobody can read names no handler', () => {
    const unreadable = letter({ handler: undefined, attempts: 0, reason: 'BUS_DECODE_FAILED' });
    expect(factsOf(unreadable)).toMatchObject({ 'dead-handler': '', 'dead-attempts': '0' });
  });

  test('does not grow with what the error says', () => {
    const facts = factsOf(letter({ error: new BusError('BUS_EVENT_INVALID', 'x'.repeat(1_000_000)) }));
    expect(facts['dead-message']).toHaveLength(1_001);
  });

  test('takes no more room than is kept for it', () => {
    const wide = '\uffff';
    const large = letter({
      record: { ...record, topic: 'x'.repeat(249), offset: 'x'.repeat(100), headers: [] },
      group: 'x'.repeat(200),
      handler: wide.repeat(200),
      error: Object.assign(new Error(wide.repeat(5_000)), { name: wide.repeat(5_000) }),
      attempts: Number.MAX_SAFE_INTEGER,
    });
    const bytes = deadLetterRecord(large).headers.reduce((sum, [name, value]) => sum + name.length + value.length, 0);
    expect(bytes).toBeLessThan(DEAD_LETTER_BYTES);
  });

  test('is made of whatever was thrown', () => {
    const odd = [
      Object.assign(new Error('x'), { message: { nested: true }, name: undefined }),
      Object.assign(new Error('x'), { message: Symbol('s') }),
      Object.defineProperty(new Error('x'), 'message', {
        get: () => {
          throw new Error('getter');
        },
      }),
      Object.assign(new Error('x'), { message: Object.create(null) }),
    ];
    for (const error of odd) expect(Object.keys(factsOf(letter({ error })))).toHaveLength(12);
    fc.assert(
      fc.property(fc.anything({ withNullPrototype: true, withBigInt: true }), (error) => {
        expect(Object.keys(factsOf(letter({ error })))).toHaveLength(12);
      }),
    );
  });

  test('lies in a topic of the group', () => {
    expect(deadLetterTopic('stage-courses', 'catalog')).toBe('stage-courses-dead-catalog');
  });
});
