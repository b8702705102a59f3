import type { KafkaConfig } from 'kafkajs';
import { kafkajsAdmin } from './admin.js';
import type { KafkaClient } from './client.js';
import { openClusterOf } from './cluster.js';
import { registerCodecs } from './compression.js';
import { kafkajsConsumer } from './consumer.js';
import { installFastPath, type FastPath } from './fast-path.js';
import { kafkajs } from './library.js';
import { kafkajsProducer } from './producer.js';
import { kafkajsReader } from './reader.js';
import { METADATA_MAX_AGE_MS, kafkaConfig, type KafkaConnectionOptions } from './settings.js';

/** What kafkajs says, at level `warn` or above. Never an event's data. */
export interface KafkaNotice {
  readonly level: 'warn' | 'error';
  readonly text: string;
  readonly details: Readonly<Record<string, unknown>>;
}

/** The port on kafkajs. Opens nothing. Throws `BUS_CONFIG_INVALID` with all faults of the options at once. */
export function kafkajsClient(options: KafkaConnectionOptions, notice: (notice: KafkaNotice) => void): KafkaClient {
  const config = () => kafkaConfig(options, logTo(notice));
  const openCluster = () =>
    openClusterOf(config(), { metadataMaxAge: METADATA_MAX_AGE_MS, allowAutoTopicCreation: false });
  const cluster = openCluster();
  let fastPath: Promise<FastPath> | undefined;
  const prepared = () => {
    if (!fastPath) registerCodecs(options);
    return (fastPath ??= installFastPath(options.fastPath ?? {}, (text) =>
      notice({ level: 'warn', text, details: {} }),
    ));
  };
  const kafka = () => new kafkajs.Kafka(config());
  return {
    producer: () => kafkajsProducer({ cluster: openCluster(), takesPairs: async () => (await prepared()).encode }),
    consumer: (consumerOptions) => kafkajsConsumer({ kafka, cluster, ready: prepared }, consumerOptions),
    reader: () => kafkajsReader(openCluster(), prepared),
    admin: kafkajsAdmin(cluster),
    close: () => cluster.disconnect(),
  };
}

function logTo(notice: (notice: KafkaNotice) => void): NonNullable<KafkaConfig['logCreator']> {
  return () =>
    ({ namespace, level, log }) => {
      if (NOISE.test(log.message)) return;
      const details = Object.fromEntries(
        FACTS.filter((fact) => log[fact] !== undefined).map((fact) => [fact, log[fact] as unknown]),
      );
      notice({ level: level === ERROR ? 'error' : 'warn', text: `kafkajs ${namespace}: ${log.message}`, details });
    };
}

/** An answer that is an error reaches whoever asked. Rebalances are ordinary. */
const NOISE = /^Response |^The group is rebalancing/;
const ERROR = 1;
/** The rest may hold records. */
const FACTS = [
  'broker',
  'clientId',
  'groupId',
  'memberId',
  'topic',
  'partition',
  'error',
  'retryCount',
  'correlationId',
] as const;
