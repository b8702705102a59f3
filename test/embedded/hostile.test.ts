/** Bytes that were made up, straight in the log: they end as dead letters, and neither hold nor fill the process that reads them. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createBus, type Bus, type BusRecord } from '@event-bus/core';
import { embedded, type EmbeddedTransport } from '@event-bus/embedded';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openEnvironment } from '../../libs/embedded/src/environment.js';
import { schemaStore } from '../../libs/embedded/src/schema-store.js';
import {
  checkDeadLetters,
  freely,
  hostileRecords,
  manyHostile,
  manySchemas,
  mixed,
  Observed,
  type Bench,
} from '../hostile-records.js';
import { eventually } from './processes.js';

const HEAP_BYTES = 256 * 2 ** 20;
const LARGE_HEADER_BYTES = 1_000_000;

let path: string;
let log: EmbeddedTransport;
const buses: Bus[] = [];
const observed: Observed[] = [];
beforeEach(async () => {
  path = mkdtempSync(join(tmpdir(), 'event-bus-hostile-'));
  log = embedded({ path });
  await log.open();
});
afterEach(async () => {
  for (const bus of buses.splice(0)) await bus.close();
  for (const one of observed.splice(0)) one.end();
  await log.close();
  rmSync(path, { recursive: true, force: true });
});

async function bench(topic: string): Promise<Bench> {
  await log.ensureTopic(topic, { partitions: 1 });
  const register = async (_subject: string, text: string) => {
    const environment = await openEnvironment(path, false);
    try {
      return await schemaStore(() => environment).id('', text);
    } finally {
      await environment.release();
    }
  };
  return { topic, transport: log, register, largeHeaderBytes: LARGE_HEADER_BYTES };
}

async function write(topic: string, records: readonly BusRecord[]): Promise<void> {
  for (const record of records) expect(await log.publish(topic, [record])).toMatchObject([{ status: 'stored' }]);
}

/** A group of its own reads the topic to its end. */
async function read(topic: string, group: string, count: number): Promise<Observed> {
  const bus = createBus({ service: 'catalog', name: `${topic}-${group}`, transport: embedded({ path }) });
  buses.push(bus);
  const seen = new Observed(bus, topic, group);
  observed.push(seen);
  await bus.start();
  await eventually(
    () => seen.count + seen.dead.length >= count,
    () => `${seen.count} handled and ${seen.dead.length} dead of ${count}`,
    20_000,
  );
  await eventually(
    async () => (await log.positions({ topic, group })).every(({ lag }) => lag === 0),
    () => 'the position stays behind',
  );
  return seen;
}

test('what cannot be read is kept byte for byte with its reason, and what is around it is handled in order', async () => {
  const on = await bench('course');
  const hostile = await hostileRecords(on);
  const { records, handled } = await mixed(on, hostile);
  await write('course', records);
  await read('course', 'warm-up', records.length);

  const seen = await freely((attempt) => read('course', `catalog-${attempt}`, records.length));

  expect(seen.handled).toEqual(handled);
  expect(seen.skipped).toEqual([]);
  await checkDeadLetters(on, seen.group, hostile, seen.dead, true);
  expect(({} as Record<string, unknown>)['isAdmin']).toBeUndefined();
});

test('schemas that take long to learn, one after the other, hold nobody else up', async () => {
  const on = await bench('course');
  const records = await manySchemas(on, 40);
  await write('course', records);
  await read('course', 'warm-up', records.length);

  await freely((attempt) => read('course', `catalog-${attempt}`, records.length));
});

test('two thousand of them in a row neither hold the process nor stay in it', async () => {
  const on = await bench('course');
  const records = await manyHostile(on, 2_000);
  for (let from = 0; from < records.length; from += 50) await log.publish('course', records.slice(from, from + 50));
  await read('course', 'warm-up', records.length);
  const before = process.memoryUsage().heapUsed;

  const seen = await freely((attempt) => read('course', `catalog-${attempt}`, records.length));

  expect(seen.dead).toHaveLength(2_000);
  expect(Object.values(seen.handled)).toEqual([['the last']]);
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(HEAP_BYTES);
});
