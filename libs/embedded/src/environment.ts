/**
 * One log, held open: the LMDB environment, its writer and its doorbell. There is one per directory and process, shared by all who ask,
 * since LMDB does not allow a second; the last to let go closes it.
 */
import { mkdirSync, realpathSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { open, type RootDatabase } from 'lmdb';
import { BusError, isBusError } from '@event-bus/core';
import { DATABASES_AT_MOST, openDatabases, type Databases, type TopicRow } from './databases.js';
import { Doorbell } from './doorbell.js';
import { failureOf, freeBytesOf, openFailure } from './failures.js';
import { Log } from './log.js';
import { identify, presence } from './identity.js';
import { lockHolder, lockMoves, makeLockFile } from './lock.js';
import { machineTime } from './machine.js';
import { Readers } from './readers.js';
import { inodeOf, refuseCutFile, refuseFullDisk, refuseNetworkFileSystem, refuseOtherFile } from './refusals.js';
import { Writer } from './writer.js';

export interface Environment {
  readonly path: string;
  readonly epoch: string;
  readonly databases: Databases;
  readonly log: Log;
  readonly writer: Writer;
  readonly bell: Doorbell;
  readonly readers: Readers;
  /** Reads one consistent state and gives the snapshot back at once. `read` must not await. */
  readonly snapshot: <T>(read: () => T) => T;
  readonly topic: (name: string) => TopicRow | undefined;
  /** Inside a write: free bytes of the file system, as they were when its transaction began. */
  readonly freeBytes: () => number;
  /** Copies the log, without its free pages, into an empty directory. */
  readonly copyTo: (directory: string) => Promise<void>;
  /** Lets go. The last one waits for the writes in hand and closes. */
  readonly release: () => Promise<void>;
}

/**
 * Opens the log in a directory, or shares it when this process has it open; `isAlone`: with nobody. Rejects with a typed error that says what
 * to do.
 */
export async function openEnvironment(path: string, isEphemeral: boolean, isAlone = false): Promise<Environment> {
  const directory = makeDirectory(path);
  const known = held.get(directory);
  if (known !== undefined) {
    if (isAlone || known.isAlone) throw usedHere(directory);
    known.users++;
    return await known.environment.catch((error: unknown) => {
      known.users--;
      throw error;
    });
  }
  const holding: Holding = { users: 1, isAlone, environment: begin(directory, isEphemeral) };
  held.set(directory, holding);
  return holding.environment.catch((error: unknown) => {
    held.delete(directory);
    throw error;
  });
}

interface Holding {
  users: number;
  readonly isAlone: boolean;
  readonly environment: Promise<Environment>;
}

// The one registry of this library: two environments of one directory in one process break LMDB's locks.
const held = new Map<string, Holding>();

function usedHere(path: string): BusError {
  return new BusError(
    'BUS_BUSY',
    `This process has the log in ${path} open already, and it is not to be shared while it is compacted. Close the transport or wait.`,
    { details: { path } },
  );
}

function makeDirectory(path: string): string {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    return realpathSync(path);
  } catch (error) {
    throw openFailure(error, path);
  }
}

// Until LMDB has closed one, it must not be opened again either.
const closing = new Map<string, Promise<void>>();

async function begin(path: string, isEphemeral: boolean): Promise<Environment> {
  try {
    await prepare(path);
    const bell = new Doorbell(join(path, 'doorbell'));
    try {
      return await complete(path, bell, openRoot(path, isEphemeral), isEphemeral);
    } catch (error) {
      bell.close();
      throw error;
    }
  } catch (error) {
    throw openFailure(error, path);
  }
}

async function prepare(path: string): Promise<void> {
  refuseNetworkFileSystem(path);
  // LMDB opens with a transaction on this very thread: behind a lock that another process keeps, nothing here would run any more.
  await lockMoves(path, OPEN_DEADLINE_MS);
  if (!(await endsWithin(closing.get(path) ?? Promise.resolve(), OPEN_DEADLINE_MS))) {
    throw new BusError(
      'BUS_BUSY',
      `This process still closes the log in ${path}: its last write has not ended for ${OPEN_DEADLINE_MS} ms. Look after the disk, then try again.`,
      { details: { path } },
    );
  }
  refuseCutFile(path);
  refuseFullDisk(path);
  makeLockFile(path);
}

function openRoot(path: string, isEphemeral: boolean): RootDatabase {
  const options = {
    path,
    // A reader of another process must not see a record before it is on disk: it could act on an offset that is given again after a power cut.
    overlappingSync: false,
    noSync: isEphemeral,
    // With it lmdb-js makes one more promise for each transaction, which nobody holds: rejected on a full disk, it would end the process.
    eventTurnBatching: false,
    noSubdir: false,
    maxDbs: DATABASES_AT_MOST,
    mapSize: FIRST_MAP_BYTES,
    permissionsMode: 0o600,
  };
  return open(options);
}

async function complete(path: string, bell: Doorbell, root: RootDatabase, isEphemeral: boolean): Promise<Environment> {
  const inode = inodeOf(path);
  let freeBytes: number | undefined;
  const writerFor = (log?: Log, present?: () => void) =>
    new Writer({
      transaction: (run) => root.transaction(run),
      begin() {
        refuseOtherFile(path, inode);
        present?.();
        freeBytes = undefined;
        log?.begin();
      },
      end: () => log?.end(),
      wake: () => bell.ring(),
      lockHolder: () => lockHolder(path),
      failure: (error) => failureOf(error, path, root),
    });
  const close = async () => {
    bell.close();
    await root.close();
  };

  let databases!: Databases;
  let epoch: string;
  const first = writerFor();
  try {
    // Inside a transaction, since each database would have one of its own on this thread.
    const identity = () => identify((databases = openDatabases(root)));
    epoch = await identified(() => first.write(identity, { deadlineMs: OPEN_DEADLINE_MS }));
  } catch (error) {
    await endsWithin(closed(path, first, close), GIVE_UP_DEADLINE_MS);
    throw error;
  }
  const log = new Log(databases, epoch);
  const writer = writerFor(log, presence(databases));
  const readers = new Readers(root, path);
  const snapshot = <T>(read: () => T): T => {
    try {
      return read();
    } finally {
      root.resetReadTxn();
    }
  };
  // The first snapshot takes a place in LMDB's list of readers: it tells others that the log is open here.
  snapshot(() => databases.meta.get('epoch'));
  return {
    path,
    epoch,
    databases,
    log,
    writer,
    bell,
    readers,
    snapshot,
    topic: rememberTopics(databases, snapshot),
    freeBytes: () => (freeBytes ??= freeBytesOf(path)),
    copyTo: (directory) => root.backup(directory, true),
    async release() {
      const holding = held.get(path);
      if (holding === undefined || --holding.users > 0) return;
      held.delete(path);
      readers.close();
      await endsWithin(closed(path, writer, close), CLOSE_DEADLINE_MS);
      if (isEphemeral) rmSync(path, { recursive: true, force: true });
    },
  };
}

// A container that crashed and is back has another namespace, and its leases still run: whoever does not renew them by then is gone.
async function identified(identity: () => Promise<string>): Promise<string> {
  try {
    return await identity();
  } catch (error) {
    if (!isBusError(error) || typeof error.details.until !== 'number') throw error;
    await new Promise((resolve) => setTimeout(resolve, (error.details.until as number) - machineTime() + 1));
    return identity();
  }
}

// A write that another process holds up cannot be called off: LMDB stays open until it ends.
function closed(path: string, writer: Writer, close: () => Promise<void>): Promise<void> {
  const done = writer
    .idle()
    .then(close)
    .finally(() => closing.delete(path));
  closing.set(path, done);
  return done;
}

/** Whether something ends in time; it is not called off. */
async function endsWithin(work: Promise<void>, withinMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout;
  const late = new Promise<false>((resolve) => (timer = setTimeout(resolve, withinMs, false)));
  return Promise.race([work.then(() => true), late]).finally(() => clearTimeout(timer));
}

// Topics stay as they were made, so what was once seen holds.
function rememberTopics({ topics }: Databases, snapshot: Environment['snapshot']): Environment['topic'] {
  const known = new Map<string, TopicRow>();
  return (name) => {
    let row = known.get(name);
    if (row === undefined) {
      row = snapshot(() => topics.get(name));
      if (row !== undefined) known.set(name, row);
    }
    return row;
  };
}

const FIRST_MAP_BYTES = 16 * 2 ** 20;
const OPEN_DEADLINE_MS = 10_000;
const CLOSE_DEADLINE_MS = 10_000;
const GIVE_UP_DEADLINE_MS = 1_000;
