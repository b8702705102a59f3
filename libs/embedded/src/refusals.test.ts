import { copyFileSync, mkdirSync, mkdtempSync, rmSync, statSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { embedded } from './embedded.js';
import { refuseCutFile, refuseNetworkFileSystem } from './refusals.js';

let path: string;
beforeEach(() => void (path = mkdtempSync(join(tmpdir(), 'event-bus-refusals-'))));
afterEach(() => rmSync(path, { recursive: true }));

describe('refuseNetworkFileSystem', () => {
  it.each([
    [0x6969, 'NFS'],
    [0xff534d42 | 0, 'CIFS'],
    [0x65735546, 'FUSE'],
    [0x01021997, '9p'],
  ])('refuses type %s, %s', (type, name) => {
    expect(() => refuseNetworkFileSystem('/data', type)).toThrow(
      expect.objectContaining({ code: 'BUS_TRANSPORT_REFUSED', message: expect.stringContaining(name) }),
    );
  });

  it('takes the file system of this test', () => {
    refuseNetworkFileSystem(path);
  });
});

describe('a data file that was cut', () => {
  it('is refused with what to do, and a whole one is not', async () => {
    const log = embedded({ path });
    await log.open();
    await log.ensureTopic('course');
    for (let i = 0; i < 5; i++)
      await log.publish(
        'course',
        Array.from({ length: 1_000 }, () => ({ key: null, value: Buffer.alloc(400), headers: [] })),
      );
    await log.close();
    refuseCutFile(path);

    const file = join(path, 'data.mdb');
    truncateSync(file, Math.floor(statSync(file).size / 2));

    const again = embedded({ path });
    await expect(again.open()).rejects.toMatchObject({
      code: 'BUS_DATA_LOSS',
      message: expect.stringContaining('Restore a backup'),
    });
    await again.close();
  });

  // LMDB writes the page at the end of a transaction that it freed within it only when it needs it again.
  it('is taken when only pages that LMDB need not have written are missing', async () => {
    const log = embedded({ path });
    await log.open();
    await log.ensureTopic('course');
    const records = Array.from({ length: 1_000 }, () => ({ key: null, value: Buffer.alloc(400), headers: [] }));
    await log.publish('course', records);
    await log.close();
    const file = join(path, 'data.mdb');
    const { size } = statSync(file);
    truncateSync(file, size - 10 * 4_096);
    refuseCutFile(path);
    truncateSync(file, size - 80 * 4_096);
    expect(() => refuseCutFile(path)).toThrow(expect.objectContaining({ code: 'BUS_DATA_LOSS' }));
  });

  it('goes by the newest of its two metas', async () => {
    const log = embedded({ path });
    await log.open();
    await log.ensureTopic('course');
    const file = join(path, 'data.mdb');
    for (let i = 0; i < 2; i++) {
      const { size } = statSync(file);
      const records = Array.from({ length: 2_000 }, () => ({ key: null, value: Buffer.alloc(400), headers: [] }));
      await log.publish('course', records);
      const cut = join(path, `cut-${i}`);
      mkdirSync(cut);
      copyFileSync(file, join(cut, 'data.mdb'));
      truncateSync(join(cut, 'data.mdb'), size);
      expect(() => refuseCutFile(cut)).toThrow(expect.objectContaining({ code: 'BUS_DATA_LOSS' }));
    }
    await log.close();
  });

  it('is refused when nothing but rubbish is left', async () => {
    const log = embedded({ path });
    await log.open();
    await log.close();
    truncateSync(join(path, 'data.mdb'), 100);
    await expect(embedded({ path }).open()).rejects.toMatchObject({ code: 'BUS_DATA_LOSS' });
  });
});
