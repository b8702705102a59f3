import type { Transport } from '@event-bus/core';
import type { BusSettings } from './settings.js';

/** The one place that knows which transport it is. Loads only that one. */
export async function makeTransport(bus: BusSettings): Promise<Transport> {
  switch (bus.kind) {
    case 'embedded': {
      const { embedded } = await import('@event-bus/embedded');
      return embedded({ path: bus.path });
    }
    case 'kafka': {
      const { kafka } = await import('@event-bus/kafka');
      return kafka({ brokers: bus.brokers, registry: { url: bus.registryUrl }, createTopics: { partitions: 8 } });
    }
  }
}
