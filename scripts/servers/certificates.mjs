import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { once } from './cache.mjs';
import { MissingError } from './missing.mjs';

/**
 * A certificate of localhost and 127.0.0.1 by an authority of our own, made once. For tests: the keys lie open.
 *
 * @param {(line: string) => void} log
 * @returns {Promise<{ authority: string, server: string }>} PEM files: the authority's certificate; the server's key and
 *   certificate in one
 * @throws {MissingError}
 */
export async function certificates(log) {
  const folder = await once('certificates', log, async (draft) => make(draft));
  return { authority: join(folder, 'ca.pem'), server: join(folder, 'server.pem') };
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
  openssl('req', ...KEY, '-subj', '/CN=localhost', '-keyout', 'server.key', '-out', 'server.csr');
  writeFileSync(join(folder, 'names'), 'subjectAltName=DNS:localhost,IP:127.0.0.1\n');
  const sign = ['-req', '-in', 'server.csr', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial'];
  openssl('x509', ...sign, '-days', DAYS, '-extfile', 'names', '-out', 'server.crt');
  const [key, certificate] = ['server.key', 'server.crt'].map((file) => readFileSync(join(folder, file), 'utf8'));
  writeFileSync(join(folder, 'server.pem'), `${key}${certificate}`);
}
