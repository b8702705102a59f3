import { join } from 'node:path';

/**
 * @typedef {object} Broker
 * @property {number} id counted from 1, as the server group counts
 * @property {string} host
 * @property {number} port
 */

/**
 * @typedef {object} Security The other doors of the same brokers. The mechanisms are PLAIN, SCRAM-SHA-256,
 *   SCRAM-SHA-512, and OAUTHBEARER with unsigned tokens (`alg: none`).
 * @property {string} ssl addresses, as in KAFKA_BROKERS
 * @property {string} saslPlaintext addresses
 * @property {string} saslSsl addresses
 * @property {string} authority PEM file of the authority that signed the brokers' certificate
 * @property {string} client PEM file with the key and the certificate of a client
 * @property {string} username
 * @property {string} password
 */

/** Of one node: for clients, for controllers, and for clients with TLS, with SASL, with both. */
export const PORTS = 5;

/**
 * @typedef {Broker & { controller: number, ssl: number, saslPlaintext: number, saslSsl: number }} Ports
 * @typedef {Ports & { storage: string, config: string }} Node
 *
 * @param {readonly number[]} ports
 * @param {string} data
 * @returns {Node[]}
 */
export function nodesOn(ports, data) {
  return Array.from({ length: ports.length / PORTS }, (_, index) => {
    const [port = 0, controller = 0, ssl = 0, saslPlaintext = 0, saslSsl = 0] = ports.slice(PORTS * index);
    const id = index + 1;
    const files = { storage: join(data, `broker-${id}`), config: join(data, `broker-${id}.properties`) };
    return { id, host: '127.0.0.1', port, controller, ssl, saslPlaintext, saslSsl, ...files };
  });
}

/**
 * Kafka's defaults, but for what makes small test clusters slow or large.
 *
 * @param {Node} node
 * @param {readonly Node[]} nodes
 */
export function config(node, nodes) {
  const copies = Math.min(3, nodes.length);
  const inSync = Math.min(2, copies);
  return [
    'process.roles=broker,controller',
    `node.id=${node.id}`,
    `log.dirs=${node.storage}`,
    `controller.quorum.voters=${nodes.map(({ id, host, controller }) => `${id}@${host}:${controller}`).join()}`,
    'controller.listener.names=CONTROLLER',
    'inter.broker.listener.name=PLAINTEXT',
    'listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT',
    `listeners=PLAINTEXT://${node.host}:${node.port},CONTROLLER://${node.host}:${node.controller}`,
    'auto.create.topics.enable=false',
    `default.replication.factor=${copies}`,
    `min.insync.replicas=${inSync}`,
    'group.initial.rebalance.delay.ms=0',
    'group.min.session.timeout.ms=1000',
    'broker.session.timeout.ms=6000', // until a killed broker's partitions move; by default 9 s
    'broker.heartbeat.interval.ms=1000',
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

export const USER = { username: 'app', password: 'app-secret' };

/**
 * @param {Node} node
 * @param {{ authority: string, server: string }} secrets
 */
export function securityConfig({ host, port, controller, ssl, saslPlaintext, saslSsl }, { authority, server }) {
  const modules = 'org.apache.kafka.common.security';
  const logins = {
    plain: `${modules}.plain.PlainLoginModule required user_${USER.username}="${USER.password}";`,
    'scram-sha-256': `${modules}.scram.ScramLoginModule required;`,
    'scram-sha-512': `${modules}.scram.ScramLoginModule required;`,
    oauthbearer: `${modules}.oauthbearer.OAuthBearerLoginModule required;`,
  };
  const ports = { PLAINTEXT: port, CONTROLLER: controller, SSL: ssl, SASL_PLAINTEXT: saslPlaintext, SASL_SSL: saslSsl };
  return [
    `listeners=${Object.entries(ports)
      .map(([name, number]) => `${name}://${host}:${number}`)
      .join()}`,
    `listener.security.protocol.map=CONTROLLER:PLAINTEXT,${PROTOCOLS.map((name) => `${name}:${name}`).join()}`,
    `sasl.enabled.mechanisms=${Object.keys(logins)
      .map((mechanism) => mechanism.toUpperCase())
      .join()}`,
    ...['sasl_plaintext', 'sasl_ssl'].flatMap((listener) =>
      Object.entries(logins).map(
        ([mechanism, login]) => `listener.name.${listener}.${mechanism}.sasl.jaas.config=${login}`,
      ),
    ),
    'ssl.keystore.type=PEM',
    `ssl.keystore.location=${server}`,
    'ssl.truststore.type=PEM',
    `ssl.truststore.location=${authority}`,
  ];
}

const PROTOCOLS = ['PLAINTEXT', 'SSL', 'SASL_PLAINTEXT', 'SASL_SSL'];

/**
 * @param {readonly Node[]} nodes
 * @param {{ authority: string, client: string }} secrets
 * @returns {Security}
 */
export function securityOf(nodes, { authority, client }) {
  const addresses = (/** @type {'ssl' | 'saslPlaintext' | 'saslSsl'} */ door) =>
    nodes.map((node) => `${node.host}:${node[door]}`).join(',');
  const doors = { ssl: addresses('ssl'), saslPlaintext: addresses('saslPlaintext'), saslSsl: addresses('saslSsl') };
  return { ...doors, authority, client, ...USER };
}
