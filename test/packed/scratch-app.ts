/** Nest applications outside the repository that know the libraries only as they would be published: packed, installed, compiled. */
import { spawn } from 'node:child_process';
import { access, cp, mkdir, mkdtemp, readFile, readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const TSC = join(ROOT, 'node_modules/typescript/bin/tsc');

export interface Library {
  readonly name: string;
  readonly tarball: string;
  /** The files in the tarball. */
  readonly files: readonly string[];
  /** What can be imported: the name and its subpaths. */
  readonly doors: readonly string[];
}

/** Builds and packs every library into a new folder. */
export async function packed(): Promise<{ folder: string; libraries: readonly Library[] }> {
  const folder = await mkdtemp(join(tmpdir(), 'event-bus-packed-'));
  console.log('Building the libraries …');
  await succeed(ROOT, process.execPath, [TSC, '-b', ...(await libraryFolders())]);
  console.log('Packing them …');
  return { folder, libraries: await pack(join(folder, 'tarballs')) };
}

/** A folder with an application of `fixtures`, and the libraries installed beside what it depends on. */
export async function scratchApp(
  { folder, libraries }: { readonly folder: string; readonly libraries: readonly Library[] },
  fixture: keyof typeof APPS,
): Promise<string> {
  const app = join(folder, fixture);
  console.log(`Installing ${fixture} into ${app} …`);
  await cp(join(ROOT, 'test/packed/fixtures', fixture), app, { recursive: true });
  await writeFile(join(app, 'package.json'), JSON.stringify(await APPS[fixture](libraries), null, 2));
  await succeed(app, 'npm', [
    'install',
    '--prefer-offline',
    '--no-audit',
    '--no-fund',
    '--no-package-lock',
    '--loglevel=error',
  ]);
  return app;
}

/** Compiles with the compiler of the application, or else with ours. */
export async function compile(folder: string): Promise<Ended> {
  const own = join(folder, 'node_modules/typescript/bin/tsc');
  const hasOwn = await access(own).then(
    () => true,
    () => false,
  );
  return run(folder, process.execPath, [hasOwn ? own : TSC, '--project', folder]);
}

export interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly output: string;
}

/** Runs a program; `hear` is told of all it says as it says it, and may send it signals. */
export function run(
  folder: string,
  command: string,
  args: readonly string[],
  hear: (said: string, kill: (signal: NodeJS.Signals) => void) => void = () => {},
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const { NODE_OPTIONS: _options, ...env } = process.env;
    const child = spawn(command, args, {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...env, NO_COLOR: '1' },
    });
    let output = '';
    const onData = (chunk: Buffer) => {
      output += chunk.toString();
      hear(output, (signal) => void child.kill(signal));
    };
    child.stdout.on('data', onData);
    child.stderr.on('data', onData);
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, output }));
  });
}

async function pack(destination: string): Promise<Library[]> {
  await mkdir(destination, { recursive: true });
  const folders = await libraryFolders();
  const { output } = await succeed(ROOT, 'npm', [
    'pack',
    '--json',
    '--loglevel=error',
    '--pack-destination',
    destination,
    ...folders.flatMap((folder) => ['--workspace', folder]),
  ]);
  const packed = JSON.parse(output.slice(output.indexOf('['))) as {
    name: string;
    filename: string;
    files: { path: string }[];
  }[];
  return Promise.all(
    packed.map(async ({ name, filename, files }) => ({
      name,
      tarball: join(destination, filename),
      files: files.map(({ path }) => path),
      doors: await doorsOf(name),
    })),
  );
}

async function doorsOf(name: string): Promise<string[]> {
  const { exports } = await manifestOf(name.replace('@event-bus/', ''));
  return Object.keys(exports)
    .filter((door) => !door.endsWith('.json'))
    .map((door) => name + door.slice(1));
}

async function libraryFolders(): Promise<string[]> {
  const entries = await readdir(join(ROOT, 'libs'), { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => `libs/${name}`);
}

/** What stands in the package.json of each application. */
const APPS = { app: newest, 'app-commonjs': nest11 };

/** Everything that the libraries ask their users to have, in the versions of the workspace. */
async function newest(libraries: readonly Library[]) {
  const { devDependencies } = await manifestOf('nest');
  const root = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as {
    devDependencies: Record<string, string>;
  };
  const types = { '@types/node': root.devDependencies['@types/node'] };
  return manifest(libraries, { ...devDependencies, ...types }, { type: 'module' });
}

/** As `nest new` of Nest 11 makes it: CommonJS, with Jest. */
async function nest11(libraries: readonly Library[]) {
  const { devDependencies } = await manifestOf('nest');
  return manifest(libraries, {
    ...devDependencies,
    '@nestjs/common': '11.1.24',
    '@nestjs/core': '11.1.24',
    '@nestjs/microservices': '11.1.24',
    '@nestjs/platform-express': '11.1.24',
    '@nestjs/terminus': '11.0.0',
    '@nestjs/testing': '11.1.24',
    '@types/jest': '^30.0.0',
    '@types/node': '^20.19.0',
    jest: '^30.0.0',
    'ts-jest': '^29.2.5',
    typescript: '^5.7.3',
  });
}

/** With the libraries from their tarballs. */
function manifest(libraries: readonly Library[], dependencies: object, more: object = {}) {
  const tarballs = Object.fromEntries(libraries.map(({ name, tarball }) => [name, `file:${tarball}`]));
  return {
    name: 'scratch',
    private: true,
    ...more,
    dependencies: { ...dependencies, ...tarballs },
    overrides: tarballs,
  };
}

async function manifestOf(library: string) {
  return JSON.parse(await readFile(join(ROOT, 'libs', library, 'package.json'), 'utf8')) as {
    exports: Record<string, unknown>;
    devDependencies: Record<string, string>;
  };
}

async function succeed(folder: string, command: string, args: readonly string[]): Promise<Ended> {
  const ended = await run(folder, command, args);
  if (ended.code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${ended.code}:\n${ended.output}`);
  return ended;
}
