import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { BusError } from '@event-bus/core';
import { openEnvironment, type Environment } from './environment.js';

export interface CompactOptions {
  /** The directory of the log. No process may have it open. */
  readonly from: string;
  /** An empty directory for the copy; made when it is missing. */
  readonly to: string;
}

/**
 * Copies a log into a smaller file: the file of a log never shrinks, its freed pages are only used again. The copy is the same log, with
 * the same positions; put it in the place of the old directory to use it. Rejects with `BUS_BUSY` while the log is open elsewhere, in this
 * process or another.
 */
export async function compact({
  from,
  to,
}: CompactOptions): Promise<{ readonly beforeBytes: number; readonly afterBytes: number }> {
  if (!existsSync(join(from, 'data.mdb')))
    throw new BusError('BUS_CONFIG_INVALID', `Directory ${from} holds no log. Give the "path" of one.`);
  mkdirSync(to, { recursive: true, mode: 0o700 });
  if (readdirSync(to).length > 0)
    throw new BusError('BUS_CONFIG_INVALID', `Directory ${to} must be empty. Give another one.`);
  const copy = join(to, 'data.mdb');
  const environment = await openEnvironment(from, false, true);
  try {
    refuseOthers(environment);
    await environment.copyTo(to);
    refuseOthers(environment);
  } catch (error) {
    rmSync(copy, { force: true });
    throw error;
  } finally {
    await environment.release();
  }
  chmodSync(copy, 0o600);
  return { beforeBytes: statSync(join(from, 'data.mdb')).size, afterBytes: statSync(copy).size };
}

function refuseOthers({ path, readers }: Environment): void {
  const others = readers.others();
  if (others.length === 0) return;
  throw new BusError(
    'BUS_BUSY',
    `The log in ${path} is used by ${others.join(', ')}. Stop these processes first, or what they write is missing in the copy.`,
    { details: { pids: others } },
  );
}
