/** Places where this log would not keep its promises, found before LMDB is opened. */
import { closeSync, existsSync, fstatSync, openSync, readSync, statSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { BusError } from '@event-bus/core';
import { diskFull, freeBytesOf, FULL_BELOW_BYTES } from './failures.js';

/** Throws `BUS_TRANSPORT_REFUSED` on file systems that do not keep locks and memory maps together between processes. */
export function refuseNetworkFileSystem(path: string, type: number = statfsSync(path).type): void {
  const name = NETWORK_FILE_SYSTEMS[type >>> 0];
  if (name === undefined) return;
  throw new BusError(
    'BUS_TRANSPORT_REFUSED',
    `The embedded log cannot live on ${name} (${path}): locks and memory maps are not shared there. Use a local disk or a volume of the host's own kernel.`,
    {
      details: { path, type },
    },
  );
}

/** Throws `BUS_FULL` where a new log would not fit: LMDB ends the process when it cannot write its first pages. */
export function refuseFullDisk(directory: string): void {
  const { size } = statSync(join(directory, 'data.mdb'), { throwIfNoEntry: false }) ?? { size: 0 };
  const freeBytes = freeBytesOf(directory);
  if (size === 0 && freeBytes < FULL_BELOW_BYTES) throw diskFull(directory, `${freeBytes} bytes are free`);
}

/**
 * Throws `BUS_DATA_LOSS` for a data file that was cut: to read behind its end would end the process with SIGBUS. LMDB leaves at
 * most a few pages unwritten that it freed in the transaction that took them, hence the allowance.
 */
export function refuseCutFile(directory: string): void {
  const path = join(directory, 'data.mdb');
  if (!existsSync(path)) return;
  const file = openSync(path, 'r');
  try {
    // First what should be there, then what is: another process may be adding to it.
    const { pageBytes, lastPage } = newestMeta(file) ?? { pageBytes: 0, lastPage: 0 };
    const { size } = fstatSync(file);
    if (size === 0) return;
    const expected = Math.max(2, lastPage + 1 - PAGES_ALLOWED) * pageBytes;
    if (pageBytes !== 0 && size >= expected) return;
    throw new BusError(
      'BUS_DATA_LOSS',
      `${path} is damaged: ${size} bytes long, at least ${expected} expected. Restore a backup, or move the directory away to begin a new log.`,
      {
        details: { path, size, expected },
      },
    );
  } finally {
    closeSync(file);
  }
}

export function inodeOf(directory: string): number | undefined {
  return statSync(join(directory, 'data.mdb'), { throwIfNoEntry: false })?.ino;
}

/** Throws `BUS_DATA_LOSS` when the data file is not the one that was opened: what is written would go where nobody looks. */
export function refuseOtherFile(directory: string, opened: number | undefined): void {
  if (inodeOf(directory) === opened) return;
  throw new BusError(
    'BUS_DATA_LOSS',
    `The log in ${directory} was deleted or replaced while this process had it open. Restart this process, and stop all that use a log before its directory is touched.`,
    { details: { path: directory } },
  );
}

// The two first pages each hold a meta (`MDB_meta` in LMDB's mdb.c); the one with the higher transaction id counts.
function newestMeta(file: number): { pageBytes: number; lastPage: number } | undefined {
  const first = metaAt(file, 0);
  const second = metaAt(file, first?.pageBytes ?? 4_096);
  if (first === undefined || second === undefined) return first ?? second;
  return second.transaction > first.transaction ? second : first;
}

function metaAt(
  file: number,
  offset: number,
): { pageBytes: number; lastPage: number; transaction: bigint } | undefined {
  const page = Buffer.alloc(META_BYTES);
  if (readSync(file, page, 0, META_BYTES, offset) < META_BYTES || page.readUInt32LE(MAGIC_AT) !== MAGIC)
    return undefined;
  return {
    pageBytes: page.readUInt32LE(PAGE_BYTES_AT),
    lastPage: Number(page.readBigUInt64LE(LAST_PAGE_AT)),
    transaction: page.readBigUInt64LE(LAST_PAGE_AT + 8),
  };
}

const PAGES_ALLOWED = 64;
const MAGIC = 0xbeefc0de;
const MAGIC_AT = 24;
const PAGE_BYTES_AT = MAGIC_AT + 24;
const LAST_PAGE_AT = PAGE_BYTES_AT + 2 * 48;
const META_BYTES = LAST_PAGE_AT + 16;

// linux/magic.h and statfs(2)
const NETWORK_FILE_SYSTEMS: Readonly<Record<number, string>> = {
  0x6969: 'NFS',
  0x517b: 'SMB',
  0xff534d42: 'CIFS',
  0xfe534d42: 'SMB2',
  0x01021997: '9p',
  0x65735546: 'FUSE',
  0x00c36400: 'Ceph',
  0x5346414f: 'AFS',
  0x786f4256: 'a VirtualBox shared folder',
};
