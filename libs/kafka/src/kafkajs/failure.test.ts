import { BusError } from '@event-bus/core';
import { expect, it } from 'vitest';
import { protocolError } from './cluster.js';
import { busErrorOf, isFenced, isRefusal, protocolType } from './failure.js';
import { kafkajs } from './library.js';

const errors = kafkajs as unknown as Record<string, new (error: unknown, options?: object) => Error>;

it.each([
  [3, 'BUS_TOPIC_MISSING'],
  [10, 'BUS_RECORD_TOO_LARGE'],
  [29, 'BUS_TRANSPORT_REFUSED'],
  [35, 'BUS_UNSUPPORTED'],
  [6, 'BUS_TRANSPORT_UNAVAILABLE'],
  [45, 'BUS_TRANSPORT_UNAVAILABLE'],
])("gives Kafka's error %i the code %s", (number, code) => {
  expect(busErrorOf(protocolError(number), 'Sending')).toMatchObject({ code });
});

it('finds the reason below the wrappers of kafkajs', () => {
  const wrapped = new errors['KafkaJSNumberOfRetriesExceeded']!(protocolError(3), { retryCount: 5, retryTime: 1 });
  expect(busErrorOf(wrapped, 'Sending')).toMatchObject({
    code: 'BUS_TOPIC_MISSING',
    details: { kafka: 'UNKNOWN_TOPIC_OR_PARTITION' },
  });
  expect(protocolType(wrapped)).toBe('UNKNOWN_TOPIC_OR_PARTITION');
  expect(isRefusal(wrapped)).toBe(true);
  expect(busErrorOf({ name: 'KafkaJSAggregateError', errors: [protocolError(38)] }, 'Creating')).toMatchObject({
    code: 'BUS_TRANSPORT_REFUSED',
  });
});

it('takes an error of a certificate for a refusal, and one of the network for an outage', () => {
  expect(busErrorOf(Object.assign(new Error('x'), { code: 'SELF_SIGNED_CERT_IN_CHAIN' }), 'Connecting')).toMatchObject({
    code: 'BUS_TRANSPORT_REFUSED',
  });
  expect(busErrorOf(Object.assign(new Error('x'), { code: 'ECONNREFUSED' }), 'Connecting')).toMatchObject({
    code: 'BUS_TRANSPORT_UNAVAILABLE',
    retryable: true,
  });
});

it('hands an error of the bus on as it is', () => {
  const own = new BusError('BUS_CLOSED', 'closed');
  expect(busErrorOf(own, 'Sending')).toBe(own);
  expect(busErrorOf(new errors['KafkaJSNonRetriableError']!('x', { cause: own }), 'Sending')).toBe(own);
});

it('makes something of anything', () => {
  for (const odd of [undefined, null, 'text', 7, {}])
    expect(busErrorOf(odd, 'Sending')).toMatchObject({ code: 'BUS_TRANSPORT_UNAVAILABLE' });
  const circle: { cause?: unknown } = {};
  circle.cause = circle;
  expect(busErrorOf(circle, 'Sending').code).toBe('BUS_TRANSPORT_UNAVAILABLE');
});

it('knows who is thrown out of a group', () => {
  expect([22, 25, 82].map((code) => isFenced(protocolError(code)))).toEqual([true, true, true]);
  expect([27, 16, 15].map((code) => isFenced(protocolError(code)))).toEqual([false, false, false]);
});
