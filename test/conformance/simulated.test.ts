import { conformance, simulated, simulatedBroker, type SimulatedTransport } from '@event-bus/testing';
import { test } from 'vitest';

const broker = simulatedBroker({ sessionTimeoutMs: 1_000, batchRecords: 40 });
const transports = new Set<SimulatedTransport>();

conformance(test, {
  name: 'simulated',
  sessionMs: 1_000,
  // Every case beside itself, on one broker.
  stress: 3,
  open() {
    const transport = broker.transport();
    transports.add(transport);
    return transport;
  },
  faults: {
    async cut() {
      // What was under way is stored or not, and nobody hears which.
      let writes = 4;
      broker.faults.publish = () => (writes-- > 0 ? (writes % 2 === 0 ? 'lost' : 'unanswered') : undefined);
      for (const transport of transports) transport.cut();
      for (const transport of transports) transport.mend();
    },
    async blackHole() {
      const held = [...transports];
      for (const transport of held) transport.cut();
      return async () => held.forEach((transport) => transport.mend());
    },
    unreachable() {
      const transport = simulated();
      transport.cut();
      return transport;
    },
    async deleteBefore(topic, partition, offset) {
      broker.deleteBefore(topic, partition, offset);
    },
  },
});
