import { kafka } from '@event-bus/kafka';
import { describe, test } from 'vitest';
import { apiSuite } from '../end-to-end/api-suite.js';
import { crashSuite } from '../end-to-end/crash-suite.js';
import { pageSuite } from '../end-to-end/page-suite.js';
import { freshPrefix, type Env, type Stage } from '../end-to-end/samples.js';

const { KAFKA_BROKERS, SCHEMA_REGISTRY_URL } = process.env;

if (!KAFKA_BROKERS || !SCHEMA_REGISTRY_URL) test.skip('the samples on Kafka (no broker or registry, see above)');
else {
  const bus = (): Env => ({
    EVENT_BUS: 'kafka',
    KAFKA_BROKERS,
    SCHEMA_REGISTRY_URL,
    EVENT_BUS_TOPIC_PREFIX: freshPrefix(),
  });
  describe('the samples on Kafka', () => {
    apiSuite(bus);
    crashSuite(bus, { edits: 2_000, deadLetters });
    pageSuite(bus);
  });
}

async function deadLetters({ env }: Stage): Promise<number> {
  const transport = kafka({
    brokers: env['KAFKA_BROKERS']!.split(','),
    registry: { url: env['SCHEMA_REGISTRY_URL']! },
  });
  await transport.open();
  try {
    const prefix = env['EVENT_BUS_TOPIC_PREFIX']!;
    const dead = (await transport.topics()).filter(({ topic }) => topic.startsWith(prefix) && topic.includes('-dead-'));
    let count = 0;
    for (const { topic } of dead) for await (const record of transport.read({ topic })) count += record ? 1 : 0;
    return count;
  } finally {
    await transport.close();
  }
}
