import { execFile, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { once } from './cache.mjs';
import { MissingError, orMissing } from './missing.mjs';

const REQUIREMENTS = join(dirname(fileURLToPath(import.meta.url)), '../../test/interop/requirements.txt');

/**
 * A Python 3.12 or newer with the packages of test/interop/requirements.txt, in a virtual environment that is made once
 * in the cache folder, by the hash of that file.
 *
 * @param {{ log?: (line: string) => void }} [options] `log`: progress; default: standard error
 * @returns {Promise<{ python: string, missing?: undefined } | import('./missing.mjs').Missing>} the path of its python
 */
export function preparePython({ log = console.error } = {}) {
  return orMissing(async () => {
    const base = findPython();
    const requirements = readFileSync(REQUIREMENTS);
    const pinned = createHash('sha256').update(base.version).update(requirements).digest('hex').slice(0, 12);
    const folder = await once(`python-${pinned}`, log, (draft) => makeEnvironment(base, draft, log));
    return { python: join(folder, 'bin/python') };
  });
}

/** pyenv's commands are there for each version it has, and fail unless one is chosen. */
const CANDIDATES = [
  { command: 'python3.12', env: { PYENV_VERSION: '3.12' } },
  { command: 'python3.13', env: { PYENV_VERSION: '3.13' } },
  { command: 'python3', env: {} },
];

/**
 * @typedef {{ command: string, env: Record<string, string>, version: string }} Python
 *
 * @returns {Python}
 */
function findPython() {
  const ask =
    'import sys, venv, ensurepip; print("%d.%d.%d" % sys.version_info[:3]); sys.exit(sys.version_info < (3, 12))';
  for (const candidate of CANDIDATES) {
    const answer = spawnSync(candidate.command, ['-c', ask], {
      env: { ...process.env, ...candidate.env },
      encoding: 'utf8',
    });
    if (answer.status === 0) return { ...candidate, version: answer.stdout.trim() };
  }
  throw new MissingError(
    'Python 3.12 with venv is not installed. Install it: apt-get install python3.12-venv, or pyenv install 3.12.',
  );
}

/**
 * The folder is renamed afterwards: its python bears that, the scripts beside it (pip) do not.
 *
 * @param {Python} base
 * @param {string} folder
 * @param {(line: string) => void} log
 */
async function makeEnvironment({ command, env, version }, folder, log) {
  log(`installing Open edX's packages for Python ${version}, once`);
  const run = promisify(execFile);
  await run(command, ['-m', 'venv', folder], { env: { ...process.env, ...env } });
  const install = ['-m', 'pip', 'install', '--quiet', '--no-deps', '--disable-pip-version-check', '-r', REQUIREMENTS];
  await run(join(folder, 'bin/python'), install);
}
