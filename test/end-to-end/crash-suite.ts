import { expect, test } from 'vitest';
import { Authors, BODY, expectInStep, keyOf, put } from './authors.js';
import { freePort, stage, type BusEnv, type Env, type Stage } from './samples.js';
import { watchOrder } from './order.js';

/** What is left when processes die, come and go. `edits` for each test; `deadLetters` counts those on the bus of a stage. */
export function crashSuite(
  bus: BusEnv,
  { edits, deadLetters, extra = {} }: { edits: number; deadLetters: (on: Stage) => Promise<number>; extra?: Env },
): void {
  test(`Catalog is killed during ${edits} edits: every course is right, in order, and none is a dead letter`, async () => {
    const on = stage(bus, extra);
    const CATALOG_PORT = String(await freePort());
    const order = watchOrder(on);
    const studio = await on.studio();
    let catalog = await on.catalog({ CATALOG_PORT, ...order.env });
    const authors = new Authors(studio);

    const editing = authors.edit(edits);
    for (const share of [0.3, 0.6]) {
      await authors.reached(edits * share);
      await catalog.kill();
      catalog = await on.catalog({ CATALOG_PORT, ...order.env });
    }
    await editing;

    await expectInStep(studio, catalog, authors);
    expect(order.count()).toBeGreaterThanOrEqual(edits);
    expect(order.overtaken()).toEqual([]);
    expect(await deadLetters(on)).toBe(0);
  });

  test(`Studio is killed during ${edits} edits: Catalog gets all that a 2xx answered, and all that was stored`, async () => {
    const on = stage(bus, extra);
    const STUDIO_PORT = String(await freePort());
    let studio = await on.studio({ STUDIO_PORT });
    const catalog = await on.catalog();
    const authors = new Authors(studio);

    const editing = authors.edit(edits);
    for (const share of [0.3, 0.6]) {
      await authors.reached(edits * share);
      await studio.kill();
      studio = await on.studio({ STUDIO_PORT });
    }
    await editing;

    expect(authors.failures).toBeGreaterThan(0);
    await expectInStep(studio, catalog, authors);
    expect(await deadLetters(on)).toBe(0);
  });

  test('a course that was stored and not announced is announced when Studio starts', async () => {
    const on = stage(bus, extra);
    const first = await on.studio();
    const { body } = await put(first, keyOf(1), BODY);
    // Killed before the row is marked as announced, which is later than the answer: for Studio the same as never sent.
    await first.kill();
    const catalog = await on.catalog();
    const studio = await on.studio();
    const authors = new Authors(studio);
    authors.told.set(keyOf(1), body.updated_at);
    await expectInStep(studio, catalog, authors);
    expect(studio.lines.join('\n')).toContain('announced courses that the bus did not have');
  });

  test('two Catalogs share the work; a third that joins and leaves, and one that is killed, lose nothing', async () => {
    const on = stage(bus, extra);
    const order = watchOrder(on);
    const studio = await on.studio();
    const [one, two] = await Promise.all([on.catalog(order.env), on.catalog(order.env)]);
    const authors = new Authors(studio);

    await authors.edit(edits / 2);
    await expectInStep(studio, one, authors);
    await expectInStep(studio, two, authors);
    const handled = [await one.get('/api/stats'), await two.get('/api/stats')].map(
      ({ body }) => body.handled as number,
    );
    expect(Math.min(...handled), `handled ${handled.join(' and ')}`).toBeGreaterThan(0);
    expect(handled[0]! + handled[1]!).toBeGreaterThanOrEqual(edits / 2);

    const editing = authors.edit(edits / 2);
    const third = await on.catalog(order.env);
    await third.stop();
    await two.kill();
    await editing;

    await expectInStep(studio, one, authors);
    expect(order.overtaken()).toEqual([]);
    expect(await deadLetters(on)).toBe(0);
  });
}
