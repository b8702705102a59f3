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
