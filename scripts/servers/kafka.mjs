import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { cpSync, existsSync, renameSync, writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { artefacts, java } from './artefacts.mjs';
import { once } from './cache.mjs';
import { PORTS, USER, config, nodesOn, securityConfig, securityOf } from './broker-config.mjs';
import { certificates } from './certificates.mjs';
import { hasDocker, startInDocker } from './docker.mjs';
import { fromEnvironment } from './environment.mjs';
import { orMissing } from './missing.mjs';
import { freePorts } from './ports.mjs';
import { retryTakenPorts, startServerGroup } from './server-group.mjs';

const HERE = dirname(fileURLToPath(import.meta.url));

/**
 * @typedef {object} KafkaOptions
 * @property {number} [brokers] 1, or more for leader moves; each is broker and controller. Default 1.
 * @property {boolean} [own] Start brokers on Java even where KAFKA_BROKERS names some, or Docker is there: for tests that
 *   kill and pause them. The options below imply it. Default false.
 * @property {string} [dir] Keep the data here, and go on with it at the next start. Default: a temporary folder.
 * @property {boolean} [security] Listen with TLS and SASL too, each on a port of its own (`security` of the result).
 *   Default false.
 * @property {readonly string[]} [extraConfig] lines added to each broker's server.properties; the last of a name wins
 * @property {(line: string) => void} [log] progress; default: standard error
 */

const DEFAULTS = { brokers: 1, own: false, security: false, extraConfig: [], log: console.error };

/**
 * Apache Kafka: the brokers that KAFKA_BROKERS names, else one in Docker when there is an engine, else on the local
 * Java. What is started here ends with this process, also when that is killed.
 *
 * @typedef {import('./server-group.mjs').ServerGroup & {
 *   source: 'environment' | 'docker' | 'java',
 *   env: { KAFKA_BROKERS: string },
 *   brokers: readonly import('./broker-config.mjs').Broker[],
 *   security?: import('./broker-config.mjs').Security | undefined,
 *   missing?: undefined,
 * }} Kafka
 *
 * @param {KafkaOptions} [options]
 * @returns {Promise<Kafka | import('./missing.mjs').Missing>}
 */
export function startKafka(options = {}) {
  return orMissing(() => start({ ...DEFAULTS, ...options }));
}

/**
 * Runs one of Kafka's own tools, such as `org.apache.kafka.tools.TopicCommand`, and resolves to what it printed.
 *
 * @param {string} tool the Java class
 * @param {readonly string[]} args
 * @param {{ log?: (line: string) => void }} [options]
 */
export async function kafkaTool(tool, args, { log = console.error } = {}) {
  const jars = await artefacts('kafka', log);
  const { stdout } = await promisify(execFile)(java(), [...jvm(jars), ...QUIET, tool, ...args], { maxBuffer: 1 << 26 });
  return stdout;
}

/**
 * @typedef {Required<Omit<KafkaOptions, 'dir'>> & { dir?: string }} Settings
 *
 * @param {Settings} settings
 */
async function start(settings) {
  const given = isSpecial(settings) ? undefined : fromEnvironment('KAFKA_BROKERS');
  if (given) return { ...given, brokers: brokersIn(given.env.KAFKA_BROKERS) };
  if (isSpecial(settings) || settings.brokers > 1 || !hasDocker()) return retryTakenPorts(() => startOnJava(settings));
  const [port = 0] = await freePorts(1);
  const group = await startInDocker('kafka', port, settings.log);
  return running('docker', [{ id: 1, host: '127.0.0.1', port }], group);
}

/** @param {Settings} settings what only brokers of our own can have */
function isSpecial({ own, dir, security, extraConfig }) {
  return own || dir !== undefined || security || extraConfig.length > 0;
}

/** @param {string} list */
function brokersIn(list) {
  return list.split(',').map((address, index) => {
    const [host = '', port] = address.trim().split(':');
    return { id: index + 1, host, port: Number(port) };
  });
}

/** @param {Settings} settings */
async function startOnJava({ brokers: count, dir, security, extraConfig, log }) {
  const command = java();
  const jars = await artefacts('kafka', log);
  const blank = await blankStorage(command, jars, log);
  const secrets = security ? await certificates(log) : undefined;
  const data = dir ?? (await mkdtemp(join(tmpdir(), 'event-bus-kafka-')));
  const nodes = nodesOn(await freePorts(PORTS * count), data);
  const cluster = uuid();
  for (const node of nodes) {
    format(node, blank, cluster);
    writeFileSync(
      node.config,
      [...config(node, nodes), ...(secrets ? securityConfig(node, secrets) : []), ...extraConfig, ''].join('\n'),
    );
  }
  const group = await startServerGroup({
    name: 'kafka',
    temporary: dir === undefined ? data : undefined,
    log,
    servers: nodes.map((node) => ({
      name: `broker-${node.id}`,
      command,
      args: [...jvm(jars), '-Xmx512m', 'kafka.Kafka', node.config],
      endSignal: dir === undefined ? 'KILL' : 'INT',
      isReady: (output) => output.includes('Kafka Server started'), // written once the controller lets clients in
    })),
  });
  return { ...running('java', nodes, group), security: secrets && securityOf(nodes, secrets) };
}

/**
 * @param {'docker' | 'java'} source
 * @param {readonly import('./broker-config.mjs').Broker[]} nodes
 * @param {import('./server-group.mjs').ServerGroup} group
 */
function running(source, nodes, group) {
  const brokers = nodes.map(({ id, host, port }) => ({ id, host, port }));
  const env = { KAFKA_BROKERS: brokers.map(({ host, port }) => `${host}:${port}`).join(',') };
  return { source, env, brokers, ...group };
}

/**
 * Formatted storage that has seen no cluster, with the SCRAM users in it: formatting takes a JVM of its own (2 s),
 * copying takes nothing.
 *
 * @param {string} command
 * @param {string} jars
 * @param {(line: string) => void} log
 */
function blankStorage(command, jars, log) {
  return once(`${basename(jars)}-formatted`, log, async (folder) => {
    const [node] = nodesOn([1, 2, 3, 4, 5], folder);
    if (!node) return;
    writeFileSync(node.config, config(node, [node]).join('\n'));
    const users = ['SCRAM-SHA-256', 'SCRAM-SHA-512'].flatMap((mechanism) => [
      '--add-scram',
      `${mechanism}=[name="${USER.username}",password="${USER.password}"]`,
    ]);
    const format = ['format', '--cluster-id', uuid(), '--config', node.config, ...users];
    await promisify(execFile)(command, [...jvm(jars), 'kafka.tools.StorageTool', ...format]);
    renameSync(node.storage, join(folder, 'storage'));
  });
}

/**
 * @param {import('./broker-config.mjs').Node} node
 * @param {string} blank
 * @param {string} cluster
 */
function format(node, blank, cluster) {
  if (existsSync(node.storage)) return;
  cpSync(join(blank, 'storage'), node.storage, { recursive: true });
  const identity = ['version=1', `node.id=${node.id}`, `directory.id=${uuid()}`, `cluster.id=${cluster}`, ''];
  writeFileSync(join(node.storage, 'meta.properties'), identity.join('\n'));
}

/** @param {string} jars */
function jvm(jars) {
  return [
    '-XX:+UseSerialGC',
    '-XX:+ExitOnOutOfMemoryError',
    '-Djava.awt.headless=true',
    `-Dlog4j2.configurationFile=${join(HERE, 'log4j2.properties')}`,
    '-cp',
    join(jars, '*'),
  ];
}

/** Kafka's tools print their answers on standard output, among their log at level info. */
const QUIET = ['-Devent-bus.level=warn', '-Devent-bus.log=SYSTEM_ERR'];

/**
 * An identity as Kafka writes them.
 *
 * @returns {string}
 */
function uuid() {
  const id = randomBytes(16).toString('base64url');
  return id.startsWith('-') ? uuid() : id; // Kafka refuses it: it would look like an option
}
