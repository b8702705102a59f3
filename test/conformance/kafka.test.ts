/** The suite on one broker and a registry, each behind a proxy: what the broker says of its own address leads there too. */
import { kafka } from '@event-bus/kafka';
import { conformance, tcpProxy } from '@event-bus/testing';
import { afterAll, test } from 'vitest';
import { freePorts, startRegistry, startServers } from '../kafka/broker.js';
import { deleteBefore } from '../kafka/port.js';

// Above Kafka's default, so that no case is left out.
const MAX_RECORD_BYTES = 1_200_000;

const [listenPort = 0] = await freePorts(1);
const registry = await startRegistry();
const servers = await startServers({
  own: true,
  extraConfig: [
    `advertised.listeners=PLAINTEXT://127.0.0.1:${listenPort}`,
    `message.max.bytes=${2 * MAX_RECORD_BYTES}`,
  ],
});

if (servers === undefined || registry === undefined)
  test.skip('kafka: the suite (there is no broker or no registry)', () => {});
else {
  const { host, port } = servers.brokers[0]!;
  const registryUrl = new URL(registry.env.SCHEMA_REGISTRY_URL);
  const toBroker = await tcpProxy({ host, port, listenPort });
  const toRegistry = await tcpProxy({ host: registryUrl.hostname, port: Number(registryUrl.port) });
  registryUrl.port = String(toRegistry.port);
  afterAll(async () => {
    await Promise.all([toBroker.close(), toRegistry.close()]);
    await Promise.all([servers.stop(), registry.stop()]);
  });

  const transport = (brokerPort: number) =>
    kafka({
      brokers: [`${host}:${brokerPort}`],
      registry: { url: registryUrl.href },
      maxRecordBytes: MAX_RECORD_BYTES,
      onNotice: () => {},
    });
  conformance(test, {
    name: 'kafka',
    open: () => transport(listenPort),
    patienceMs: 40_000,
    sessionMs: 30_000,
    faults: {
      cut: async () => toBroker.cut(),
      blackHole: async () => asynchronous(toBroker.blackHole()),
      async restartBroker() {
        await servers.kill();
        await servers.restart();
      },
      unreachable: () => transport(1),
      registryDown: async () => asynchronous(toRegistry.refuse()),
      deleteBefore: (topic, partition, offset) => deleteBefore([`${host}:${port}`], topic, partition, offset),
    },
  });
}

function asynchronous(end: () => void): () => Promise<void> {
  return async () => end();
}
