/**
 * What a command needs before it can run: packages installed and sources compiled. Each is done only when something is missing or older,
 * and says what it does. A fresh clone needs Node and git, nothing else.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Bears the time of the last build without errors: tsc leaves its notes and its output after the others too. */
const BUILT = join(root, 'node_modules', '.built');

/** Installs and compiles what is missing. Ends the process with a clear line when that fails. */
export function setUp() {
  requireNode();
  install();
  build();
}

function requireNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const isSupported = (major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major >= 24;
  if (!isSupported) fail(`Node ${process.versions.node} is not supported: use 20.19, 22.12, 24 or newer.`);
}

function install() {
  const lock = join(root, 'package-lock.json');
  const installed = join(root, 'node_modules', '.package-lock.json');
  if (existsSync(installed) && mtime(installed) >= mtime(lock)) return;
  say('installing packages (once)');
  run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], 'npm ci');
}

function build() {
  const projects = ['libs', 'apps'].flatMap((folder) =>
    readdirSync(join(root, folder)).map((name) => join(root, folder, name)),
  );
  const builtMs = existsSync(BUILT) ? mtime(BUILT) : 0;
  const stale = projects.filter((project) => existsSync(join(project, 'tsconfig.json')) && isStale(project, builtMs));
  if (stale.length === 0) return;
  const startedAt = new Date();
  say(`compiling ${stale.length === projects.length ? 'all' : stale.length} of ${projects.length} packages`);
  run(process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-b'], 'tsc -b');
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

/** @param {string} command @param {string[]} args @param {string} name */
function run(command, args, name) {
  const startedAt = Date.now();
  const { status, error } = spawnSync(command, args, {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    shell: process.platform === 'win32',
  });
  if (status !== 0) fail(`${name} failed${error ? `: ${error.message}` : ` with exit code ${status}`}.`);
  say(`${name} done in ${((Date.now() - startedAt) / 1000).toFixed(1)} s`);
}

/** @param {string} text */
function say(text) {
  process.stderr.write(`set-up: ${text}\n`);
}

/** @param {string} text @returns {never} */
function fail(text) {
  process.stderr.write(`set-up: ${text}\n`);
  process.exit(1);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) setUp();
