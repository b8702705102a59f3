/** The suite of promises with every second transport in another process: bell, lock and liveness take part. */
import { fork } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { embedded } from '@event-bus/embedded';
import { conformance } from '@event-bus/testing';
import { afterAll, test } from 'vitest';
import { holdLock } from './lock-holder.js';
import { build, kill } from './processes.js';
import { transportsIn } from './two-processes.js';

build();
const path = mkdtempSync(join(tmpdir(), 'event-bus-conformance-'));
const other = fork(new URL('./fixtures/host.mjs', import.meta.url), [], { execArgv: [], serialization: 'advanced' });
const there = transportsIn(other, path);
afterAll(async () => {
  await kill(other);
  rmSync(path, { recursive: true });
});

let made = 0;
conformance(test, {
  name: 'embedded, in two processes',
  open: () => (made++ % 2 === 0 ? embedded({ path }) : there()),
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
