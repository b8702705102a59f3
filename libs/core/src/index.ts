export {
  BUS_ERRORS,
  BusError,
  NonRetryable,
  RetryAfter,
  isBusError,
  type BusErrorCode,
  type BusErrorOptions,
} from './errors.js';
export {
  schema,
  type AvroSchema,
  type Fields,
  type InOf,
  type Issue,
  type IssuePath,
  type OptionalSchema,
  type OutOf,
  type Schema,
} from './schema.js';
export {
  defineEvent,
  type AvroRecord,
  type EventData,
  type EventDeclaration,
  type EventDefinition,
  type EventInput,
  type EventKey,
} from './event.js';
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
export { Bus, createBus, type BusEnvironment, type BusOptions, type BusStatus } from './bus.js';
export type { ConsumerStatus } from './consumer.js';
export type { Waiting } from './waits.js';
export { currentDelivery, type Around, type DeliveryContext, type Handle, type HandlerOptions } from './delivery.js';
export { DEAD_LETTER_HEADERS, deadLetterTopic } from './dead-letter.js';
export type { SendOptions, Sent } from './producer.js';
export type { LocalReceiver } from './receivers.js';
export { exponential, type ExponentialOptions, type Failure, type RetryDecision, type RetryPolicy } from './retry.js';
export type { RouteOptions, Routes } from './routes.js';
export {
  signals,
  type AssignmentFact,
  type BusIdentity,
  type CommittedFact,
  type DeadFact,
  type DeliveryFact,
  type InterruptedFact,
  type LostFact,
  type PausedFact,
  type PublishedFact,
  type ReceiverFailedFact,
  type RetryingFact,
  type SendFailedFact,
  type Signal,
  type SkippedFact,
  type TroubleFact,
} from './signals.js';
