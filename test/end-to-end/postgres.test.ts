import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, describe, expect, test } from 'vitest';
import { Authors, BODY, expectInStep, keyOf, put } from './authors.js';
import { embeddedBus, eventually, stage, type Env } from './samples.js';

/** The start script, with types. */
interface Started {
  readonly missing?: string;
  readonly env: { readonly DATABASE_URL: string };
  kill(): Promise<void>;
  restart(): Promise<void>;
  stop(): Promise<void>;
}

const { startPostgres } = (await import(new URL('../../scripts/servers/postgres.mjs', import.meta.url).href)) as {
  startPostgres(options: object): Promise<Started>;
};
const postgres = await startPostgres({ own: true });
if (postgres.missing) test.skip(`samples on PostgreSQL (${postgres.missing})`);
else suite(postgres);

function suite(server: Started): void {
  afterAll(() => server.stop());

  async function freshDatabase(): Promise<Env> {
    const { DATABASE_URL } = server.env;
    const name = `e2e_${randomUUID().slice(0, 8)}`;
    const client = new pg.Client({ connectionString: DATABASE_URL });
    await client.connect();
    await client.query(`create database ${name}`);
    await client.end();
    return { DATABASE_URL: DATABASE_URL.replace(/[^/]+$/, name) };
  }

  describe('on PostgreSQL', () => {
    test('two Studios and two Catalogs in one database keep in step', async () => {
      const on = stage(embeddedBus, await freshDatabase());
      const [one, two, first, second] = await Promise.all([on.studio(), on.studio(), on.catalog(), on.catalog()]);
      const authors = new Authors(one);
      const others = new Authors(two);
      await Promise.all([authors.edit(200), others.edit(200)]);
      await expectInStep(one, first, authors);
      await expectInStep(two, second, others);
    });

    test('a database that was away costs no restart and no course', async () => {
      const on = stage(embeddedBus);
      const [studio, catalog] = await Promise.all([on.studio(), on.catalog(await freshDatabase())]);
      const authors = new Authors(studio);
      await authors.edit(20);
      await server.kill();
      await eventually(async () => expect((await catalog.get('/health/ready')).status).toBe(503));
      expect((await catalog.get('/health/live')).status).toBe(200);
      await authors.edit(100);
      await eventually(async () => {
        const { body } = await catalog.get('/health/ready');
        expect(JSON.stringify(body.details.bus)).toContain('fails again and again');
      }, 60_000);
      await server.restart();
      await expectInStep(studio, catalog, authors);
    });

    test('what hostile addresses ask for is refused or not there', async () => {
      const on = stage(embeddedBus, await freshDatabase());
      for (const sample of await Promise.all([on.studio(), on.catalog()])) {
        expect((await sample.get('/api/courses?limit=9999999999')).status).toBe(400);
        expect((await sample.get('/api/courses?search=%00')).status).toBe(400);
        expect((await sample.get('/api/courses/a%00b')).status).toBe(404);
      }
    });

    test('a Studio whose database was away goes on', async () => {
      const on = stage(embeddedBus);
      const [studio, catalog] = await Promise.all([on.studio(await freshDatabase()), on.catalog()]);
      const authors = new Authors(studio);
      await authors.edit(20);
      await server.kill();
      expect(await put(studio, keyOf(1), BODY)).toMatchObject({
        status: 503,
        body: { message: expect.stringContaining('Try again') },
      });
      expect((await studio.get('/api/courses')).status).toBe(503);
      const editing = authors.edit(50);
      await eventually(async () => expect((await studio.get('/health/ready')).status).toBe(503));
      await server.restart();
      await editing;
      await expectInStep(studio, catalog, authors);
    });
  });
}
