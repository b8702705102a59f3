/**
 * One log, held open: the LMDB environment, its writer and its doorbell. There is one per directory and process, shared by all who ask,
 * since LMDB does not allow a second; the last to let go closes it.
 */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  rmSync,
  statfsSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { open, type RootDatabase } from 'lmdb';
import { BusError, isBusError } from '@event-bus/core';
import { DATABASES_AT_MOST, openDatabases, type Databases, type TopicRow } from './databases.js';
import { Doorbell } from './doorbell.js';
import { Log } from './log.js';
import { bootId, machineTime, processNamespace } from './machine.js';
import { Readers } from './readers.js';
import { refuseCutFile, refuseNetworkFileSystem } from './refusals.js';
import { Writer, type WriteFailure } from './writer.js';

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
  /** Free bytes of the file system, at most a second old. */
  readonly freeBytes: () => number;
  /** Copies the log, without its free pages, into an empty directory. */
  readonly copyTo: (directory: string) => Promise<void>;
  /** Lets go. The last one waits for the writes in hand and closes. */
  readonly release: () => Promise<void>;
}

/** Opens the log in a directory, or shares it when this process has it open. Rejects with a typed error that says what to do. */
export async function openEnvironment(path: string, isEphemeral: boolean): Promise<Environment> {
  const directory = makeDirectory(path);
  const known = held.get(directory);
  if (known !== undefined) {
    known.users++;
    return await known.environment.catch((error: unknown) => {
      known.users--;
      throw error;
    });
  }
  const holding: Holding = { users: 1, environment: begin(directory, isEphemeral) };
  held.set(directory, holding);
  return holding.environment.catch((error: unknown) => {
    held.delete(directory);
    throw error;
  });
}

interface Holding {
  users: number;
  readonly environment: Promise<Environment>;
}

// The one registry of this library: two environments of one directory in one process break LMDB's locks.
const held = new Map<string, Holding>();

function makeDirectory(path: string): string {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    return realpathSync(path);
  } catch (error) {
    throw new BusError(
      'BUS_TRANSPORT_REFUSED',
      `Directory ${path} cannot be made or entered: ${(error as Error).message}. Give a path that this user may write to.`,
      { cause: error },
    );
  }
}

async function begin(path: string, isEphemeral: boolean): Promise<Environment> {
  refuseNetworkFileSystem(path);
  refuseCutFile(path);
  const root = openRoot(path, isEphemeral);
  return complete(path, root, isEphemeral);
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
  try {
    return open(options);
  } catch (error) {
    throw new BusError(
      'BUS_TRANSPORT_REFUSED',
      `The log in ${path} cannot be opened: ${(error as Error).message}. Check the rights of its files; if they are damaged, restore a backup or move the directory away to begin a new log.`,
      {
        cause: error,
        details: { path },
      },
    );
  }
}

async function complete(path: string, root: RootDatabase, isEphemeral: boolean): Promise<Environment> {
  const databases = openDatabases(root);
  const bell = new Doorbell(join(path, 'doorbell'));
  const lastWriter = new LastWriter(join(path, 'writer'));
  const writerFor = (log: Log | undefined) =>
    new Writer({
      transaction: (run) => root.transaction(run),
      begin() {
        lastWriter.note();
        log?.begin();
      },
      end: () => log?.end(),
      wake: () => bell.ring(),
      lastWriter: () => lastWriter.pid(),
      failure: (error) => failureOf(error, path, () => isBroken(root)),
    });
  const close = async () => {
    bell.close();
    lastWriter.close();
    await root.close();
  };

  let epoch: string;
  try {
    epoch = await writerFor(undefined).write(() => identify(databases), { deadlineMs: OPEN_DEADLINE_MS });
  } catch (error) {
    await close();
    throw error;
  }
  const log = new Log(databases, epoch);
  const writer = writerFor(log);
  const readers = new Readers(root, path);
  const snapshot = <T>(read: () => T): T => {
    try {
      return read();
    } finally {
      root.resetReadTxn();
    }
  };
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
    freeBytes: rememberFreeBytes(path),
    copyTo: (directory) => root.backup(directory, true),
    async release() {
      const holding = held.get(path);
      if (holding === undefined || --holding.users > 0) return;
      held.delete(path);
      readers.close();
      // A write that another process holds up cannot be called off: LMDB stays open until it ends, rather than this close for ever.
      if (await writer.idle(CLOSE_DEADLINE_MS)) await close();
      if (isEphemeral) rmSync(path, { recursive: true, force: true });
    },
  };
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

function rememberFreeBytes(path: string): () => number {
  let bytes = 0;
  let at = -Infinity;
  return () => {
    if (machineTime() - at > FREE_BYTES_HOLD_MS) {
      bytes = freeBytesOf(path);
      at = machineTime();
    }
    return bytes;
  };
}

/** Inside the first write: makes the log's identity or checks it. Answers the epoch. */
function identify({ meta, members }: Databases): string {
  const format = meta.get('format');
  if (format !== undefined && format !== FORMAT) {
    throw new BusError(
      'BUS_TRANSPORT_REFUSED',
      `The log has format ${String(format)}, this library reads ${FORMAT}. Use the version of the library that wrote it, or another directory.`,
      { details: { format } },
    );
  }
  const boot = bootId();
  const namespace = processNamespace();
  const isSameBoot = meta.get('boot') === boot;
  // Deadlines of an earlier boot mean nothing, and its processes are gone.
  if (!isSameBoot) for (const key of Array.from(members.getKeys())) void members.remove(key);
  const now = machineTime();
  if (meta.get('namespace') !== namespace) {
    for (const { value } of members.getRange()) {
      if (value.until > now) {
        throw new BusError(
          'BUS_TRANSPORT_REFUSED',
          `Processes of another process-id namespace (${String(meta.get('namespace'))}) use this log, this one is in ${namespace}. Let the containers share the namespace, or stop the others.`,
        );
      }
    }
  }
  const epoch = (meta.get('epoch') as string | undefined) ?? newEpoch();
  if (format === undefined) void meta.put('format', FORMAT);
  if (format === undefined) void meta.put('epoch', epoch);
  if (!isSameBoot) void meta.put('boot', boot);
  if (meta.get('namespace') !== namespace) void meta.put('namespace', namespace);
  return epoch;
}

function newEpoch(): string {
  return randomBytes(8).readBigUInt64BE().toString(36).padStart(8, '0').slice(-8);
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

// LMDB says EIO or ENOSPC for a full disk, depending on which page did not fit. When not even the page that makes a transaction count could
// be written, it refuses everything until it is opened again.
function failureOf(error: unknown, path: string, isBroken: () => boolean): WriteFailure {
  if (isBusError(error)) return { error, isFinal: false };
  const text = error instanceof Error ? error.message : String(error);
  const options = { cause: error, details: { path } };
  if (isBroken()) {
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

function freeBytesOf(path: string): number {
  try {
    const { bavail, bsize } = statfsSync(path);
    return bavail * bsize;
  } catch {
    return Infinity;
  }
}

/** The pid of whoever last began a write, for people who ask why nobody else can. */
class LastWriter {
  readonly #file: number;
  readonly #text = Buffer.from(String(process.pid).padEnd(12));

  constructor(private readonly path: string) {
    this.#file = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  }

  note(): void {
    try {
      writeSync(this.#file, this.#text, 0, this.#text.length, 0);
    } catch {
      // Only a note: on a full disk the write itself says so.
    }
  }

  pid(): number | undefined {
    try {
      return Number(readFileSync(this.path, 'latin1')) || undefined;
    } catch {
      return undefined;
    }
  }

  close(): void {
    closeSync(this.#file);
  }
}

const FORMAT = 1;
const FIRST_MAP_BYTES = 16 * 2 ** 20;
const OPEN_DEADLINE_MS = 10_000;
const CLOSE_DEADLINE_MS = 10_000;
const FREE_BYTES_HOLD_MS = 1_000;
const FULL_BELOW_BYTES = 2 ** 20;
