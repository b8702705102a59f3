export { kafka, type KafkaOptions, type Partitioner } from './kafka.js';
export { openedxSettings, type OpenedxSettings } from './openedx-settings.js';
export type { KafkaConnectionOptions, KafkaSasl } from './kafkajs/settings.js';
export type { KafkaNotice } from './kafkajs/kafkajs-client.js';
export type { KafkaCodec } from './kafkajs/compression.js';
export type { FastPathOptions } from './kafkajs/fast-path.js';
