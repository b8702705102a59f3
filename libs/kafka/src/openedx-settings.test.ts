import { inspect } from 'node:util';
import { expect, test } from 'vitest';
import { kafka } from './kafka.js';
import { openedxSettings } from './openedx-settings.js';

const needed = {
  EVENT_BUS_KAFKA_BOOTSTRAP_SERVERS: 'kafka:9092',
  EVENT_BUS_KAFKA_SCHEMA_REGISTRY_URL: 'https://registry:8081',
};
const read = (more: Record<string, string> = {}) => openedxSettings({ ...needed, ...more });

test('what is needed is enough, and the rest has the defaults of Open edX', () => {
  expect(read()).toEqual({
    kafka: { brokers: ['kafka:9092'], registry: { url: ['https://registry:8081'] }, clientId: 'SERVICE_NAME_UNSET' },
    service: 'SERVICE_NAME_UNSET',
    topicPrefix: '',
    routes: {},
    consumersEnabled: true,
  });
});

test.each([
  ['kafka', ['kafka:9092']],
  [' kafka-1:9093 , kafka-2 ,', ['kafka-1:9093', 'kafka-2:9092']],
  ['PLAINTEXT://kafka', ['kafka:9092']],
])('the brokers %j are taken as librdkafka takes them', (servers, brokers) => {
  expect(read({ EVENT_BUS_KAFKA_BOOTSTRAP_SERVERS: servers }).kafka.brokers).toEqual(brokers);
});

test('a key and its secret mean TLS and SASL PLAIN, and the secrets are not shown', () => {
  const settings = read({
    EVENT_BUS_KAFKA_BOOTSTRAP_SERVERS: 'SASL_SSL://kafka:9094',
    EVENT_BUS_KAFKA_API_KEY: 'key',
    EVENT_BUS_KAFKA_API_SECRET: 's3cret',
    EVENT_BUS_KAFKA_SCHEMA_REGISTRY_API_KEY: 'registry-key',
    EVENT_BUS_KAFKA_SCHEMA_REGISTRY_API_SECRET: 's3cret too',
  });

  expect(settings.kafka).toMatchObject({
    brokers: ['kafka:9094'],
    tls: true,
    sasl: { mechanism: 'plain', username: 'key' },
    registry: { auth: { username: 'registry-key' } },
  });
  expect(inspect(settings, { depth: 9, showHidden: true }) + JSON.stringify(settings)).not.toContain('s3cret');
  kafka(settings.kafka); // takes them as they are
});

test('names, prefix and routes are those of the services', () => {
  const settings = read({
    SERVICE_VARIANT: 'cms',
    EVENT_BUS_TOPIC_PREFIX: 'prod',
    EVENT_BUS_PRODUCER_CONFIG: JSON.stringify({
      'org.test.a.v1': { a: { event_key_field: 'course.key', enabled: false }, b: { event_key_field: 'user' } },
    }),
  });

  expect(settings).toMatchObject({ service: 'cms', topicPrefix: 'prod', kafka: { clientId: 'cms' } });
  expect(settings.routes).toEqual({
    'org.test.a.v1': { a: { keyField: 'course.key', enabled: false }, b: { keyField: 'user', enabled: true } },
  });
  expect(read({ EVENTS_SERVICE_NAME: 'studio', SERVICE_VARIANT: 'cms' }).service).toBe('studio');
});

test.each([
  ['False', false],
  ['0', false],
  ['True', true],
  ['', true],
])('consumers with %j are enabled: %s', (text, expected) => {
  expect(read({ EVENT_BUS_KAFKA_CONSUMERS_ENABLED: text }).consumersEnabled).toBe(expected);
});

test('everything that is missing or wrong is said at once, and nothing that is secret', () => {
  const wrong = {
    EVENT_BUS_KAFKA_BOOTSTRAP_SERVERS: 'SSL://kafka:9092',
    EVENT_BUS_KAFKA_API_SECRET: 's3cret',
    EVENT_BUS_KAFKA_CONSUMERS_ENABLED: 'perhaps',
    EVENT_BUS_PRODUCER_CONFIG: '{"a": {"t": {"enabled": "no"}}, "b": []}',
  };
  let error: Error | undefined;
  try {
    openedxSettings(wrong);
  } catch (thrown) {
    error = thrown as Error;
  }

  expect(error).toMatchObject({ code: 'BUS_CONFIG_INVALID' });
  expect(error!.message.split('\n')).toEqual([
    'EVENT_BUS_KAFKA_API_KEY and EVENT_BUS_KAFKA_API_SECRET go together; only one of them is set.',
    'EVENT_BUS_KAFKA_BOOTSTRAP_SERVERS says SSL of a broker, but PLAINTEXT is meant: EVENT_BUS_KAFKA_API_KEY and _API_SECRET decide.',
    'EVENT_BUS_KAFKA_SCHEMA_REGISTRY_URL is not set.',
    'EVENT_BUS_KAFKA_CONSUMERS_ENABLED must be true or false, got "perhaps".',
    'EVENT_BUS_PRODUCER_CONFIG["a"]["t"] needs "event_key_field", a dotted path into the data.',
    'EVENT_BUS_PRODUCER_CONFIG["a"]["t"]: "enabled" must be true or false.',
    'EVENT_BUS_PRODUCER_CONFIG["b"] must be a JSON object.',
  ]);
  expect(error!.message).not.toContain('s3cret');
  expect(() => openedxSettings({ ...needed, EVENT_BUS_PRODUCER_CONFIG: '{' })).toThrow('is not JSON');
});
