import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addressesOf, startServers } from './broker.js';
import { Member, eventually, freshTopic, numbered, openPort, record, type Port } from './port.js';

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
});
