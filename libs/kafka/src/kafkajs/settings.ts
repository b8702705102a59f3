/** What a user says about the connection, checked, and the numbers that this library has chosen for kafkajs. */
import type { ConnectionOptions } from 'node:tls';
import type { SecretText } from '@event-bus/avro';
import { revealed } from '@event-bus/avro/internal';
import { BusError, systemClock } from '@event-bus/core';
import { abortable } from '@event-bus/core/internal';
import type { ConsumerConfig, KafkaConfig, SASLOptions, logLevel } from 'kafkajs';
import type { FastPathOptions } from './fast-path.js';
import type { KafkaCodec } from './compression.js';
import { openSocket } from './socket.js';

export interface KafkaConnectionOptions {
  /** `host:port`, several for a start when one is down. */
  readonly brokers: readonly string[];
  /** How brokers call this client in their logs and quotas. Default `event-bus`. */
  readonly clientId?: string;
  /** `true`, or options of `tls.connect`: `ca`, `cert`, `key`, `servername`. Default: no TLS. */
  readonly tls?: true | ConnectionOptions;
  /** Refused without TLS, since it would show the password to the network; see `allowSaslWithoutTls`. */
  readonly sasl?: KafkaSasl;
  /** For a broker on the same machine or behind a tunnel. Default false. */
  readonly allowSaslWithoutTls?: boolean;
  /** For tests with a certificate that nobody signed: lets `rejectUnauthorized: false` pass in production too. Default false. */
  readonly allowUnverifiedTls?: boolean;
  /** Codecs for compressed records of other producers. gzip is always there, zstd on Node 22.15 and later. */
  readonly codecs?: { readonly snappy?: KafkaCodec; readonly lz4?: KafkaCodec; readonly zstd?: KafkaCodec };
  /** Largest record batch after decompression, in bytes. Default 64 MiB. */
  readonly maxDecompressedBytes?: number;
  /** `false` switches our encoder, decoder and timer off; see `FastPathOptions`. Default on. */
  readonly fastPath?: false | FastPathOptions;
}

export type KafkaSasl =
  | {
      readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512';
      readonly username: string;
      readonly password: SecretText;
    }
  /** `token` is called for each connection and again before the token that the broker saw expires. */
  | { readonly mechanism: 'oauthbearer'; readonly token: () => Promise<string> };

/** Every fault at once, each with its option, what was expected and the value; empty when all is well. Never shows a secret. */
export function connectionFaults(
  options: KafkaConnectionOptions,
  production = process.env['NODE_ENV'] === 'production',
): string[] {
  return [
    ...brokerFaults(options.brokers),
    ...saslFaults(options),
    ...tlsFaults(options, production),
    ...numberFaults(options),
  ];
}

function brokerFaults(brokers: unknown): string[] {
  if (!Array.isArray(brokers) || brokers.length === 0)
    return ['Option "brokers" must be a list of "host:port" with at least one entry.'];
  return brokers
    .filter((broker) => typeof broker !== 'string' || !HOST_AND_PORT.test(broker))
    .map(
      (broker) => `Option "brokers" must hold "host:port" (a name or an IPv4 address), got ${JSON.stringify(broker)}.`,
    );
}

const HOST_AND_PORT = /^[^\s:/[\]]+:\d{1,5}$/;

function saslFaults({ sasl, tls, allowSaslWithoutTls }: KafkaConnectionOptions): string[] {
  if (!sasl) return [];
  const faults: string[] = [];
  if (!MECHANISMS.includes(sasl.mechanism))
    faults.push(
      `Option "sasl.mechanism" must be one of ${MECHANISMS.join(', ')}, got ${JSON.stringify(sasl.mechanism)}.`,
    );
  else if (sasl.mechanism === 'oauthbearer') {
    if (typeof sasl.token !== 'function')
      faults.push('Option "sasl.token" must be a function that resolves to a token.');
  } else {
    for (const name of ['username', 'password'] as const) {
      if (!revealed(sasl[name])) faults.push(`Option "sasl.${name}" must be a text that is not empty.`);
    }
  }
  if (!tls && !allowSaslWithoutTls) {
    faults.push(
      'Option "sasl" without "tls" would show the credentials to the network: set "tls: true", or allow it by name with "allowSaslWithoutTls: true".',
    );
  }
  return faults;
}

const MECHANISMS: readonly string[] = ['plain', 'scram-sha-256', 'scram-sha-512', 'oauthbearer'];

function tlsFaults({ tls, allowUnverifiedTls }: KafkaConnectionOptions, production: boolean): string[] {
  const unverified = typeof tls === 'object' && tls.rejectUnauthorized === false;
  if (!unverified || !production || allowUnverifiedTls) return [];
  return [
    'Option "tls.rejectUnauthorized" is false, so anybody may pose as the broker: give the certificate as "tls.ca", or allow it by name with "allowUnverifiedTls: true".',
  ];
}

function numberFaults({ maxDecompressedBytes }: KafkaConnectionOptions): string[] {
  if (maxDecompressedBytes === undefined || (Number.isSafeInteger(maxDecompressedBytes) && maxDecompressedBytes > 0))
    return [];
  return [`Option "maxDecompressedBytes" must be a positive integer, got ${maxDecompressedBytes}.`];
}

/** The settings of one `Kafka` object. Throws `BUS_CONFIG_INVALID` with all faults. */
export function kafkaConfig(options: KafkaConnectionOptions, log: NonNullable<KafkaConfig['logCreator']>): KafkaConfig {
  const faults = connectionFaults(options);
  if (faults.length > 0) throw new BusError('BUS_CONFIG_INVALID', faults.join('\n'), { details: { faults } });
  return {
    brokers: [...options.brokers],
    clientId: options.clientId ?? 'event-bus',
    ...(options.tls ? { ssl: { minVersion: 'TLSv1.2', ...(options.tls === true ? {} : options.tls) } } : {}),
    ...(options.sasl ? { sasl: saslConfig(options.sasl) } : {}),
    connectionTimeout: 10_000,
    authenticationTimeout: AUTHENTICATION_TIMEOUT_MS,
    // The broker's own answer to a Produce comes after 8 s at the latest, so this one means that it does not answer at all.
    requestTimeout: REQUEST_TIMEOUT_MS,
    retry: CLIENT_RETRY,
    socketFactory: openSocket,
    logLevel: WARN,
    logCreator: log,
  };
}

function saslConfig(sasl: KafkaSasl): NonNullable<KafkaConfig['sasl']> {
  if (sasl.mechanism === 'oauthbearer')
    return { mechanism: 'oauthbearer', oauthBearerProvider: async () => ({ value: await tokenOf(sasl) }) };
  // A fresh object each time: kafkajs writes into it.
  return { mechanism: sasl.mechanism, username: sasl.username, password: revealed(sasl.password) } as SASLOptions;
}

/** kafkajs waits for it for ever, and everybody else for kafkajs. */
async function tokenOf({ token }: Extract<KafkaSasl, { mechanism: 'oauthbearer' }>): Promise<string> {
  const late = new AbortController();
  const cancel = systemClock.timer(AUTHENTICATION_TIMEOUT_MS, () => {
    const text = `The function of option "sasl.token" gave no token within ${AUTHENTICATION_TIMEOUT_MS / 1_000} s.`;
    late.abort(new BusError('BUS_TRANSPORT_UNAVAILABLE', text));
  });
  try {
    return await abortable(late.signal, Promise.resolve(token()));
  } finally {
    cancel();
  }
}

const AUTHENTICATION_TIMEOUT_MS = 10_000;
export const REQUEST_TIMEOUT_MS = 10_000;
/** kafkajs waits for answers while it disconnects, and those of a broker that is away never come. */
export const DISCONNECT_TIMEOUT_MS = 10_000;
export const PRODUCE_TIMEOUT_MS = 8_000;
export const METADATA_MAX_AGE_MS = 60_000;
export const SESSION_TIMEOUT_MS = 30_000;
/** How soon a member hears of a rebalance. kafkajs asks every 3 s; one small request a second lets a deploy wait a third of that. */
export const HEARTBEAT_INTERVAL_MS = 1_000;
export const REBALANCE_TIMEOUT_MS = 60_000;
export const MAX_WAIT_MS = 250;
/** What one answer may hold. All of it is decoded at once: of more, most outlives the young generation, and a third of the time goes into that. */
export const MAX_FETCH_BYTES = 1024 * 1024;

const CLIENT_RETRY = { retries: 5, initialRetryTime: 100, maxRetryTime: 2_000 } as const;
// kafkajs' own number for this level; its enum is no use to a bundler that drops types.
const WARN = 2 as logLevel;

export const CONSUMER_CONFIG: Omit<ConsumerConfig, 'groupId'> = {
  maxWaitTimeInMs: MAX_WAIT_MS,
  minBytes: 1,
  maxBytesPerPartition: MAX_FETCH_BYTES,
  maxBytes: MAX_FETCH_BYTES,
  sessionTimeout: SESSION_TIMEOUT_MS,
  heartbeatInterval: HEARTBEAT_INTERVAL_MS,
  rebalanceTimeout: REBALANCE_TIMEOUT_MS,
  allowAutoTopicCreation: false,
  metadataMaxAge: METADATA_MAX_AGE_MS,
  // Restarts have one path, ours.
  retry: { retries: 10, initialRetryTime: 100, maxRetryTime: 5_000, restartOnFailure: async () => false },
};

/** How many `eachBatch` may be open: they only hand over. Not the concurrency of handlers. */
export const PARTITIONS_AT_ONCE = 8;
