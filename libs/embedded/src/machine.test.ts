import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { bootId, isAlive, machineTime, thisProcess } from './machine.js';

describe('isAlive', () => {
  it('is true for this process and false for the same id that began at another time', () => {
    expect(isAlive(thisProcess())).toBe(true);
    if (process.platform === 'linux') expect(isAlive({ ...thisProcess(), started: '1' })).toBe(false);
  });

  it('is false for a process that ended', async () => {
    const child = spawn(process.execPath, ['-e', '']);
    const { pid } = child;
    await once(child, 'exit');
    expect(isAlive({ pid: pid!, started: thisProcess().started })).toBe(false);
  });
});

describe('machineTime', () => {
  it('rises, in milliseconds', async () => {
    const before = machineTime();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(machineTime() - before).toBeGreaterThanOrEqual(19);
  });
});

describe('bootId', () => {
  it('stays the same', () => {
    expect(bootId()).toBe(bootId());
    expect(bootId()).not.toBe('');
  });
});
