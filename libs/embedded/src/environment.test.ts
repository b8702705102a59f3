import { mkdirSync, mkdtempSync, rmdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openEnvironment } from './environment.js';
import { machineTime, thisProcess } from './machine.js';

let path: string;
beforeEach(() => void (path = mkdtempSync(join(tmpdir(), 'event-bus-environment-'))));
afterEach(() => rmSync(path, { recursive: true, force: true }));

describe('an environment', () => {
  it('is one per directory and process, whatever the path is called', async () => {
    mkdirSync(join(path, 'log'));
    symlinkSync(join(path, 'log'), join(path, 'link'));
    const [first, second] = await Promise.all([
      openEnvironment(join(path, 'log'), false),
      openEnvironment(join(path, 'link'), false),
    ]);
    expect(second).toBe(first);
    await first.release();
    await second.writer.write(() => void second.databases.meta.put('still', 'open'), { deadlineMs: 1_000 });
    await second.release();
    const third = await openEnvironment(join(path, 'log'), false);
    expect(third.epoch).toBe(first.epoch);
    await third.release();
  });

  it('has another epoch when the directory was made anew', async () => {
    const first = await openEnvironment(join(path, 'log'), false);
    await first.release();
    rmSync(join(path, 'log'), { recursive: true });
    const second = await openEnvironment(join(path, 'log'), false);
    expect(second.epoch).not.toBe(first.epoch);
    expect(second.epoch).toMatch(/^[0-9a-z]{8}$/);
    await second.release();
  });

  it('refuses a format it does not know', async () => {
    await change((environment) => void environment.databases.meta.put('format', 99));
    await expect(openEnvironment(path, false)).rejects.toMatchObject({
      code: 'BUS_TRANSPORT_REFUSED',
      message: expect.stringContaining('format 99'),
    });
  });

  it('waits for the leases of another process-id namespace, and takes the log when nobody renews them', async () => {
    const until = machineTime() + 500;
    await change(({ databases }) => {
      void databases.meta.put('namespace', 'pid:[1]');
      void databases.meta.put('until', 0);
      void databases.members.put(['catalog', '1-abc'], { ...thisProcess(), topics: [1], until });
    });
    const environment = await openEnvironment(path, false);
    expect(machineTime()).toBeGreaterThan(until);
    expect(environment.snapshot(() => [...environment.databases.members.getKeys()])).toEqual([]);
    await environment.release();
  });

  it('writes nothing more once processes of another namespace have the log', async () => {
    const environment = await openEnvironment(path, false);
    const put = (key: string) => () => void environment.databases.meta.put(key, 'pid:[1]');
    await environment.writer.write(put('namespace'), { deadlineMs: 1_000 });
    for (let i = 0; i < 2; i++)
      await expect(environment.writer.write(put('other'), { deadlineMs: 1_000 })).rejects.toMatchObject({
        code: 'BUS_TRANSPORT_REFUSED',
        message: expect.stringContaining('pid:[1]'),
      });
    await environment.release();
  });

  it('forgets the members of an earlier boot', async () => {
    await change(({ databases }) => {
      void databases.meta.put('boot', 'earlier');
      void databases.members.put(['catalog', '1-abc'], {
        ...thisProcess(),
        topics: [1],
        until: machineTime() + 60_000,
      });
    });
    const environment = await openEnvironment(path, false);
    expect(environment.snapshot(() => [...environment.databases.members.getKeys()])).toEqual([]);
    await environment.release();
  });

  it('says what to do with a file that is no log', async () => {
    writeFileSync(join(path, 'data.mdb'), 'hello world'.repeat(2_000));
    await expect(openEnvironment(path, false)).rejects.toMatchObject({
      code: 'BUS_DATA_LOSS',
      message: expect.stringContaining('Restore a backup'),
    });
  });

  it.each(['doorbell', 'data.mdb'])('says that %s cannot be opened, and opens once that is mended', async (file) => {
    mkdirSync(join(path, file));
    await expect(openEnvironment(path, false)).rejects.toMatchObject({
      code: 'BUS_TRANSPORT_REFUSED',
      message: expect.stringMatching(/EISDIR.*Check that this user may write/),
      details: { path },
    });
    rmdirSync(join(path, file));
    await (await openEnvironment(path, false)).release();
  });

  it('says that a path cannot be a directory', async () => {
    writeFileSync(join(path, 'file'), '');
    await expect(openEnvironment(join(path, 'file', 'log'), false)).rejects.toMatchObject({
      code: 'BUS_TRANSPORT_REFUSED',
    });
  });

  async function change(run: (environment: Awaited<ReturnType<typeof openEnvironment>>) => void): Promise<void> {
    const environment = await openEnvironment(path, false);
    await environment.writer.write(() => run(environment), { deadlineMs: 1_000 });
    await environment.release();
  }
});
