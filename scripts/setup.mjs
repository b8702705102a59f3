/**
 * What a command needs before it can run: packages installed and sources compiled. Each is done only when something is missing or older,
 * and says what it does. A fresh clone needs Node and git, nothing else.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Bears the time of the last build without errors: tsc leaves its notes and its output after the others too. */
const BUILT = join(root, 'node_modules', '.built');

/**
 * Installs and compiles what is missing. Ends the process with a clear line when that fails.
 *
 * @param {{ signal?: AbortSignal }} [options] `signal` is for whoever catches Ctrl-C: it ends what runs here, and then the process
 */
export async function setUp({ signal } = {}) {
  requireNode();
  await install(signal);
  await build(signal);
}

function requireNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const isSupported = (major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major >= 24;
  if (!isSupported) fail(`Node ${process.versions.node} is not supported: use 20.19, 22.12, 24 or newer.`);
}

/** @param {AbortSignal} [signal] */
async function install(signal) {
  const lock = join(root, 'package-lock.json');
  const installed = join(root, 'node_modules', '.package-lock.json');
  if (existsSync(installed) && mtime(installed) >= mtime(lock)) return;
  say('installing packages (once)');
  await run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], 'npm ci', signal);
}

/** @param {AbortSignal} [signal] */
async function build(signal) {
  const projects = ['libs', 'apps'].flatMap((folder) =>
    readdirSync(join(root, folder)).map((name) => join(root, folder, name)),
  );
  const builtMs = existsSync(BUILT) ? mtime(BUILT) : 0;
  const stale = projects.filter((project) => existsSync(join(project, 'tsconfig.json')) && isStale(project, builtMs));
  if (stale.length === 0) return;
  const startedAt = new Date();
  say(`compiling ${stale.length === projects.length ? 'all' : stale.length} of ${projects.length} packages`);
  await run(process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-b'], 'tsc -b', signal);
  writeFileSync(BUILT, '');
  utimesSync(BUILT, startedAt, startedAt); // what was edited meanwhile is newer
}

/**
 * @param {string} project
 * @param {number} builtMs
 */
function isStale(project, builtMs) {
  return (
    !existsSync(join(project, 'dist', '.tsbuildinfo')) ||
    newest(join(project, 'src')) > builtMs ||
    mtime(join(project, 'tsconfig.json')) > builtMs ||
    mtime(join(root, 'tsconfig.base.json')) > builtMs
  );
}

/** @param {string} folder @returns {number} */
function newest(folder) {
  let newestMs = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.name.endsWith('.test.ts')) continue;
    const path = join(folder, entry.name);
    newestMs = Math.max(newestMs, entry.isDirectory() ? newest(path) : mtime(path));
  }
  return newestMs;
}

/** @param {string} path */
const mtime = (path) => statSync(path).mtimeMs;

/** @param {string} command @param {string[]} args @param {string} name @param {AbortSignal} [signal] */
async function run(command, args, name, signal) {
  const startedAt = Date.now();
  const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
  const interrupt = () => child.kill();
  signal?.addEventListener('abort', interrupt);
  const failure = await once(child, 'exit').then(
    ([code, how]) => (code === 0 ? undefined : `${name} ended with ${how ?? `exit code ${code}`}.`),
    (error) => `${name} could not be run: ${error.message}.`,
  );
  signal?.removeEventListener('abort', interrupt);
  if (signal?.aborted) fail('interrupted', 130);
  if (failure) fail(failure);
  say(`${name} done in ${((Date.now() - startedAt) / 1000).toFixed(1)} s`);
}

/** @param {string} text */
function say(text) {
  process.stderr.write(`set-up: ${text}\n`);
}

/** @param {string} text @param {number} [code] @returns {never} */
function fail(text, code = 1) {
  say(text);
  process.exit(code);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await setUp();
