import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openEnvironment, type Environment } from './environment.js';
import { schemaStore } from './schema-store.js';

let path: string;
let environment: Environment;
beforeEach(async () => {
  path = mkdtempSync(join(tmpdir(), 'event-bus-schemas-'));
  environment = await openEnvironment(path, false);
});
afterEach(async () => {
  await environment.release();
  rmSync(path, { recursive: true });
});

describe('the schema store of a log', () => {
  it('gives ids from 1, the same for the same text', async () => {
    const store = schemaStore(() => environment);
    expect(await store.id('a-value', '"string"')).toBe(1);
    expect(await store.id('b-value', '"long"')).toBe(2);
    expect(await store.id('c-value', '"string"')).toBe(1);
    expect(store.byId(2)).toBe('"long"');
    expect(store.byId(3)).toBeUndefined();
  });

  it('gives one id when many ask at once', async () => {
    const store = schemaStore(() => environment);
    expect(new Set(await Promise.all(Array.from({ length: 10 }, async () => store.id('s', '"bytes"'))))).toEqual(
      new Set([1]),
    );
  });

  it('takes texts longer than a key may be', async () => {
    const store = schemaStore(() => environment);
    const text = JSON.stringify({ type: 'enum', name: 'E', symbols: Array.from({ length: 2_000 }, (_, i) => `S${i}`) });
    expect(store.byId(await store.id('s', text))).toBe(text);
  });

  it('still knows them after a restart', async () => {
    await schemaStore(() => environment).id('s', '"int"');
    await environment.release();
    environment = await openEnvironment(path, false);
    expect(schemaStore(() => environment).byId(1)).toBe('"int"');
  });

  it('says that the log is not open', () => {
    expect(() => schemaStore(() => undefined).byId(1)).toThrow(
      expect.objectContaining({ code: 'BUS_REGISTRY_UNAVAILABLE' }),
    );
  });
});
