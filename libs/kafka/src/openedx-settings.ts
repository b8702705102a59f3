/**
 * The settings that an Open edX installation already has, read from the environment as they are: their names and meanings are those of
 * openedx-events and edx-event-bus-kafka.
 */
import { Secret } from '@event-bus/avro';
import { BusError, type Routes } from '@event-bus/core';
import type { KafkaOptions } from './kafka.js';

export interface OpenedxSettings {
  /** For `kafka(…)`. Shown somewhere, its secrets are `[secret]`. */
  readonly kafka: Pick<KafkaOptions, 'brokers' | 'registry'> & Partial<Pick<KafkaOptions, 'sasl' | 'tls' | 'clientId'>>;
  readonly service: string;
  readonly topicPrefix: string;
  /** From EVENT_BUS_PRODUCER_CONFIG. */
  readonly routes: Routes;
  /** From EVENT_BUS_KAFKA_CONSUMERS_ENABLED: whether handlers are to start. For `autoStart` of the Nest module. */
  readonly consumersEnabled: boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Reads EVENT_BUS_KAFKA_BOOTSTRAP_SERVERS, EVENT_BUS_KAFKA_API_KEY and _API_SECRET (which mean SASL_SSL with PLAIN),
 * EVENT_BUS_KAFKA_SCHEMA_REGISTRY_URL, _API_KEY and _API_SECRET, EVENT_BUS_TOPIC_PREFIX, EVENTS_SERVICE_NAME or SERVICE_VARIANT,
 * EVENT_BUS_KAFKA_CONSUMERS_ENABLED, and EVENT_BUS_PRODUCER_CONFIG as JSON. Throws `BUS_CONFIG_INVALID` with everything that is missing
 * or wrong.
 */
export function openedxSettings(environment: Environment = process.env): OpenedxSettings {
  const problems: string[] = [];
  const list = (name: string) => {
    const values = (environment[name] ?? '').split(',').map((value) => value.trim());
    const found = values.filter(Boolean);
    if (found.length === 0) problems.push(`${name} is not set.`);
    return found;
  };
  const credentials = pair(environment, 'EVENT_BUS_KAFKA_API', problems);
  const brokers = list(BROKERS).map((broker) => addressOf(broker, credentials ? 'SASL_SSL' : 'PLAINTEXT', problems));
  const urls = list('EVENT_BUS_KAFKA_SCHEMA_REGISTRY_URL');
  const registryCredentials = pair(environment, 'EVENT_BUS_KAFKA_SCHEMA_REGISTRY_API', problems);
  const service = environment['EVENTS_SERVICE_NAME'] || environment['SERVICE_VARIANT'] || 'SERVICE_NAME_UNSET';
  const consumersEnabled = flag(environment, 'EVENT_BUS_KAFKA_CONSUMERS_ENABLED', problems);
  const routes = producerConfig(environment['EVENT_BUS_PRODUCER_CONFIG'], problems);
  if (problems.length > 0) throw new BusError('BUS_CONFIG_INVALID', problems.join('\n'), { details: { problems } });
  return {
    kafka: {
      brokers,
      registry: { url: urls, ...(registryCredentials === undefined ? {} : { auth: registryCredentials }) },
      clientId: service,
      ...(credentials === undefined
        ? {}
        : { tls: true as const, sasl: { mechanism: 'plain' as const, ...credentials } }),
    },
    service,
    topicPrefix: environment['EVENT_BUS_TOPIC_PREFIX'] ?? '',
    routes,
    consumersEnabled,
  };
}

const BROKERS = 'EVENT_BUS_KAFKA_BOOTSTRAP_SERVERS';

/** As librdkafka takes it: with the name of its protocol or without, and with a port or without. */
function addressOf(broker: string, protocol: string, problems: string[]): string {
  const [, named, address] = /^(?:([A-Za-z_]+):\/\/)?(.*)$/.exec(broker)!;
  if (named !== undefined && named.toUpperCase() !== protocol)
    problems.push(
      `${BROKERS} says ${named} of a broker, but ${protocol} is meant: EVENT_BUS_KAFKA_API_KEY and _API_SECRET decide.`,
    );
  return /:\d+$/.test(address!) ? address! : `${address}:${DEFAULT_PORT}`;
}

const DEFAULT_PORT = 9092;

function pair(environment: Environment, name: string, problems: string[]) {
  const username = environment[`${name}_KEY`];
  const password = environment[`${name}_SECRET`];
  if (Boolean(username) !== Boolean(password))
    problems.push(`${name}_KEY and ${name}_SECRET go together; only one of them is set.`);
  return username && password ? { username, password: new Secret(password) } : undefined;
}

/** On, unless it says otherwise. */
function flag(environment: Environment, name: string, problems: string[]): boolean {
  const text = (environment[name] ?? '').trim().toLowerCase();
  if (['', 'true', '1', 'yes', 'on'].includes(text)) return true;
  if (['false', '0', 'no', 'off'].includes(text)) return false;
  problems.push(`${name} must be true or false, got ${JSON.stringify(environment[name])}.`);
  return false;
}

/** `{ "<event type>": { "<topic>": { "event_key_field": "a.b", "enabled": true } } }` */
function producerConfig(text: string | undefined, problems: string[]): Routes {
  if (!text) return {};
  let config: unknown;
  try {
    config = JSON.parse(text);
  } catch {
    problems.push('EVENT_BUS_PRODUCER_CONFIG is not JSON.');
    return {};
  }
  return mapObject(config, 'EVENT_BUS_PRODUCER_CONFIG', problems, (topics, type) =>
    mapObject(topics, `EVENT_BUS_PRODUCER_CONFIG["${type}"]`, problems, (route, topic) => {
      const { event_key_field: keyField, enabled = true } = (route ?? {}) as {
        event_key_field?: unknown;
        enabled?: unknown;
      };
      const place = `EVENT_BUS_PRODUCER_CONFIG["${type}"]["${topic}"]`;
      if (typeof keyField !== 'string') problems.push(`${place} needs "event_key_field", a dotted path into the data.`);
      if (typeof enabled !== 'boolean') problems.push(`${place}: "enabled" must be true or false.`);
      return { keyField: String(keyField), enabled: enabled === true };
    }),
  );
}

function mapObject<T>(
  value: unknown,
  place: string,
  problems: string[],
  map: (value: unknown, name: string) => T,
): Record<string, T> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    problems.push(`${place} must be a JSON object.`);
    return {};
  }
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, map(inner, name)]));
}
