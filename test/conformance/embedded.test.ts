import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { embedded } from '@event-bus/embedded';
import { conformance } from '@event-bus/testing';
import { afterAll, test } from 'vitest';
import { holdLock } from '../embedded/lock-holder.js';

const path = mkdtempSync(join(tmpdir(), 'event-bus-conformance-'));
afterAll(() => rmSync(path, { recursive: true }));

conformance(test, {
  name: 'embedded',
  open: () => embedded({ path }),
  faults: {
    blackHole: async () => (await holdLock(path)).letGo,
    async deleteBefore(topic, partition, offset) {
      const log = embedded({ path });
      await log.open();
      await log.deleteBefore(topic, partition, offset);
      await log.close();
    },
  },
});
