import { expect, test } from 'vitest';
import { readSettings } from './settings.js';

test('an empty environment is the embedded log below .data', () => {
  expect(readSettings({})).toEqual({
    port: 3001,
    host: '127.0.0.1',
    databaseFile: '.data/studio.db',
    bus: { kind: 'embedded', path: '.data/bus' },
  });
});

test('Kafka takes its brokers, registry and prefix', () => {
  const env = {
    EVENT_BUS: 'kafka',
    KAFKA_BROKERS: 'a:1, b:2',
    SCHEMA_REGISTRY_URL: 'http://r',
    EVENT_BUS_TOPIC_PREFIX: 'dev',
  };
  expect(readSettings(env).bus).toEqual({
    kind: 'kafka',
    brokers: ['a:1', 'b:2'],
    registryUrl: 'http://r',
    topicPrefix: 'dev',
  });
});

test('everything that is wrong is named at once', () => {
  expect(() => readSettings({ STUDIO_PORT: '-1', EVENT_BUS: 'kafka' })).toThrow(
    /STUDIO_PORT.*KAFKA_BROKERS.*SCHEMA_REGISTRY_URL/s,
  );
  expect(() => readSettings({ EVENT_BUS: 'carrier-pigeon' })).toThrow(/EVENT_BUS must be .*"carrier-pigeon"/);
});
