import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Doorbell } from './doorbell.js';

let directory: string;
let bell: Doorbell;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'event-bus-doorbell-'));
  bell = new Doorbell(join(directory, 'doorbell'));
});
afterEach(() => {
  bell.close();
  rmSync(directory, { recursive: true });
});

describe('the doorbell', () => {
  it('is heard in the same process at once', () => {
    const look = vi.fn();
    bell.listen(look);
    bell.ring();
    expect(look).toHaveBeenCalled();
  });

  it('is heard when somebody else rings, and proves itself at the start', async () => {
    let looks = 0;
    bell.listen(() => looks++);
    await vi.waitFor(() => expect(bell.mode).toBe('bell'));
    const before = looks;
    writeFileSync(join(directory, 'doorbell'), '!', { flag: 'r+' });
    await vi.waitFor(() => expect(looks).toBeGreaterThan(before), { interval: 1, timeout: 200 });
  });

  it('looks now and then although nobody rings', async () => {
    let looks = 0;
    bell.listen(() => looks++);
    await vi.waitFor(() => expect(bell.mode).toBe('bell'));
    const before = looks;
    await vi.waitFor(() => expect(looks).toBeGreaterThan(before + 1), 2_000);
  });

  it('rings later when it is rung too often', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    const other = new Doorbell(join(directory, 'doorbell'));
    try {
      let looks = 0;
      other.listen(() => looks++);
      bell.ring();
      await until(() => looks > 0);
      await turns(50);
      const heard = looks;
      bell.ring();
      await turns(50);
      expect(looks).toBe(heard);
      vi.advanceTimersByTime(1);
      await until(() => looks > heard);
    } finally {
      vi.useRealTimers();
      other.close();
    }
  });

  it('polls, often at first, once its file is another one', async () => {
    const warnings: string[] = [];
    const hear = (warning: Error) => void warnings.push(warning.message);
    process.on('warning', hear);
    let looks = 0;
    bell.listen(() => looks++);
    await vi.waitFor(() => expect(bell.mode).toBe('bell'));
    rmSync(join(directory, 'doorbell'));
    writeFileSync(join(directory, 'doorbell'), '');
    await vi.waitFor(() => expect(bell.mode).toBe('polling'));
    bell.active();
    const before = looks;
    await vi.waitFor(() => expect(looks).toBeGreaterThan(before + 8), { timeout: 200, interval: 5 });
    process.off('warning', hear);
    expect(warnings).toEqual([expect.stringContaining('poll')]);
  });

  it('is silent once nobody listens', async () => {
    const look = vi.fn();
    const deafen = bell.listen(look);
    deafen();
    deafen();
    expect(bell.mode).toBe('off');
    bell.ring();
    expect(look).not.toHaveBeenCalled();
  });
});

// Timers may be false here.
async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}

async function until(check: () => boolean): Promise<void> {
  for (let i = 0; i < 10_000 && !check(); i++) await turns(1);
  expect(check()).toBe(true);
}
