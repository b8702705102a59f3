import { mkdtempSync, rmSync, statSync, truncateSync } from 'node:fs';
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

  it('is refused when nothing but rubbish is left', async () => {
    const log = embedded({ path });
    await log.open();
    await log.close();
    truncateSync(join(path, 'data.mdb'), 100);
    await expect(embedded({ path }).open()).rejects.toMatchObject({ code: 'BUS_DATA_LOSS' });
  });
});
