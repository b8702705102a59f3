import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { once } from './cache.mjs';
import { MissingError } from './missing.mjs';

/**
 * @typedef {object} Certificates PEM files.
 * @property {string} authority its certificate
 * @property {string} server key and certificate in one
 * @property {string} client the same
 */

/**
 * Certificates of localhost and 127.0.0.1, and of a client, by an authority of our own, made once. For tests: the keys lie open.
 *
 * @param {(line: string) => void} log
 * @returns {Promise<Certificates>}
 * @throws {MissingError}
 */
export async function certificates(log) {
  const folder = await once('certificates-of-both-sides', log, async (draft) => make(draft));
  const [authority = '', server = '', client = ''] = ['ca', 'server', 'client'].map((name) =>
    join(folder, `${name}.pem`),
  );
  return { authority, server, client };
}

const DAYS = '3650';
const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

/** @param {string} folder */
function make(folder) {
  if (spawnSync('openssl', ['version']).status !== 0) {
    throw new MissingError('openssl is not installed. Install it: apt-get install openssl, or brew install openssl.');
  }
  const openssl = (/** @type {string[]} */ ...args) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
  openssl('req', '-x509', ...KEY, '-days', DAYS, '-subj', '/CN=event-bus tests', '-keyout', 'ca.key', '-out', 'ca.pem');
  writeFileSync(join(folder, 'names'), 'subjectAltName=DNS:localhost,IP:127.0.0.1\n');
  for (const [file, name, ...more] of [
    ['server', 'localhost', '-extfile', 'names'],
    ['client', 'app'],
  ]) {
    openssl('req', ...KEY, '-subj', `/CN=${name}`, '-keyout', `${file}.key`, '-out', `${file}.csr`);
    const sign = ['-req', '-in', `${file}.csr`, '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial'];
    openssl('x509', ...sign, '-days', DAYS, ...more, '-out', `${file}.crt`);
    const parts = ['key', 'crt'].map((kind) => readFileSync(join(folder, `${file}.${kind}`), 'utf8'));
    writeFileSync(join(folder, `${file}.pem`), parts.join(''));
  }
}
