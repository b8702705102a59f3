import { existsSync, linkSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { mkdir, mkdtemp } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** Where fetched servers and logs are kept: EVENT_BUS_SERVERS, else `.servers` in the checkout (git-ignored). */
export function cacheFolder() {
  return process.env.EVENT_BUS_SERVERS || join(dirname(fileURLToPath(import.meta.url)), '../../.servers');
}

/**
 * The folder `name` of the cache. When it is not there, `make` fills an empty folder, which then gets that name in one
 * step: the folder is complete or absent. One folder is made at a time, whoever wants it: Maven's own store does not bear
 * two at once.
 *
 * @param {string} name what it holds, with everything the content depends on (a version, a hash)
 * @param {(line: string) => void} log
 * @param {(folder: string) => Promise<void>} make
 * @returns {Promise<string>} the folder's path
 */
export async function once(name, log, make) {
  const folder = join(cacheFolder(), name);
  if (existsSync(folder)) return folder;
  await mkdir(cacheFolder(), { recursive: true });
  const unlock = await lock(join(cacheFolder(), 'lock'), log);
  removeLeftDrafts(folder);
  const draft = await mkdtemp(`${folder}.draft-${process.pid}-`);
  try {
    if (!existsSync(folder)) {
      await make(draft);
      renameSync(draft, folder);
    }
  } finally {
    rmSync(draft, { recursive: true, force: true });
    unlock();
  }
  return folder;
}

/**
 * Saves work; that a folder is complete or absent does not hang on it.
 *
 * @param {string} file
 * @param {(line: string) => void} log
 */
async function lock(file, log) {
  const mine = `${file}-${process.pid}-${Math.random()}`;
  writeFileSync(mine, String(process.pid));
  try {
    for (let isFirstTry = true; !claim(mine, file); isFirstTry = false) {
      const owner = ownerOf(file);
      if (!isAlive(owner)) {
        rmSync(file, { force: true });
        continue;
      }
      if (isFirstTry) log(`waiting for what process ${owner} is fetching`);
      await sleep(200);
    }
  } finally {
    rmSync(mine);
  }
  return () => rmSync(file, { force: true });
}

/**
 * A link appears with its content, so a lock never stands there without its owner's name.
 *
 * @param {string} mine
 * @param {string} file
 */
function claim(mine, file) {
  try {
    linkSync(mine, file);
    return true;
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'EEXIST') return false;
    throw error;
  }
}

/** @param {string} file */
function ownerOf(file) {
  try {
    return Number(readFileSync(file, 'utf8'));
  } catch {
    return 0; // unlocked between two looks
  }
}

/** @param {number} pid */
function isAlive(pid) {
  try {
    return pid > 0 && process.kill(pid, 0);
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'EPERM';
  }
}

/** @param {string} folder */
function removeLeftDrafts(folder) {
  const prefix = `${basename(folder)}.draft-`;
  for (const name of readdirSync(dirname(folder))) {
    if (name.startsWith(prefix) && !isAlive(parseInt(name.slice(prefix.length), 10))) {
      rmSync(join(dirname(folder), name), { recursive: true, force: true });
    }
  }
}

const LOGS_KEPT_MS = 3 * 24 * 3600 * 1000;

/**
 * A new folder for the logs of one start, below the cache folder. What earlier failures left there goes after three
 * days.
 *
 * @param {string} name
 */
export async function logFolder(name) {
  const logs = join(cacheFolder(), 'logs');
  await mkdir(logs, { recursive: true });
  for (const old of readdirSync(logs)) {
    const age = Date.now() - (statSync(join(logs, old), { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
    if (age > LOGS_KEPT_MS) rmSync(join(logs, old), { recursive: true, force: true });
  }
  return mkdtemp(join(logs, `${name}-`));
}
