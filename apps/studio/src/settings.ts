import { join } from 'node:path';

/** What the environment says about this process. */
export interface Settings {
  /** STUDIO_PORT, by default 3001. */
  readonly port: number;
  /** HOST, by default 127.0.0.1: the sample asks nobody for a password. An address of this machine alone answers to no other name. */
  readonly host: string;
  /** DATABASE_URL of PostgreSQL; without it a SQLite file. */
  readonly databaseUrl?: string;
  readonly databaseFile: string;
  readonly bus: BusSettings;
}

export type BusSettings = { readonly topicPrefix?: string } & (
  | { readonly kind: 'embedded'; readonly path: string }
  | { readonly kind: 'kafka'; readonly brokers: readonly string[]; readonly registryUrl: string }
);

export type Environment = Readonly<Record<string, string | undefined>>;

/** Reads the environment, or throws one error that names everything that is wrong. */
export function readSettings(env: Environment): Settings {
  const problems: string[] = [];
  const statePath = env['EVENT_BUS_PATH'] || '.data';
  const settings = {
    port: readPort('STUDIO_PORT', env['STUDIO_PORT'] || '3001', problems),
    host: env['HOST'] || '127.0.0.1',
    ...(env['DATABASE_URL'] ? { databaseUrl: env['DATABASE_URL'] } : {}),
    databaseFile: join(statePath, 'studio.db'),
    bus: readBus(env, statePath, problems),
  };
  if (problems.length > 0) throw new Error(problems.join('\n'));
  return settings;
}

function readPort(name: string, text: string, problems: string[]): number {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port > 65_535) problems.push(`${name} must be a port between 0 and 65535, got "${text}".`);
  return port;
}

function readBus(env: Environment, statePath: string, problems: string[]): BusSettings {
  const kind = env['EVENT_BUS'] || 'embedded';
  const prefix = env['EVENT_BUS_TOPIC_PREFIX'] ? { topicPrefix: env['EVENT_BUS_TOPIC_PREFIX'] } : {};
  if (kind === 'kafka') return { kind, ...readKafka(env, problems), ...prefix };
  if (kind !== 'embedded') problems.push(`EVENT_BUS must be "embedded" or "kafka", got "${kind}".`);
  return { kind: 'embedded', path: join(statePath, 'bus'), ...prefix };
}

function readKafka(env: Environment, problems: string[]) {
  const brokers = (env['KAFKA_BROKERS'] ?? '').split(',').filter((broker) => broker.trim() !== '');
  const registryUrl = env['SCHEMA_REGISTRY_URL'] ?? '';
  if (brokers.length === 0) problems.push('EVENT_BUS=kafka needs KAFKA_BROKERS, such as 127.0.0.1:9092.');
  if (registryUrl === '') {
    problems.push('EVENT_BUS=kafka needs SCHEMA_REGISTRY_URL, such as http://127.0.0.1:8081/apis/ccompat/v7.');
  }
  return { brokers: brokers.map((broker) => broker.trim()), registryUrl };
}
