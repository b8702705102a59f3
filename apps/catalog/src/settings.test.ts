import { expect, test } from 'vitest';
import { readSettings } from './settings.js';

test('an empty environment is the embedded log below .data', () => {
  expect(readSettings({})).toEqual({
    port: 3002,
    host: '127.0.0.1',
    databaseFile: '.data/catalog.db',
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
  expect(() => readSettings({ CATALOG_PORT: '-1', EVENT_BUS: 'kafka' })).toThrow(
    /CATALOG_PORT.*KAFKA_BROKERS.*SCHEMA_REGISTRY_URL/s,
  );
  expect(() => readSettings({ EVENT_BUS: 'carrier-pigeon' })).toThrow(/EVENT_BUS must be .*"carrier-pigeon"/);
});

test('CATALOG_DB gives a second Catalog a file of its own', () => {
  expect(readSettings({ CATALOG_DB: '/tmp/other.db' }).databaseFile).toBe('/tmp/other.db');
});
