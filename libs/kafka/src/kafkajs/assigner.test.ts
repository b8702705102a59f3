import { expect, test } from 'vitest';
import { dealOut } from './assigner.js';

const places = (topic: string, count: number) =>
  Array.from({ length: count }, (_, partition) => ({ topic, partition }));

test('partitions go in turn to members that asked for all topics', () => {
  const wishes = new Map([
    ['b', ['t']],
    ['a', ['t']],
  ]);

  expect(Object.fromEntries(dealOut(wishes, places('t', 5)))).toEqual({ a: { t: [0, 2, 4] }, b: { t: [1, 3] } });
});

test('a member gets nothing of a topic that it did not ask for', () => {
  const wishes = new Map([
    ['old', ['one']],
    ['new', ['one', 'two']],
  ]);

  const dealt = dealOut(wishes, [...places('one', 2), ...places('two', 3)]);

  expect(Object.keys(dealt.get('old')!)).toEqual(['one']);
  expect(dealt.get('new')).toMatchObject({ two: [0, 1, 2] });
});

test('every partition that somebody asked for has one owner, and nobody is left out of the list', () => {
  const wishes = new Map([
    ['a', ['x', 'y']],
    ['b', ['y', 'z']],
    ['c', [] as string[]],
  ]);
  const all = [...places('x', 3), ...places('y', 4), ...places('z', 2), ...places('nobody', 2)];

  const dealt = dealOut(wishes, all);

  const owned = [...dealt.values()].flatMap((topics) =>
    Object.entries(topics).flatMap(([topic, partitions]) => partitions.map((partition) => `${topic}/${partition}`)),
  );
  expect(owned.sort()).toEqual(
    all.filter(({ topic }) => topic !== 'nobody').map(({ topic, partition }) => `${topic}/${partition}`),
  );
  expect([...dealt.keys()]).toEqual(['a', 'b', 'c']);
});
