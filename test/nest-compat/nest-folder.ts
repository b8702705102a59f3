/**
 * A folder with one version of Nest and a copy of libs/nest, kept below `.servers/` between runs. The copy is what makes imports of `@nestjs/*` find
 * this version; the sister libraries know no Nest and are found in the workspace.
 */
import { spawn } from 'node:child_process';
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { VERSIONS, dependenciesOf, type Version } from './versions.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

export async function nestFolder(version: Version): Promise<string> {
  const folder = join(ROOT, '.servers', `nest-${version}`);
  await install(folder, version);
  await rm(join(folder, 'src'), { recursive: true, force: true });
  await cp(join(ROOT, 'libs/nest/src'), join(folder, 'src'), { recursive: true });
  await copyPackage('nest', folder);
  await writeFile(
    join(folder, 'tsconfig.json'),
    JSON.stringify({ extends: '../../tsconfig.test.json', include: ['src'] }),
  );
  await writeFile(join(folder, 'vitest.config.mjs'), VITEST_CONFIG);
  return folder;
}

/** Brings the built packages up to date; little work when they are. */
export async function buildNest(): Promise<void> {
  const { code, output } = await run(ROOT, process.execPath, [
    join(ROOT, 'node_modules/typescript/bin/tsc'),
    '-b',
    'libs/nest',
  ]);
  if (code !== 0) throw new Error(`tsc -b libs/nest ended with ${code}:\n${output}`);
}

/** Runs a program in a folder; resolves with its exit code and all it said. */
export function run(
  folder: string,
  command: string,
  args: readonly string[],
): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: '0' },
    });
    let output = '';
    const hear = (chunk: Buffer) => void (output += chunk.toString());
    child.stdout.on('data', hear);
    child.stderr.on('data', hear);
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, output }));
  });
}

export const VITEST = join(ROOT, 'node_modules/vitest/vitest.mjs');

async function install(folder: string, version: Version): Promise<void> {
  const manifest = JSON.stringify(
    { name: `nest-${version}`, private: true, type: 'module', dependencies: dependenciesOf(version) },
    null,
    2,
  );
  const installed = join(folder, 'installed.json');
  if ((await readFile(installed, 'utf8').catch(() => '')) === manifest) return;
  console.log(`Installing Nest ${version} (${VERSIONS[version].why}) into .servers/nest-${version}, once …`);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'package.json'), manifest);
  const { code, output } = await run(folder, 'npm', [
    'install',
    '--no-audit',
    '--no-fund',
    '--no-package-lock',
    '--loglevel=error',
  ]);
  if (code !== 0) throw new Error(`npm install of Nest ${version} ended with ${code}:\n${output}`);
  await writeFile(installed, manifest);
  console.log(`Nest ${version} is installed.`);
}

/** The built package as it would be published, for programs that know nothing of sources. */
async function copyPackage(name: string, folder: string): Promise<void> {
  const target = join(folder, 'node_modules/@event-bus', name);
  await rm(target, { recursive: true, force: true });
  await mkdir(target, { recursive: true });
  for (const part of ['package.json', 'dist'])
    await cp(join(ROOT, 'libs', name, part), join(target, part), { recursive: true });
}

// Nest is loaded once for all files: loading it is most of the time.
const VITEST_CONFIG = `
const conditions = ['source', 'module', 'node'];
export default {
  tsconfig: 'tsconfig.json',
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: { include: ['src/**/*.test.ts'], testTimeout: 20_000, isolate: false, fileParallelism: false },
};
`;
