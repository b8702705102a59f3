import { readFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import type { KafkaConnectionOptions } from '../../libs/kafka/src/kafkajs/settings.js';
import { startServers } from './broker.js';
import { Member, eventually, freshTopic, numbered, openPort, store } from './port.js';

const servers = await startServers({ own: true, security: true });

const NONE = { ssl: '', saslPlaintext: '', saslSsl: '', authority: '', username: '', password: '' };

describe.skipIf(!servers)('a connection to Kafka', () => {
  const security = servers?.security ?? NONE;
  const { username, password } = security;
  const tls = { ca: servers ? readFileSync(security.authority) : '' };
  const unsigned = (claims: object) => {
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    return `${part({ alg: 'none' })}.${part(claims)}.`;
  };
  afterAll(() => servers!.stop());

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
      const now = Math.floor(Date.now() / 1_000);
      return unsigned({ sub: username, iat: now, exp: now + 3_600 });
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
