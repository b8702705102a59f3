/**
 * The contract of a codec: how an event looks on a wire, envelope to record and back. The hot path is synchronous; only a miss
 * (a schema that is not known yet) awaits.
 */
import type { Envelope, EventMetadata } from './envelope.js';
import type { EventDefinition } from './event.js';
import type { BusRecord, Header } from './transport.js';

/** Where an event is sent. `topic` is the full name, with prefix; `keyField` a dotted path into the data, without one the record has no key. */
export interface CodecRoute {
  readonly topic: string;
  readonly keyField?: string;
}

/** What the headers say, before the value is read. */
export interface RecordMetadata {
  readonly metadata: EventMetadata;
  /** Headers that are not metadata, as text; of a repeated name the last. */
  readonly headers: Readonly<Record<string, string>>;
}

export interface Codec {
  readonly name: string;
  /**
   * Makes an event type ready for a route: compiles, registers or looks up its schemas. Idempotent. Rejects with
   * `BUS_REGISTRY_UNAVAILABLE` (the start goes on) or with what stops a start: `BUS_TRANSPORT_REFUSED`, `BUS_SCHEMA_UNKNOWN`.
   */
  prepare(definition: EventDefinition, route: CodecRoute): Promise<void>;
  /**
   * Envelope to record. The data was validated against the definition before. `headers` follow the metadata's. Answers a promise only
   * when a schema is not ready yet. Throws or rejects with `BUS_ENCODE_FAILED` or `BUS_REGISTRY_UNAVAILABLE`.
   */
  encode(
    definition: EventDefinition,
    envelope: Envelope,
    route: CodecRoute,
    headers: readonly Header[],
  ): BusRecord | Promise<BusRecord>;
  /** The event type alone, by the cheapest way there is; `undefined` when the record does not say. Never throws. */
  eventType(record: BusRecord): string | undefined;
  /** Metadata without the value. Throws `BUS_DECODE_FAILED` for what makes a record unusable: no id, a metadata header twice, not UTF-8. */
  metadata(record: BusRecord): RecordMetadata;
  /**
   * The data of a record, as a fresh plain value. Answers a promise only when the writer's schema is not known yet. Throws or rejects with
   * `BUS_DECODE_FAILED`, `BUS_SCHEMA_UNKNOWN` (the record is a dead letter) or `BUS_REGISTRY_UNAVAILABLE` (try again later: it waits).
   * `weigh` is told before the answer what memory the data take beyond the bytes of the record, about, where that is much more.
   */
  decode(definition: EventDefinition, record: BusRecord, weigh?: (bytes: number) => void): unknown;
  close(): Promise<void>;
}
