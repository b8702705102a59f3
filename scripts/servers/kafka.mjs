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
import { hasDocker, startInDocker } from './docker.mjs';
import { fromEnvironment } from './environment.mjs';
import { orMissing } from './missing.mjs';
import { freePorts } from './ports.mjs';
import { retryTakenPorts, startServerGroup } from './server-group.mjs';

const HERE = dirname(fileURLToPath(import.meta.url));

/**
 * @typedef {object} KafkaOptions
 * @property {number} [brokers] 1, or more for leader moves; each is broker and controller. Default 1.
 * @property {boolean} [own] Start brokers even where KAFKA_BROKERS names some: for tests that kill them. Default false.
 * @property {string} [dir] Keep the data here, and go on with it at the next start. Default: a temporary folder.
 * @property {readonly string[]} [extraConfig] lines added to each broker's server.properties; the last of a name wins
 * @property {(line: string) => void} [log] progress; default: standard error
 */

/**
 * @typedef {object} Broker
 * @property {number} id counted from 1, as the server group counts
 * @property {string} host
 * @property {number} port
 */

/**
 * Apache Kafka: the brokers that KAFKA_BROKERS names, else in Docker when there is an engine (one broker), else on the
 * local Java. What is started here ends with this process, also when that is killed.
 *
 * @param {KafkaOptions} [options]
 */
export function startKafka(options = {}) {
  return orMissing(() => start({ brokers: 1, own: false, extraConfig: [], log: console.error, ...options }));
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
  if (!settings.own) {
    const given = fromEnvironment('KAFKA_BROKERS');
    if (given) return { ...given, brokers: brokersIn(given.env.KAFKA_BROKERS) };
  }
  if (settings.brokers === 1 && settings.dir === undefined && settings.extraConfig.length === 0 && hasDocker()) {
    const [port = 0] = await freePorts(1);
    const group = await startInDocker('kafka', port, settings.log);
    return running('docker', [{ id: 1, host: '127.0.0.1', port }], group);
  }
  return retryTakenPorts(() => startOnJava(settings));
}

/** @param {string} list */
function brokersIn(list) {
  return list.split(',').map((address, index) => {
    const [host = '', port] = address.trim().split(':');
    return { id: index + 1, host, port: Number(port) };
  });
}

/** @param {Settings} settings */
async function startOnJava({ brokers: count, dir, extraConfig, log }) {
  const command = java();
  const jars = await artefacts('kafka', log);
  const blank = await blankStorage(command, jars, log);
  const data = dir ?? (await mkdtemp(join(tmpdir(), 'event-bus-kafka-')));
  const nodes = nodesOn(await freePorts(2 * count), data);
  const cluster = uuid();
  for (const node of nodes) {
    format(node, blank, cluster);
    writeFileSync(node.config, [...config(node, nodes), ...extraConfig, ''].join('\n'));
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
  return running('java', nodes, group);
}

/**
 * @param {'docker' | 'java'} source
 * @param {readonly Broker[]} nodes
 * @param {import('./server-group.mjs').ServerGroup} group
 */
function running(source, nodes, group) {
  const brokers = nodes.map(({ id, host, port }) => ({ id, host, port }));
  const env = { KAFKA_BROKERS: brokers.map(({ host, port }) => `${host}:${port}`).join(',') };
  return { source, env, brokers, ...group };
}

/**
 * @typedef {Broker & { controllerPort: number, storage: string, config: string }} Node
 *
 * @param {readonly number[]} ports two for each
 * @param {string} data
 * @returns {Node[]}
 */
function nodesOn(ports, data) {
  return Array.from({ length: ports.length / 2 }, (_, index) => ({
    id: index + 1,
    host: '127.0.0.1',
    port: ports[2 * index] ?? 0,
    controllerPort: ports[2 * index + 1] ?? 0,
    storage: join(data, `broker-${index + 1}`),
    config: join(data, `broker-${index + 1}.properties`),
  }));
}

/**
 * Kafka's defaults, but for what makes small test clusters slow or large.
 *
 * @param {Node} node
 * @param {readonly Node[]} nodes
 */
function config(node, nodes) {
  const copies = Math.min(3, nodes.length);
  const inSync = Math.min(2, copies);
  return [
    'process.roles=broker,controller',
    `node.id=${node.id}`,
    `log.dirs=${node.storage}`,
    `controller.quorum.voters=${nodes.map(({ id, host, controllerPort }) => `${id}@${host}:${controllerPort}`)}`,
    'controller.listener.names=CONTROLLER',
    'inter.broker.listener.name=PLAINTEXT',
    'listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT',
    `listeners=PLAINTEXT://${node.host}:${node.port},CONTROLLER://${node.host}:${node.controllerPort}`,
    'auto.create.topics.enable=false',
    `default.replication.factor=${copies}`,
    `min.insync.replicas=${inSync}`,
    'group.initial.rebalance.delay.ms=0',
    'group.min.session.timeout.ms=1000',
    'broker.heartbeat.interval.ms=500', // a killed broker's partitions move after 4 s, by default 9 s
    'broker.session.timeout.ms=4000',
    'offsets.topic.num.partitions=5', // by default 50: as many folders at the first commit
    `offsets.topic.replication.factor=${copies}`,
    'transaction.state.log.num.partitions=5',
    `transaction.state.log.replication.factor=${copies}`,
    `transaction.state.log.min.isr=${inSync}`,
    'share.coordinator.state.topic.num.partitions=5',
    `share.coordinator.state.topic.replication.factor=${copies}`,
    `share.coordinator.state.topic.min.isr=${inSync}`,
    'log.cleaner.dedupe.buffer.size=16777216', // by default 128 MB of the heap
  ];
}

/**
 * Formatted storage that has seen no cluster: formatting takes a JVM of its own (2 s), copying takes nothing.
 *
 * @param {string} command
 * @param {string} jars
 * @param {(line: string) => void} log
 */
function blankStorage(command, jars, log) {
  return once(`${basename(jars)}-storage`, log, async (folder) => {
    const [node] = nodesOn([1, 2], folder);
    if (!node) return;
    writeFileSync(node.config, config(node, [node]).join('\n'));
    await promisify(execFile)(command, [
      ...jvm(jars),
      'kafka.tools.StorageTool',
      'format',
      '-t',
      uuid(),
      '-c',
      node.config,
    ]);
    renameSync(node.storage, join(folder, 'storage'));
  });
}

/**
 * @param {Node} node
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
