/** What goes wrong with a log, in words of ours. */
import { statfsSync } from 'node:fs';
import type { RootDatabase } from 'lmdb';
import { BusError, isBusError } from '@event-bus/core';
import type { WriteFailure } from './writer.js';

/** Why a log could not be opened. */
export function openFailure(error: unknown, path: string): BusError {
  if (isBusError(error)) return error;
  const text = textOf(error);
  if (isFull(text, path)) return diskFull(path, text, error);
  return new BusError(
    'BUS_TRANSPORT_REFUSED',
    `The log in ${path} cannot be opened: ${text}. Check that this user may write to the directory and its files; if they are damaged, restore a backup or move the directory away to begin a new log.`,
    { cause: error, details: { path } },
  );
}

/** What became of a write that LMDB refused, or that was not begun: an error of ours says that the log is not there any more. */
export function failureOf(error: unknown, path: string, root: RootDatabase): WriteFailure {
  if (isBusError(error)) return { error, isFinal: true };
  const text = textOf(error);
  const options = { cause: error, details: { path } };
  // When not even the page that makes a transaction count could be written, LMDB refuses everything until it is opened again.
  if (isBroken(root)) {
    const message = `The disk of ${path} failed in the middle of a write (${text}). Look after the disk, then restart this process; what was acknowledged is safe.`;
    return { error: new BusError('BUS_TRANSPORT_UNAVAILABLE', message, options), isFinal: true };
  }
  return {
    error: isFull(text, path)
      ? diskFull(path, text, error)
      : new BusError('BUS_TRANSPORT_UNAVAILABLE', `The log in ${path} could not be written: ${text}.`, options),
    isFinal: false,
  };
}

export function closedError(): BusError {
  return new BusError('BUS_CLOSED', 'The embedded log is closed. Make a new transport to open it again.');
}

export function diskFull(path: string, why: string, cause?: unknown): BusError {
  return new BusError(
    'BUS_FULL',
    `The disk of ${path} is full (${why}). Free some space; what was acknowledged is safe.`,
    { cause, details: { path } },
  );
}

// LMDB says EIO or ENOSPC (28) for a full disk, depending on which page did not fit.
function isFull(text: string, path: string): boolean {
  return /no space|ENOSPC|MAP_FULL|Error 28/i.test(text) || freeBytesOf(path) < FULL_BELOW_BYTES;
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
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

/** With less than this free a disk counts as full. */
export const FULL_BELOW_BYTES = 2 ** 20;
