/**
 * Decodes the record batches that an answer holds of one partition. kafkajs passes the records of a batch as the arguments of one call:
 * some 120 000 are more than the stack takes, and a compressed batch that any broker accepts may hold several times as many without content.
 * And one batch that cannot be read, such as a few kilobytes that unpack to more than the limit, fails the answer of all partitions.
 * Whoever may write to a topic could stop all its consumers that way, for as long as the batch is kept.
 */
import { BusError } from '@event-bus/core';
import { busErrorOf } from './failure.js';
import type { DecodedRecord } from './record-decoder.js';

/** kafkajs's cursor over an answer. */
export interface AnswerBytes {
  readonly buffer: Buffer;
  readonly offset: number;
  readInt32(): number;
  readBytes(length: number): Buffer;
  canReadBytes(length: number): boolean;
}

/** What it is made of in kafkajs. */
export interface BatchesParts {
  readonly Decoder: new (bytes: Buffer) => AnswerBytes;
  readonly decodeBatch: (bytes: AnswerBytes) => Promise<{ readonly records: readonly unknown[] }>;
  /** For what older producers left: message sets, and nothing at all. */
  readonly original: DecodeBatches;
}

export type DecodeBatches = (bytes: AnswerBytes) => Promise<unknown[]>;

/** Stands for a whole batch. To whoever does not know that, its value is the error. */
export interface UnreadBatch extends DecodedRecord {
  /** The batch, byte for byte. */
  readonly batch: Buffer;
  /** It can be read once a setting is there, which this names. Comes first of an answer, and alone. */
  readonly missing: BusError | undefined;
}

export function batchesDecoder({ Decoder, decodeBatch, original }: BatchesParts): DecodeBatches {
  return async (bytes) => {
    if (bytes.buffer[bytes.offset + SIZE_BYTES + MAGIC_AT] !== RECORD_BATCH) return original(bytes);
    const size = bytes.readInt32();
    if (size <= 0 || !bytes.canReadBytes(size)) return [];
    const batches = new Decoder(bytes.readBytes(size));
    const records: unknown[] = [];
    while (batches.canReadBytes(OVERHEAD_BYTES)) {
      const from = batches.offset;
      try {
        for (const record of (await decodeBatch(batches)).records) records.push(record);
      } catch (error) {
        // A broker cuts the last batch off where the answer is full.
        if ((error as Error).name === 'KafkaJSPartialMessageError') break;
        if (batches.offset <= from) throw error;
        const unread = unreadBatch(batches.buffer.subarray(from, batches.offset), error as Error);
        if (unread.missing && records.length > 0) break;
        records.push(unread);
        if (unread.missing) break;
      }
    }
    return records;
  };
}

function unreadBatch(bytes: Buffer, error: Error): UnreadBatch {
  const firstOffset = bytes.readBigInt64BE(0);
  const attributes = bytes.readInt16BE(ATTRIBUTES_AT);
  const failure = busErrorOf(error, 'Reading a record batch');
  const isControlRecord = (attributes & CONTROL) !== 0;
  const record = {
    magicByte: RECORD_BATCH,
    attributes: 0,
    timestamp: bytes.readBigInt64BE(MAX_TIMESTAMP_AT).toString(),
    // Its last: so reading goes on behind the batch.
    offset: (firstOffset + BigInt(bytes.readInt32BE(LAST_OFFSET_DELTA_AT))).toString(),
    key: null,
    headers: {},
    pairs: [],
    isControlRecord,
    batchContext: {
      firstOffset: firstOffset.toString(),
      producerId: bytes.readBigInt64BE(PRODUCER_ID_AT).toString(),
      inTransaction: (attributes & TRANSACTIONAL) !== 0,
      isControlBatch: isControlRecord,
    },
    unreadable: `it stands for a batch of ${bytes.readInt32BE(COUNT_AT)} records that cannot be read, and holds that batch: ${error.message.replace(/\.$/, '')}`,
    batch: Buffer.from(bytes),
    missing: failure.code === 'BUS_UNSUPPORTED' ? failure : undefined,
  };
  const get = () => {
    throw error;
  };
  return Object.defineProperty(record, 'value', { get }) as typeof record & { readonly value: null };
}

// https://kafka.apache.org/documentation/#recordbatch
const SIZE_BYTES = 4;
const MAGIC_AT = 16;
const RECORD_BATCH = 2;
const ATTRIBUTES_AT = 21;
const LAST_OFFSET_DELTA_AT = 23;
const MAX_TIMESTAMP_AT = 35;
const PRODUCER_ID_AT = 43;
const COUNT_AT = 57;
const TRANSACTIONAL = 0x10;
const CONTROL = 0x20;
const OVERHEAD_BYTES = 49;
