/** Facts of this machine that all its processes agree on: which boot, which process, what time since the boot. */
import { execFileSync } from 'node:child_process';
import { readFileSync, readlinkSync } from 'node:fs';

/** Milliseconds on the clock that all processes of one boot share and that never steps. */
export function machineTime(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1_000 + nanoseconds / 1e6;
}

/** Changes with every boot: deadlines of an earlier boot mean nothing. */
export function bootId(): string {
  if (process.platform === 'linux') return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
  if (process.platform === 'darwin')
    return execFileSync('/usr/sbin/sysctl', ['-n', 'kern.bootsessionuuid'], { encoding: 'latin1' }).trim();
  return process.platform;
}

/** Where process ids mean the same. */
export function processNamespace(): string {
  return process.platform === 'linux' ? readlinkSync('/proc/self/ns/pid') : process.platform;
}

/** A process and when it began, since ids are used again. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly started: string;
}

export function thisProcess(): ProcessIdentity {
  return { pid: process.pid, started: startOf(process.pid) ?? '' };
}

/** Whether this very process still exists; a stopped one does. */
export function isAlive({ pid, started }: ProcessIdentity): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    // EPERM: it exists and belongs to somebody else.
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  const now = startOf(pid);
  return now === undefined || now === started;
}

// Field 22 of /proc/<pid>/stat (proc(5)); the name before it may hold spaces and brackets. A dead process that nobody waited for yet is a zombie, Z.
function startOf(pid: number): string | undefined {
  if (process.platform !== 'linux') return undefined;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? 'gone' : fields[19];
  } catch {
    return 'gone';
  }
}
