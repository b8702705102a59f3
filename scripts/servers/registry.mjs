import { mkdtemp } from 'node:fs/promises';
import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { artefacts, java } from './artefacts.mjs';
import { hasDocker, startInDocker } from './docker.mjs';
import { fromEnvironment } from './environment.mjs';
import { orMissing } from './missing.mjs';
import { freePorts } from './ports.mjs';
import { retryTakenPorts, startServerGroup } from './server-group.mjs';

/**
 * @typedef {object} RegistryOptions
 * @property {boolean} [own] Start one even where SCHEMA_REGISTRY_URL names one: for tests that kill it. Default false.
 * @property {(line: string) => void} [log] progress; default: standard error
 */

/**
 * A schema registry that speaks Confluent's API (Apicurio Registry): the one that SCHEMA_REGISTRY_URL names, else in
 * Docker when there is an engine, else on the local Java. What is started here ends with this process, also when that
 * is killed. Started on Java it keeps its schemas and their ids over `kill` and `restart`.
 *
 * @typedef {import('./server-group.mjs').ServerGroup & {
 *   source: 'environment' | 'docker' | 'java',
 *   env: { SCHEMA_REGISTRY_URL: string },
 *   missing?: undefined,
 * }} Registry
 *
 * @param {RegistryOptions} [options]
 * @returns {Promise<Registry | import('./missing.mjs').Missing>}
 */
export function startRegistry(options = {}) {
  return orMissing(() => start({ own: false, log: console.error, ...options }));
}

/** @param {Required<RegistryOptions>} options */
async function start({ own, log }) {
  const given = own ? undefined : fromEnvironment('SCHEMA_REGISTRY_URL');
  if (given) return given;
  if (!hasDocker()) return retryTakenPorts(() => startOnJava(log));
  const [port = 0] = await freePorts(1);
  return running('docker', port, await startInDocker('registry', port, log));
}

/** @param {(line: string) => void} log */
async function startOnJava(log) {
  const command = java();
  const home = await artefacts('registry', log);
  const jar = readdirSync(home).find((file) => file.endsWith('-runner.jar')) ?? '';
  const data = await mkdtemp(join(tmpdir(), 'event-bus-registry-'));
  const [port = 0] = await freePorts(1);
  const group = await startServerGroup({
    name: 'registry',
    temporary: data,
    log,
    servers: [
      {
        name: 'registry',
        command,
        args: ['-XX:+UseSerialGC', '-Xmx512m', '-jar', join(home, jar)],
        env: {
          QUARKUS_HTTP_HOST: '127.0.0.1',
          QUARKUS_HTTP_PORT: String(port),
          REGISTRY_DATASOURCE_URL: `jdbc:h2:file:${join(data, 'schemas')};WRITE_DELAY=0`, // on disk before it answers
        },
        endSignal: 'KILL',
        isReady: () => answers(port),
      },
    ],
  });
  return running('java', port, group);
}

/** @param {number} port */
const url = (port) => `http://127.0.0.1:${port}/apis/ccompat/v7`;

/** @param {number} port */
async function answers(port) {
  try {
    return (await fetch(`${url(port)}/subjects`, { signal: AbortSignal.timeout(5_000) })).ok;
  } catch {
    return false;
  }
}

/**
 * @param {'docker' | 'java'} source
 * @param {number} port
 * @param {import('./server-group.mjs').ServerGroup} group
 */
function running(source, port, group) {
  return { source, env: { SCHEMA_REGISTRY_URL: url(port) }, ...group };
}
