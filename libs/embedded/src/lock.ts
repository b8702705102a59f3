/**
 * The write lock of a log, looked at without waiting for it. LMDB keeps it as a robust mutex in `lock.mdb` (`MDB_txninfo` in its mdb.c); the
 * lock word holds the id of the thread that has it, as glibc and musl agreed with the kernel. Elsewhere nothing is known about it.
 */
import { randomBytes } from 'node:crypto';
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  linkSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { BusError } from '@event-bus/core';
import { machineTime } from './machine.js';

/** The process that holds the write lock of a log; `undefined`: nobody does, or nobody can tell. */
export function lockHolder(directory: string): number | undefined {
  return look(directory).holder;
}

/**
 * Resolves once the lock is free or goes from hand to hand, so that who asks for it gets it soon. Rejects with `BUS_BUSY` when one process
 * keeps it past the deadline.
 */
export async function lockMoves(directory: string, deadlineMs: number): Promise<void> {
  const deadline = machineTime() + deadlineMs;
  const { transaction } = look(directory);
  for (;;) {
    const now = look(directory);
    if (now.holder === undefined || now.transaction !== transaction) return;
    if (machineTime() >= deadline) throw lockHeld(now.holder, deadlineMs);
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

/** `BUS_BUSY`: the lock was not to be had. */
export function lockHeld(holder: number, waitedMs: number, details: object = {}): BusError {
  return new BusError(
    'BUS_BUSY',
    `The log took no write for ${waitedMs} ms: process ${holder} holds its lock, and is stopped or too busy to give it back. Let that process go on, or end it.`,
    { details: { ...details, pid: holder } },
  );
}

/**
 * Makes the lock file before LMDB does, and full of bytes: LMDB's own is sparse, and a step into a hole of it on a full disk would end the
 * process with SIGBUS. It appears whole, since another process may open it at once.
 */
export function makeLockFile(directory: string): void {
  const file = join(directory, 'lock.mdb');
  // LMDB's binding ends the process as well when it may not write there.
  if (existsSync(file)) return accessSync(file, constants.R_OK | constants.W_OK);
  const whole = `${file}-${process.pid}-${randomBytes(4).toString('hex')}`;
  try {
    writeFileSync(whole, Buffer.alloc(LOCK_FILE_BYTES), { mode: 0o600 });
    linkSync(whole, file);
  } catch (error) {
    // Another process was quicker, or the file system has no links: then LMDB makes its own.
    if (!['EEXIST', 'EPERM', 'ENOTSUP'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  } finally {
    rmSync(whole, { force: true });
  }
}

interface Lock {
  readonly holder: number | undefined;
  /** The last transaction that ended. */
  readonly transaction: bigint;
}

function look(directory: string): Lock {
  const bytes = lockBytes(join(directory, 'lock.mdb'));
  if (bytes === undefined) return { holder: undefined, transaction: 0n };
  const thread = lockWord(bytes) & THREAD;
  return { holder: thread === 0 ? undefined : processOf(thread), transaction: bytes.readBigUInt64LE(TRANSACTION_AT) };
}

// While this process has the log open it must not open the file itself: to close it would drop all locks that LMDB has on it (fcntl(2)), and
// the next process to come would believe to be the first. So it looks at its own memory, where the file is mapped.
function lockBytes(file: string): Buffer | undefined {
  if (process.platform !== 'linux') return undefined;
  try {
    const mapping = readFileSync('/proc/self/maps', 'latin1')
      .split('\n')
      .find((line) => line.endsWith(` ${Buffer.from(file).toString('latin1')}`));
    return mapping === undefined
      ? bytesAt(file, 0)
      : bytesAt('/proc/self/mem', Number.parseInt(mapping.slice(0, mapping.indexOf('-')), 16));
  } catch {
    return undefined;
  }
}

function bytesAt(path: string, position: number): Buffer | undefined {
  const file = openSync(path, 'r');
  try {
    const bytes = Buffer.alloc(LOOKED_AT_BYTES);
    return readSync(file, bytes, 0, bytes.length, position) === bytes.length ? bytes : undefined;
  } finally {
    closeSync(file);
  }
}

// The kind of the mutex, "robust and shared between processes", tells where it lies and whose it is.
function lockWord(bytes: Buffer): number {
  for (const at of MUTEX_AT) {
    if (bytes.readUInt32LE(at + 16) === GLIBC_KIND) return bytes.readUInt32LE(at);
    if (bytes.readUInt32LE(at) === MUSL_KIND) return bytes.readUInt32LE(at + 4);
  }
  return 0;
}

// A thread that is gone left a lock that the next one to ask gets.
function processOf(thread: number): number | undefined {
  try {
    return Number(/^Tgid:\s*(\d+)$/m.exec(readFileSync(`/proc/${thread}/status`, 'latin1'))?.[1]) || undefined;
  } catch {
    return undefined;
  }
}

const LOOK_EVERY_MS = 5;
/** Room for 254 readers; LMDB's own has 126. */
const LOCK_FILE_BYTES = 16_384;
const LOOKED_AT_BYTES = 192;
const TRANSACTION_AT = 8;
/** Behind the header and the mutex of the readers, on a cache line of its own. */
const MUTEX_AT = [64, 128];
const GLIBC_KIND = 0x90;
const MUSL_KIND = 0x84;
/** Without the bits for "others wait" and "the owner died". */
const THREAD = 0x3fffffff;
