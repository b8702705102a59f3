import { Secret } from '@event-bus/avro';
import { expect, it, vi } from 'vitest';
import { connectionFaults, kafkaConfig, type KafkaConnectionOptions } from './settings.js';

const brokers = ['kafka-1:9092'];
const faults = (options: Partial<KafkaConnectionOptions>, production = false) =>
  connectionFaults({ brokers, ...options }, production);

it('takes a plain list of brokers', () => {
  expect(faults({})).toEqual([]);
});

it.each([[[]], [['kafka']], [['kafka:port']], [['[::1]:9092']], [['http://kafka:9092']], ['kafka:9092']])(
  'refuses the brokers %j',
  (brokers) => {
    expect(faults({ brokers: brokers as string[] }).join()).toMatch(/Option "brokers"/);
  },
);

it('refuses SASL without TLS unless that is allowed by name', () => {
  const sasl = { mechanism: 'plain', username: 'u', password: 'top-secret' } as const;
  expect(faults({ sasl }).join()).toMatch(/allowSaslWithoutTls/);
  expect(faults({ sasl }).join()).not.toContain('top-secret');
  expect(faults({ sasl, tls: true })).toEqual([]);
  expect(faults({ sasl, allowSaslWithoutTls: true })).toEqual([]);
});

it('takes a password in a wrapping, and hands it to nobody but kafkajs', () => {
  const sasl = { mechanism: 'plain', username: 'u', password: new Secret('top-secret') } as const;
  expect(faults({ sasl, tls: true })).toEqual([]);
  expect(kafkaConfig({ brokers, tls: true, sasl }, () => () => {}).sasl).toEqual({ ...sasl, password: 'top-secret' });
});

it('refuses credentials that are missing, and mechanisms it does not know', () => {
  expect(faults({ tls: true, sasl: { mechanism: 'scram-sha-512', username: '', password: 'x' } }).join()).toMatch(
    /sasl\.username/,
  );
  expect(faults({ tls: true, sasl: { mechanism: 'oauthbearer' } as never }).join()).toMatch(/sasl\.token/);
  expect(faults({ tls: true, sasl: { mechanism: 'gssapi' } as never }).join()).toMatch(/plain, scram-sha-256/);
});

it('refuses unverified certificates in production unless that is allowed by name', () => {
  const tls = { rejectUnauthorized: false };
  expect(faults({ tls })).toEqual([]);
  expect(faults({ tls }, true).join()).toMatch(/allowUnverifiedTls/);
  expect(faults({ tls, allowUnverifiedTls: true }, true)).toEqual([]);
});

it('names all faults at once', () => {
  const options = { brokers: ['x'], sasl: { mechanism: 'plain', username: '', password: '' } } as const;
  expect(() => kafkaConfig(options, () => () => {})).toThrow(
    expect.objectContaining({ code: 'BUS_CONFIG_INVALID' }) as Error,
  );
  expect(faults(options)).toHaveLength(4);
});

it('never goes below TLS 1.2 unless told to', () => {
  expect(kafkaConfig({ brokers, tls: { ca: 'x' } }, () => () => {}).ssl).toEqual({ minVersion: 'TLSv1.2', ca: 'x' });
});

it('does not wait for ever for a token', async () => {
  vi.useFakeTimers();
  const sasl = { mechanism: 'oauthbearer', token: () => new Promise<string>(() => {}) } as const;
  const config = kafkaConfig({ brokers, tls: true, sasl }, () => () => {});
  const { oauthBearerProvider } = config.sasl as { oauthBearerProvider: () => Promise<unknown> };
  const token = oauthBearerProvider().catch((error: unknown) => error);

  vi.advanceTimersByTime(10_000);

  expect(await token).toMatchObject({ code: 'BUS_TRANSPORT_UNAVAILABLE' });
  vi.useRealTimers();
});
