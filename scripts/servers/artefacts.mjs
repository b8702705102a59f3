import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { once } from './cache.mjs';
import { MissingError } from './missing.mjs';

const HERE = dirname(fileURLToPath(import.meta.url));
const POM = join(HERE, 'pom.xml');

/**
 * The folder of what pom.xml names for one server, fetched from Maven Central the first time (Kafka 54 MB, the registry
 * 146 MB) and kept in the cache folder, by the pom's hash.
 *
 * @param {'kafka' | 'registry'} server
 * @param {(line: string) => void} log
 * @returns {Promise<string>}
 * @throws {MissingError} when it has to be fetched and there is no Maven
 */
export async function artefacts(server, log) {
  const pinned = createHash('sha256').update(readFileSync(POM)).digest('hex').slice(0, 12);
  return once(`${server}-${pinned}`, log, (folder) => fetchFromMaven(server, folder, log));
}

/**
 * The java command, 17 or newer, from JAVA_HOME or the path.
 *
 * @throws {MissingError}
 */
export function java() {
  const command = process.env.JAVA_HOME ? join(process.env.JAVA_HOME, 'bin/java') : 'java';
  const answer = spawnSync(command, ['-version'], { encoding: 'utf8' });
  const version = Number(/version "(\d+)/.exec(answer.stderr ?? '')?.[1] ?? 0);
  if (version >= 17) return command;
  const found = version ? `Java 17 or newer is needed, ${command} is Java ${version}` : 'Java 17 is not installed';
  throw new MissingError(`${found}. Install it: apt-get install openjdk-17-jre-headless, or brew install openjdk@17.`);
}

const GOALS = { kafka: 'dependency:copy-dependencies@kafka', registry: 'dependency:unpack@registry' };

/**
 * @param {'kafka' | 'registry'} server
 * @param {string} folder
 * @param {(line: string) => void} log
 */
async function fetchFromMaven(server, folder, log) {
  if (spawnSync('mvn', ['-version']).status !== 0) {
    throw new MissingError('Maven is not installed. Install it: apt-get install maven, or brew install maven.');
  }
  log(`fetching ${server} from Maven Central, once`);
  const started = Date.now();
  const maven = spawn('mvn', ['--batch-mode', '-f', POM, `-Dinto=${folder}`, GOALS[server]], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  maven.stdout.setEncoding('utf8').on('data', (text) => (output += text));
  const ticker = setInterval(() => log(`  ${fetched(output)}, ${seconds(started)}`), 3_000);
  const code = await new Promise((resolve, reject) => maven.once('error', reject).once('close', resolve));
  clearInterval(ticker);
  if (code !== 0) {
    const errors = output.split('\n').filter((line) => line.includes('[ERROR]'));
    throw new Error(`Maven could not fetch ${server}:\n${errors.slice(0, 8).join('\n')}`);
  }
  log(`  fetched ${server}: ${fetched(output)}, ${seconds(started)}`);
}

/** @type {Record<string, number>} */
const PER_MEGABYTE = { B: 1e6, kB: 1e3, MB: 1 };

/** @param {string} output */
function fetched(output) {
  const sizes = [...output.matchAll(/Downloaded from .*\(([\d.]+) (k?M?B) at/g)];
  const megabytes = sizes.reduce((sum, [, size, unit]) => sum + Number(size) / (PER_MEGABYTE[unit ?? ''] ?? 1), 0);
  return sizes.length === 0 ? 'nothing downloaded' : `${sizes.length} files, ${megabytes.toFixed(0)} MB`;
}

/** @param {number} started */
const seconds = (started) => `${((Date.now() - started) / 1000).toFixed(0)} s`;
