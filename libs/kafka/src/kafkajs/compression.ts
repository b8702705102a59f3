/** Compressed record batches of other producers. Codecs belong to the copy of kafkajs, and so to all clients of the process together. */
import { promisify } from 'node:util';
import zlib from 'node:zlib';
import { BusError } from '@event-bus/core';
import { kafkajs } from './library.js';

/**
 * Decompresses (and compresses) the records of a batch. It must refuse more output than `maxBytes`: a few kilobytes may hold gigabytes.
 * For snappy, both the raw and the Java ("xerial") framing arrive here.
 */
export interface KafkaCodec {
  decompress(bytes: Buffer, maxBytes: number): Promise<Buffer> | Buffer;
  compress?(bytes: Buffer): Promise<Buffer> | Buffer;
}

export interface CompressionOptions {
  readonly codecs?: { readonly snappy?: KafkaCodec; readonly lz4?: KafkaCodec; readonly zstd?: KafkaCodec };
  readonly maxDecompressedBytes?: number;
}

export const DEFAULT_MAX_DECOMPRESSED_BYTES = 64 * 1024 * 1024;

/**
 * Registers gzip and zstd with an output limit, and what the app hands in. Takes nothing away that is there: of several clients the last
 * codec counts, and the largest limit. A codec that nobody handed in becomes a clear error at its first batch.
 */
export function registerCodecs({
  codecs = {},
  maxDecompressedBytes = DEFAULT_MAX_DECOMPRESSED_BYTES,
}: CompressionOptions): void {
  const { CompressionTypes } = kafkajs;
  limitBytes = Math.max(limitBytes, maxDecompressedBytes);
  register(CompressionTypes.GZIP, 'gzip', gzip);
  register(CompressionTypes.Snappy, 'snappy', codecs.snappy);
  register(CompressionTypes.LZ4, 'lz4', codecs.lz4);
  register(CompressionTypes.ZSTD, 'zstd', codecs.zstd, builtInZstd());
}

let limitBytes = 0;

function register(type: number, name: string, given: KafkaCodec | undefined, builtIn?: KafkaCodec): void {
  const known = kafkajs.CompressionCodecs as unknown as Record<number, () => unknown>;
  if (!given && isThere(known[type]!)) return;
  const codec = given ?? builtIn;
  known[type] = codec ? () => limited(codec) : missing(name);
}

/** What kafkajs has of its own for most types throws, as ours does for one that is missing. */
function isThere(codec: () => unknown): boolean {
  try {
    codec();
    return true;
  } catch {
    return false;
  }
}

function limited(codec: KafkaCodec) {
  return {
    compress: async (encoder: { readonly buffer: Buffer }) => {
      if (!codec.compress)
        throw new BusError(
          'BUS_UNSUPPORTED',
          'This codec only decompresses: hand in one with `compress`, or produce without it.',
        );
      return codec.compress(encoder.buffer);
    },
    decompress: async (bytes: Buffer) => {
      const plain = await codec.decompress(bytes, limitBytes);
      if (plain.length > limitBytes) throw tooLarge(limitBytes);
      return plain;
    },
  };
}

const gzip: KafkaCodec = {
  compress: (bytes) => promisify(zlib.gzip)(bytes),
  decompress: (bytes, maxBytes) => bounded(zlib.unzip, bytes, maxBytes),
};

/** Node has zstd since 22.15. */
function builtInZstd(): KafkaCodec | undefined {
  const { zstdCompress, zstdDecompress } = zlib as unknown as { zstdCompress?: Compress; zstdDecompress?: Decompress };
  if (!zstdCompress || !zstdDecompress) return undefined;
  return {
    compress: (bytes) => promisify(zstdCompress)(bytes),
    decompress: (bytes, maxBytes) => bounded(zstdDecompress, bytes, maxBytes),
  };
}

type Done = (error: Error | null, bytes: Buffer) => void;
type Compress = (bytes: Buffer, done: Done) => void;
type Decompress = (bytes: Buffer, options: { maxOutputLength: number }, done: Done) => void;

function bounded(decompress: Decompress, bytes: Buffer, maxBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    decompress(bytes, { maxOutputLength: maxBytes }, (error, plain) => {
      if (!error) resolve(plain);
      else reject((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE' ? tooLarge(maxBytes) : error);
    });
  });
}

const tooLarge = (maxBytes: number) =>
  final(
    new BusError(
      'BUS_DECODE_FAILED',
      `A compressed record batch holds more than ${maxBytes} bytes; raise "maxDecompressedBytes" if its producer is trusted.`,
    ),
  );

const missing = (name: string) => () => {
  throw final(
    new BusError(
      'BUS_UNSUPPORTED',
      `A record batch is compressed with ${name}: hand in a codec as option "codecs.${name}".`,
    ),
  );
};

/** kafkajs would try anything else ten times before it gives up. */
function final(cause: BusError): Error {
  const { KafkaJSNonRetriableError } = kafkajs as unknown as {
    KafkaJSNonRetriableError: new (text: string, options: object) => Error;
  };
  return new KafkaJSNonRetriableError(cause.message, { cause });
}
