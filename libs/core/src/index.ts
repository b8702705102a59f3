export { BUS_ERRORS, BusError, NonRetryable, RetryAfter, isBusError, type BusErrorCode, type BusErrorOptions } from './errors.js';
export { schema, type AvroSchema, type Fields, type InOf, type Issue, type IssuePath, type OptionalSchema, type OutOf, type Schema } from './schema.js';
export { defineEvent, type AvroRecord, type EventData, type EventDeclaration, type EventDefinition, type EventInput, type EventKey } from './event.js';
export { isoTime, type Envelope, type EventMetadata } from './envelope.js';
export { systemClock, systemRandom, type Clock, type Random } from './clock.js';
export type { Codec, CodecRoute, RecordMetadata } from './codec.js';
export type {
  Batch,
  BusRecord,
  Capabilities,
  Commit,
  Header,
  LostRange,
  PartitionPositions,
  Place,
  PublishOptions,
  PublishOutcome,
  ReadOptions,
  Receiver,
  SeekPosition,
  StartPosition,
  StoredRecord,
  SubscribeOptions,
  Subscription,
  SubscriptionStatus,
  TopicInfo,
  TopicOptions,
  TopicPartition,
  Transport,
} from './transport.js';
