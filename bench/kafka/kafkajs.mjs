/** kafkajs as it comes: its defaults, and Avro by hand. */
import { createRequire } from 'node:module';
import { ageOf, byHand, dataOf } from './event.mjs';
import { consuming, idling, pacing, publishing, runTask, sleep } from './task.mjs';

const { Kafka, logLevel } = createRequire(import.meta.resolve('@event-bus/kafka'))('kafkajs');
process.env.KAFKAJS_NO_PARTITIONER_WARNING = '1';
const kafka = new Kafka({ brokers: process.env.KAFKA_BROKERS.split(','), logLevel: logLevel.ERROR });
const { encode, decode } = await byHand();

await runTask({
  /** One `send` for each event, or `sendBatch` of `each`. */
  async publish({ topic, ...load }) {
    const producer = kafka.producer();
    await producer.connect();
    const { each = 1 } = load;
    const messages = (n) => Array.from({ length: each }, (_, i) => encode(dataOf(n + i)));
    const answer = await publishing(load, (n) =>
      each === 1
        ? producer.send({ topic, messages: messages(n) })
        : producer.sendBatch({ topicMessages: [{ topic, messages: messages(n) }] }),
    );
    await producer.disconnect();
    return answer;
  },

  async consume({ topic, group, mode, ...load }) {
    const { handled, done } = consuming(load);
    const handle = ({ value, headers }) => {
      decode(value, headers);
      handled();
    };
    const consumer = await reading(
      topic,
      group,
      mode === 'eachMessage'
        ? { eachMessage: async ({ message }) => handle(message) }
        : { eachBatch: async ({ batch }) => batch.messages.forEach(handle) },
    );
    const answer = await done;
    await consumer.disconnect();
    return answer;
  },

  async latency({ topic, group, ...load }) {
    const { age, run } = pacing(load);
    const producer = kafka.producer();
    await producer.connect();
    const consumer = await reading(
      topic,
      group,
      { eachMessage: async ({ message }) => age(ageOf(decode(message.value, message.headers))) },
      false,
    );
    await joined(consumer);
    const answer = await run((n) => producer.send({ topic, messages: [encode(dataOf(n))] }));
    await Promise.all([producer.disconnect(), consumer.disconnect()]);
    return answer;
  },

  async slow({ topic, group, handlerMs, ...load }) {
    const { handled, done } = consuming(load);
    const consumer = await reading(topic, group, {
      eachMessage: async ({ message }) => {
        decode(message.value, message.headers);
        await sleep(handlerMs);
        handled();
      },
    });
    const answer = await done;
    await consumer.disconnect();
    return answer;
  },

  async idle({ topic, group, seconds }) {
    const consumer = await reading(topic, group, { eachMessage: async () => {} }, false);
    await joined(consumer);
    const answer = await idling({ seconds });
    await consumer.disconnect();
    return answer;
  },
});

async function reading(topic, groupId, run, fromBeginning = true) {
  const consumer = kafka.consumer({ groupId });
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning });
  await consumer.run(run);
  return consumer;
}

/** It has fetched, so that nothing sent from now on is before its start. */
function joined(consumer) {
  return new Promise((resolve) => consumer.on(consumer.events.FETCH, resolve));
}
