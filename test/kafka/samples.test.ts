import { kafka } from '@event-bus/kafka';
import { describe, expect, onTestFinished, test } from 'vitest';
import { apiSuite } from '../end-to-end/api-suite.js';
import { Authors, BODY, expectInStep, keyOf, put } from '../end-to-end/authors.js';
import { crashSuite } from '../end-to-end/crash-suite.js';
import { pageSuite } from '../end-to-end/page-suite.js';
import { freshPrefix, stage, type Env, type Stage } from '../end-to-end/samples.js';
import { startServers } from './broker.js';

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

    test('while the broker is away Studio stores courses and says so; they are announced when it is back', async () => {
      const broker = (await startServers({ own: true }))!;
      onTestFinished(() => broker.stop());
      const on = stage(bus, broker.env);
      const [studio, catalog] = await Promise.all([on.studio(), on.catalog()]);
      await put(studio, keyOf(1), BODY);
      await broker.kill();

      const answers = await Promise.all([1, 2, 3].map((n) => put(studio, keyOf(n), { ...BODY, name: `${n}` })));

      for (const { status, body } of answers) {
        expect(status).toBe(503);
        expect(body).toMatchObject({ code: expect.stringMatching(/^BUS_/), stored: true, announced: false });
      }
      await broker.restart();
      const authors = new Authors(studio);
      for (const { body } of answers) authors.told.set(body.course.course_key, body.course.updated_at);
      await expectInStep(studio, catalog, authors);
    });
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
