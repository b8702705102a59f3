import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { compact } from './compact.js';
import { embedded } from './embedded.js';

let directory: string;
beforeEach(() => void (directory = mkdtempSync(join(tmpdir(), 'event-bus-compact-'))));
afterEach(() => rmSync(directory, { recursive: true }));

describe('compact', () => {
  it('makes a smaller copy of the same log', async () => {
    const [from, to] = [join(directory, 'log'), join(directory, 'copy')];
    const log = embedded({ path: from });
    await log.open();
    await log.ensureTopic('course', { partitions: 1 });
    for (let i = 0; i < 20; i++)
      await log.publish(
        'course',
        Array.from({ length: 100 }, () => ({ key: null, value: Buffer.alloc(1_000), headers: [] })),
      );
    const { end } = (await log.positions({ topic: 'course' }))[0]!;
    await log.deleteBefore('course', 0, end!.replace(/\d+$/, '1990'));
    await log.close();

    const { beforeBytes, afterBytes } = await compact({ from, to });

    expect(afterBytes).toBeLessThan(beforeBytes / 10);
    expect(statSync(join(to, 'data.mdb')).mode & 0o777).toBe(0o600);
    const copy = embedded({ path: to });
    await copy.open();
    expect(await copy.positions({ topic: 'course' })).toMatchObject([{ end }]);
    let records = 0;
    for await (const { value } of copy.read({ topic: 'course' })) records += value!.length / 1_000;
    expect(records).toBe(10);
    await copy.close();
  });

  it('wants an empty directory', async () => {
    writeFileSync(join(directory, 'file'), '');
    await expect(compact({ from: join(directory, 'log'), to: directory })).rejects.toMatchObject({
      code: 'BUS_CONFIG_INVALID',
    });
  });
});
