/** Schemas live in the log itself: ids from 1, one per text, the same in every process. */
import { createHash } from 'node:crypto';
import { BusError } from '@event-bus/core';
import type { SchemaStore } from '@event-bus/avro';
import type { Environment } from './environment.js';

/** The schema store of a log. `environment` answers `undefined` while the log is not open. */
export function schemaStore(environment: () => Environment | undefined): SchemaStore {
  const opened = (): Environment => {
    const found = environment();
    if (found === undefined)
      throw new BusError(
        'BUS_REGISTRY_UNAVAILABLE',
        'The schemas of an embedded log can be read while it is open. Call open() first.',
      );
    return found;
  };
  return {
    byId(id) {
      const { snapshot, databases } = opened();
      return snapshot(() => databases.schemas.get(id));
    },
    id(_subject, text) {
      const { snapshot, databases, writer } = opened();
      const key = createHash('sha256').update(text).digest('base64url');
      const known = snapshot(() => databases.schemaIds.get(key));
      if (known !== undefined) return known;
      return writer.write(() => add(databases, key, text), { deadlineMs: WRITE_DEADLINE_MS });
    },
    close() {},
  };
}

// Another process may have been quicker.
function add({ schemas, schemaIds }: Environment['databases'], key: string, text: string): number {
  const known = schemaIds.get(key);
  if (known !== undefined) return known;
  const [newest] = [...schemas.getKeys({ reverse: true, limit: 1 })];
  const id = (newest ?? 0) + 1;
  void schemas.put(id, text);
  void schemaIds.put(key, id);
  return id;
}

const WRITE_DEADLINE_MS = 30_000;
