import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, vi } from 'vitest';
import { embedded } from './embedded.js';

// No network file system can be mounted in a test: the kernel's word for the type is replaced.
vi.mock('node:fs', async (original) => ({
  ...(await original<object>()),
  statfsSync: () => ({ type: 0x6969, bavail: 1e9, bsize: 4_096 }),
}));

it('a log on a network file system is not opened', async () => {
  const path = mkdtempSync(join(tmpdir(), 'event-bus-network-'));
  await expect(embedded({ path }).open()).rejects.toMatchObject({
    code: 'BUS_TRANSPORT_REFUSED',
    message: expect.stringContaining('NFS'),
  });
  rmSync(path, { recursive: true });
});
