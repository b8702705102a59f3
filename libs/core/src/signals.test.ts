import { channel } from 'node:diagnostics_channel';
import { expect, test } from 'vitest';
import { signals, type CommittedFact } from './signals.js';

const fact: CommittedFact = {
  bus: 'default',
  service: 'catalog',
  instance: Symbol('bus'),
  group: 'catalog',
  topic: 'courses',
  partition: 0,
  position: '5',
};

test('a signal is heard by whoever subscribed, until they stop', () => {
  const heard: CommittedFact[] = [];
  expect(signals.committed.isHeard).toBe(false);
  const stop = signals.committed.subscribe((one) => heard.push(one));
  expect(signals.committed.isHeard).toBe(true);
  signals.committed.publish(fact);
  stop();
  signals.committed.publish(fact);
  expect(heard).toEqual([fact]);
  expect(signals.committed.isHeard).toBe(false);
});

test('every signal is a channel of Node under the name of the bus, each with its own', () => {
  const names = Object.values(signals).map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  for (const [key, { name }] of Object.entries(signals)) {
    expect(name).toBe(`event-bus:${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`);
  }
  const heard: unknown[] = [];
  const hear = (one: unknown) => heard.push(one);
  channel('event-bus:committed').subscribe(hear);
  signals.committed.publish(fact);
  channel('event-bus:committed').unsubscribe(hear);
  expect(heard).toEqual([fact]);
});
