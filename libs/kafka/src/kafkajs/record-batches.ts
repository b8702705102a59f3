/**
 * Decodes the record batches that an answer holds of one partition. kafkajs passes the records of a batch as the arguments of one call:
 * some 120 000 are more than the stack takes, and a compressed batch that any broker accepts may hold several times as many without content.
 * Whoever may write to a topic could stop all its consumers that way, for as long as the batch is kept.
 */

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

export function batchesDecoder({ Decoder, decodeBatch, original }: BatchesParts): DecodeBatches {
  return async (bytes) => {
    if (bytes.buffer[bytes.offset + SIZE_BYTES + MAGIC_AT] !== RECORD_BATCH) return original(bytes);
    const size = bytes.readInt32();
    if (size <= 0 || !bytes.canReadBytes(size)) return [];
    const batches = new Decoder(bytes.readBytes(size));
    const records: unknown[] = [];
    while (batches.canReadBytes(OVERHEAD_BYTES)) {
      try {
        for (const record of (await decodeBatch(batches)).records) records.push(record);
      } catch (error) {
        // A broker cuts the last batch off where the answer is full.
        if ((error as Error).name === 'KafkaJSPartialMessageError') break;
        throw error;
      }
    }
    return records;
  };
}

// https://kafka.apache.org/documentation/#recordbatch
const SIZE_BYTES = 4;
const MAGIC_AT = 16;
const RECORD_BATCH = 2;
const OVERHEAD_BYTES = 49;
