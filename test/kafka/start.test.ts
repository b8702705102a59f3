import { describe, expect, test } from 'vitest';
import { BODY, keyOf, put } from '../end-to-end/authors.js';
import { eventually, freshPrefix } from '../end-to-end/samples.js';
import { gone, start } from '../end-to-end/started.js';

const { KAFKA_BROKERS, SCHEMA_REGISTRY_URL } = process.env;
const COMMAND = ['start', '--', '--bus', 'kafka'];
const NO_SERVERS = { KAFKA_BROKERS: '', SCHEMA_REGISTRY_URL: '' };

if (!KAFKA_BROKERS || !SCHEMA_REGISTRY_URL) test.skip('npm start -- --bus kafka (no broker or registry, see above)');
else {
  describe('npm start -- --bus kafka', () => {
    test.each([
      ['servers of its own', NO_SERVERS],
      [
        'those that the environment names',
        { KAFKA_BROKERS, SCHEMA_REGISTRY_URL, EVENT_BUS_TOPIC_PREFIX: freshPrefix() },
      ],
    ])('runs the samples on %s; SIGTERM ends everything', async (_, env) => {
      const run = await start('npm', COMMAND, { env });
      const { ready, pids } = await run.isReady();
      expect(ready[0]).toMatch(/bus: kafka$/);
      expect(run.lines.includes('starting Kafka and a schema registry')).toBe(env === NO_SERVERS);
      expect((await put(run.studio, keyOf(1), BODY)).status).toBe(201);
      await eventually(async () => {
        expect((await fetch(`${run.catalog.url}/api/courses/${keyOf(1)}`)).status).toBe(200);
      });

      run.process.kill('SIGTERM');
      expect(await run.ended).toMatch(/^(0|143|SIGTERM)$/);
      await gone(pids);
    });

    test('stops at once when it is interrupted while the servers start', async () => {
      const run = await start(process.execPath, ['scripts/start.mjs', '--bus', 'kafka'], { env: NO_SERVERS });
      await eventually(() => expect(run.lines).toContain('starting Kafka and a schema registry'));

      run.process.kill('SIGINT');

      expect(await run.ended).toBe('130');
    });
  });
}
