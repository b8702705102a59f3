/** What depends on brokers that come and go, on three of them: rebalances, leader moves, restarts. */
import { kafka } from '@event-bus/kafka';
import { conformance, type TestFunction } from '@event-bus/testing';
import { afterAll, test } from 'vitest';
import { addressesOf, startRegistry, startServers } from '../kafka/broker.js';

const registry = await startRegistry();
const servers = await startServers({ own: true, brokers: 3 });

if (servers === undefined || registry === undefined)
  test.skip('kafka cluster: the suite (there are no brokers or no registry)', () => {});
else {
  afterAll(async () => {
    await Promise.all([servers.stop(), registry.stop()]);
  });
  let killed = 0;
  conformance(only(/ (groups|order|failure): /), {
    name: 'kafka cluster',
    open: () =>
      kafka({
        brokers: addressesOf(servers),
        registry: { url: registry.env.SCHEMA_REGISTRY_URL },
        onNotice: () => {},
      }),
    patienceMs: 60_000,
    sessionMs: 30_000,
    faults: {
      // A broker that is asked to stop gives its leaderships away first: every connection to it breaks, and every leader moves.
      cut: async () => servers.restart((killed++ % 3) + 1),
      // One that is killed is missed, until the controller gives them away.
      async restartBroker() {
        const broker = (killed++ % 3) + 1;
        await servers.kill(broker);
        await servers.restart(broker);
      },
      async blackHole() {
        await Promise.all([1, 2, 3].map((broker) => servers.pause(broker)));
        return async () => {
          await Promise.all([1, 2, 3].map((broker) => servers.resume(broker)));
        };
      },
      unreachable: () =>
        kafka({ brokers: ['127.0.0.1:1'], registry: { url: registry.env.SCHEMA_REGISTRY_URL }, onNotice: () => {} }),
    },
  });
}

/** The rest of the suite says the same on one broker. */
function only(names: RegExp): TestFunction {
  const isWanted = (name: string) => names.test(name) || name.includes('what was skipped');
  return Object.assign(
    (name: string, run: () => Promise<void>, timeoutMs?: number) => isWanted(name) && test(name, run, timeoutMs),
    { skip: (name: string, run: () => Promise<void>) => isWanted(name) && test.skip(name, run) },
  );
}
