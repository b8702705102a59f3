import { setTimeout as sleep } from 'node:timers/promises';
import { kafka as kafkaTransport } from '@event-bus/kafka';
import type { PublishOutcome, Transport } from '@event-bus/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addressesOf, startServers } from './broker.js';
import {
  Member,
  eventually,
  freshTopic,
  numbered,
  openPort,
  placedTopic,
  record,
  withAdmin,
  type Port,
} from './port.js';

// Brokers of our own: they are killed and stopped here.
const servers = await startServers({ own: true, brokers: 3 });

describe.skipIf(!servers)('the Kafka client, while brokers fail', () => {
  const kafka = servers!;
  const addresses = addressesOf(servers);
  let port: Port;
  beforeAll(() => void (port = openPort(addresses)));
  afterAll(async () => {
    await port.client.close();
    await kafka.stop();
  });

  it('stores what it says it stored, in order, while leaders move, and its consumer reads all of it', async () => {
    const { client } = port;
    const topic = await freshTopic(client, 6);
    const member = new Member(client, { topic });
    await member.run();
    const producer = client.producer();
    await producer.partitions(topic);
    const stop = { isSet: false };
    const stored: string[][] = Array.from({ length: 6 }, () => []);

    // One call at a time, as the contract asks; what is not stored is sent again before anything newer.
    const sending = (async () => {
      for (let n = 0; !stop.isSet; n++) {
        let open = [0, 1, 2, 3, 4, 5].map((partition) => numbered(topic, partition, n, 1));
        while (open.length > 0) {
          const answers = await producer.append(open);
          open.forEach(({ partition }, i) => answers[i]!.status === 'stored' && stored[partition]!.push(String(n)));
          open = open.filter((_, i) => answers[i]!.status !== 'stored');
          if (open.length > 0) await sleep(50);
        }
      }
    })();

    for (const broker of [1, 2, 3]) {
      await eventually(() => stored[0]!.length > 0);
      const before = stored[0]!.length;
      await kafka.kill(broker);
      await eventually(() => stored.every((numbers) => numbers.length > before + 20), 110_000);
      await kafka.restart(broker);
      await eventually(() => stored.every((numbers) => numbers.length > before + 60), 110_000);
    }
    stop.isSet = true;
    await sending;
    await producer.close();
    const sent = stored.flatMap((numbers, partition) => numbers.map((n) => `${partition}:${n}`));
    await eventually(() => {
      const begun = new Set(member.begun);
      return sent.every((one) => begun.has(one));
    }, 110_000);
    await member.stop();

    expect(member.lost).toEqual([]);
    for (let partition = 0; partition < 6; partition++) {
      const firsts = [...new Set(member.begun.filter((one) => one.startsWith(`${partition}:`)))].map((one) =>
        Number(one.slice(2)),
      );
      expect(firsts).toEqual([...firsts].sort((a, b) => a - b));
    }
  }, 400_000);

  it('says that no broker answers, and consumes and sends on when one does', async () => {
    const { client } = port;
    const topic = await freshTopic(client);
    const producer = client.producer();
    await producer.partitions(topic);
    const member = new Member(client, { topic });
    await member.run();
    expect(await producer.append([numbered(topic, 0, 0, 1)])).toMatchObject([{ status: 'stored' }]);
    await eventually(() => member.begun.length === 1);

    await Promise.all([1, 2, 3].map((broker) => kafka.pause(broker)));
    const answer = await producer.append([numbered(topic, 0, 1, 1)]);
    expect(answer).toMatchObject([{ status: 'unknown', error: { code: 'BUS_TRANSPORT_UNAVAILABLE' } }]);
    await eventually(() => member.troubles.some((error) => error?.code === 'BUS_TRANSPORT_UNAVAILABLE'));
    await Promise.all([1, 2, 3].map((broker) => kafka.resume(broker)));

    await eventually(
      async () =>
        (await producer.append([{ topic, partition: 0, records: [record('after')] }]))[0]!.status === 'stored',
    );
    await eventually(() => member.begun.includes('0:after'));
    await eventually(() => member.troubles.at(-1) === undefined);
    await member.stop();
    await producer.close();
  }, 400_000);

  describe('a topic that is not well, in a process that sends to others too', () => {
    let transport: Transport;
    beforeAll(async () => {
      transport = kafkaTransport({ brokers: addresses, registry: { url: 'http://127.0.0.1:1' }, onNotice: () => {} });
      await transport.open();
    });
    afterAll(() => transport.close());

    /** One to each topic every 100 ms, for a while. How those to the healthy one ended, and how long the slowest took. */
    async function sendToBoth(unwell: string, healthy: string, rounds = 60) {
      let slowestMs = 0;
      const good: Promise<PublishOutcome>[] = [];
      const bad: Promise<string>[] = [];
      for (let n = 0; n < rounds; n++) {
        bad.push(
          transport.publish(unwell, [record(`bad ${n}`)], { deadlineMs: 2_000 }).then(
            ([outcome]) => outcome!.status,
            (error: { code: string }) => error.code,
          ),
        );
        const since = performance.now();
        const sent = transport.publish(healthy, [record(String(n))], { deadlineMs: 30_000 });
        good.push(
          sent.then(([outcome]) => {
            slowestMs = Math.max(slowestMs, performance.now() - since);
            return outcome!;
          }),
        );
        await sleep(100);
      }
      const outcomes = new Set((await Promise.all(good)).map(({ status }) => status));
      return { outcomes: [...outcomes], bad: await Promise.all(bad), slowestMs };
    }

    async function stored(topic: string): Promise<string[]> {
      const values: string[] = [];
      for await (const { value } of transport.read({ topic })) values.push(Buffer.from(value!).toString());
      return values;
    }
    const all = Array.from({ length: 60 }, (_, n) => String(n));

    it('holds up nobody but itself while its partition has no leader', async () => {
      const [unwell, healthy] = [await placedTopic(addresses, [[3]]), await placedTopic(addresses, [[1], [2]])];
      await transport.publish(unwell, [record('before')]);
      await kafka.kill(3);
      await eventually(() =>
        withAdmin(addresses, async (admin) => {
          const topics = await admin.fetchTopicMetadata({ topics: [unwell] }).catch(() => undefined);
          return topics?.topics[0]?.partitions[0]?.leader !== 3;
        }),
      );

      const { outcomes, bad, slowestMs } = await sendToBoth(unwell, healthy);
      const positions = await transport.positions({ topic: unwell, group: 'catalog' });
      await kafka.restart(3);

      expect(outcomes).toEqual(['stored']);
      expect((await stored(healthy)).sort()).toEqual([...all].sort());
      expect(new Set(bad)).toEqual(new Set(['not-stored']));
      expect(positions).toEqual([{ topic: unwell, partition: 0 }]);
      expect(slowestMs).toBeLessThan(3_000);
      await eventually(
        async () => (await transport.publish(unwell, [record('after')], { deadlineMs: 2_000 }))[0]!.status === 'stored',
      );
    });

    it('holds up nobody but itself when it is deleted, and is refused by name', async () => {
      const [unwell, healthy] = [await freshTopic(port.client), await freshTopic(port.client)];
      await transport.publish(unwell, [record('before')]);
      await withAdmin(addresses, (admin) => admin.deleteTopics({ topics: [unwell] }));

      const { outcomes, bad, slowestMs } = await sendToBoth(unwell, healthy);

      expect(outcomes).toEqual(['stored']);
      expect(await stored(healthy)).toEqual(all);
      expect(bad.at(-1)).toBe('BUS_TOPIC_MISSING');
      expect(slowestMs).toBeLessThan(3_000);
    });
  });
});
