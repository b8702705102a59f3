import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { KafkaConnectionOptions } from '../../libs/kafka/src/kafkajs/settings.js';
import { startServers, type KafkaServers } from './broker.js';
import { Member, eventually, freshTopic, numbered, openPort, store } from './port.js';

const servers = await startServers({ own: true, security: true });

const NONE = { ssl: '', saslPlaintext: '', saslSsl: '', authority: '', client: '', username: '', password: '' };

/** Makes a topic, stores in it and handles it. */
async function works(brokers: string, options: Partial<KafkaConnectionOptions>): Promise<void> {
  const { client } = openPort(brokers.split(','), options);
  const topic = await freshTopic(client);
  await store(client, [numbered(topic, 0, 0, 3)]);
  const member = new Member(client, { topic });
  await member.run();
  await eventually(() => member.begun.length === 3);
  await member.stop();
  await client.close();
}

/** A token that nobody signed. */
function unsigned(username: string, seconds: number): string {
  const now = Math.floor(Date.now() / 1_000);
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'none' })}.${part({ sub: username, iat: now, exp: now + seconds })}.`;
}

describe.skipIf(!servers)('a connection to Kafka', () => {
  const security = servers?.security ?? NONE;
  const { username, password } = security;
  const tls = { ca: servers ? readFileSync(security.authority) : '' };
  afterAll(() => servers!.stop());

  it('works with TLS', () => works(security.ssl, { tls }));

  it.each(['plain', 'scram-sha-256', 'scram-sha-512'] as const)(
    'works with SASL %s, over TLS and without',
    async (mechanism) => {
      const sasl = { mechanism, username, password };
      await works(security.saslSsl, { tls, sasl });
      await works(security.saslPlaintext, { sasl, allowSaslWithoutTls: true });
    },
  );

  it('works with a token that is asked for at each connection', async () => {
    let tokens = 0;
    const token = async () => {
      tokens++;
      return unsigned(username, 3_600);
    };
    await works(security.saslSsl, { tls, sasl: { mechanism: 'oauthbearer', token } });
    expect(tokens).toBeGreaterThan(1);
  });

  it.each([
    [
      'a wrong password',
      () =>
        openPort(security.saslSsl.split(','), { tls, sasl: { mechanism: 'plain', username, password: 'wrong-one' } }),
    ],
    ['a certificate that nobody knows', () => openPort(security.ssl.split(','), { tls: true })],
  ])('is refused with %s, and says so without the secret', async (_, open) => {
    const { client, notices } = open();
    const error = await client.admin.open().catch((thrown: unknown) => thrown as Error);
    expect(error).toMatchObject({ code: 'BUS_TRANSPORT_REFUSED' });
    expect(JSON.stringify([(error as Error).message, notices])).not.toContain('wrong-one');
    await client.close();
  });
});

// After the others have gone.
describe.skipIf(!servers)('a connection to Kafka that asks for more', () => {
  let strict: KafkaServers;
  let security = NONE;
  beforeAll(async () => {
    const extraConfig = ['listener.name.ssl.ssl.client.auth=required', `connections.max.reauth.ms=${SESSION_MS}`];
    strict = (await startServers({ own: true, security: true, extraConfig }))!;
    security = strict.security!;
  });
  afterAll(() => strict?.stop());

  it('works with a certificate of the client, and is refused without one', async () => {
    const ca = readFileSync(security.authority);
    const pair = readFileSync(security.client);
    await works(security.ssl, { tls: { ca, cert: pair, key: pair } });

    const { client } = openPort(security.ssl.split(','), { tls: { ca } });
    await expect(client.admin.open()).rejects.toMatchObject({ code: 'BUS_TRANSPORT_REFUSED' });
    await client.close();
  });

  it('goes on over the end of its tokens', async () => {
    const { username, saslSsl } = security;
    let tokens = 0;
    const token = async () => {
      tokens++;
      return unsigned(username, SESSION_MS / 1_000);
    };
    const tls = { ca: readFileSync(security.authority) };
    const { client } = openPort(saslSsl.split(','), { tls, sasl: { mechanism: 'oauthbearer', token } });
    const topic = await freshTopic(client);
    const member = new Member(client, { topic });
    await member.run();
    const producer = client.producer();
    await producer.partitions(topic);
    const connected = tokens;

    const until = Date.now() + 1.5 * SESSION_MS;
    let sent = 0;
    for (; Date.now() < until; sent++) {
      expect(await producer.append([numbered(topic, 0, sent, 1)])).toMatchObject([{ status: 'stored' }]);
      await sleep(100);
    }

    await eventually(() => member.begun.length === sent);
    expect(tokens).toBeGreaterThan(connected);
    expect(member.troubles.filter(Boolean)).toEqual([]);
    expect(member.generation).toBe(1);
    await member.stop();
    await producer.close();
    await client.close();
  });
});

// How long a connection may live on one authentication. kafkajs begins anew ten seconds before the end.
const SESSION_MS = 14_000;
