/** The bus on Kafka, with its defaults. */
import { createBus } from '@event-bus/core';
import { kafka } from '@event-bus/kafka';
import { KEY_FIELD, ageOf, dataOf, event } from './event.mjs';
import { consuming, idling, pacing, publishing, runTask, sleep } from './task.mjs';

await runTask({
  async publish({ topic, ...load }) {
    const bus = busOn(topic);
    await bus.open();
    const answer = await publishing(load, (n) => bus.send(event, dataOf(n)));
    await bus.close();
    return answer;
  },

  /** So many events for others to read. */
  async fill({ topic, count }) {
    const bus = busOn(topic);
    await bus.open();
    for (let n = 0; n < count; n += 1_000)
      await Promise.all(Array.from({ length: 1_000 }, (_, i) => bus.send(event, dataOf(n + i))));
    await bus.close();
    return { count };
  },

  async consume({ topic, group, ...load }) {
    const { handled, done } = consuming(load);
    const bus = handling(topic, group, handled);
    await bus.start();
    const answer = await done;
    await bus.close();
    return answer;
  },

  async latency({ topic, group, ...load }) {
    const { age, run } = pacing(load);
    const bus = handling(topic, group, (data) => age(ageOf(data)), 'latest');
    await started(bus);
    const answer = await run((n) => bus.send(event, dataOf(n)));
    await bus.close();
    return answer;
  },

  async slow({ topic, group, handlerMs, ...load }) {
    const { handled, done } = consuming(load);
    const bus = handling(topic, group, () => sleep(handlerMs).then(handled));
    await bus.start();
    const answer = await done;
    await bus.close();
    return answer;
  },

  async idle({ topic, group, seconds }) {
    const bus = handling(topic, group, () => {}, 'latest');
    await started(bus);
    const answer = await idling({ seconds });
    await bus.close();
    return answer;
  },
});

function busOn(topic, options) {
  const transport = kafka({
    brokers: process.env.KAFKA_BROKERS.split(','),
    registry: { url: process.env.SCHEMA_REGISTRY_URL },
  });
  const routes = { [event.type]: { [topic]: { keyField: KEY_FIELD } } };
  return createBus({ service: 'studio', transport, routes, events: [event], ...options });
}

function handling(topic, group, handle, from = 'earliest') {
  const bus = busOn(topic, { from });
  bus.handle(event, { id: 'bench', group }, handle);
  return bus;
}

/** The consumer has its partitions. */
async function started(bus) {
  await bus.start();
  while (bus.status().consumers.some(({ subscription }) => (subscription?.partitions.length ?? 0) === 0))
    await sleep(20);
}
