/** What goes wrong with a log, in words of ours. */
import { statfsSync } from 'node:fs';
import type { RootDatabase } from 'lmdb';
import { BusError, isBusError } from '@event-bus/core';
import type { WriteFailure } from './writer.js';

// LMDB says EIO or ENOSPC for a full disk, depending on which page did not fit. When not even the page that makes a transaction count could
// be written, it refuses everything until it is opened again.
export function failureOf(error: unknown, path: string, root: RootDatabase): WriteFailure {
  if (isBusError(error)) return { error, isFinal: false };
  const text = error instanceof Error ? error.message : String(error);
  const options = { cause: error, details: { path } };
  if (isBroken(root)) {
    const message = `The disk of ${path} failed in the middle of a write (${text}). Look after the disk, then restart this process; what was acknowledged is safe.`;
    return { error: new BusError('BUS_TRANSPORT_UNAVAILABLE', message, options), isFinal: true };
  }
  const isFull = /no space|ENOSPC|MAP_FULL/i.test(text) || freeBytesOf(path) < FULL_BELOW_BYTES;
  return {
    error: isFull
      ? new BusError(
          'BUS_FULL',
          `The disk of ${path} is full (${text}). Free some space; what was acknowledged is safe.`,
          options,
        )
      : new BusError('BUS_TRANSPORT_UNAVAILABLE', `The log in ${path} could not be written: ${text}.`, options),
    isFinal: false,
  };
}

export function closedError(): BusError {
  return new BusError('BUS_CLOSED', 'The embedded log is closed. Make a new transport to open it again.');
}

function isBroken(root: RootDatabase): boolean {
  try {
    root.resetReadTxn();
    root.get('any');
    return false;
  } catch {
    return true;
  }
}

/** Free bytes of a file system; endless where it cannot be asked. */
export function freeBytesOf(path: string): number {
  try {
    const { bavail, bsize } = statfsSync(path);
    return bavail * bsize;
  } catch {
    return Infinity;
  }
}

const FULL_BELOW_BYTES = 2 ** 20;
