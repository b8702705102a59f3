import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
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

  it('does not copy a log that this process uses, nor lets it be used meanwhile', async () => {
    const [from, to] = [join(directory, 'log'), join(directory, 'copy')];
    const log = embedded({ path: from });
    await log.open();
    await expect(compact({ from, to })).rejects.toMatchObject({ code: 'BUS_BUSY' });
    await log.close();

    const compacting = compact({ from, to });
    await expect(embedded({ path: from }).open()).rejects.toMatchObject({ code: 'BUS_BUSY' });
    await compacting;
  });

  it('wants a log', async () => {
    const from = join(directory, 'typo');
    await expect(compact({ from, to: join(directory, 'copy') })).rejects.toMatchObject({ code: 'BUS_CONFIG_INVALID' });
    expect(existsSync(from)).toBe(false);
  });

  it('wants an empty directory', async () => {
    const from = join(directory, 'log');
    const log = embedded({ path: from });
    await log.open();
    await log.close();
    await expect(compact({ from, to: directory })).rejects.toMatchObject({
      code: 'BUS_CONFIG_INVALID',
    });
  });
});
