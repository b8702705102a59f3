import { gzipSync } from 'node:zlib';
import { expect, it } from 'vitest';
import { registerCodecs } from './compression.js';
import { busErrorOf } from './failure.js';
import { kafkajs } from './library.js';

const { CompressionCodecs, CompressionTypes } = kafkajs;
interface Codec {
  compress(encoder: { readonly buffer: Buffer }): Promise<Buffer>;
  decompress(bytes: Buffer): Promise<Buffer>;
}
const codec = (type: number) => (CompressionCodecs[type as 1] as unknown as () => Codec)();

it('unpacks gzip, but never more than the limit', async () => {
  registerCodecs({ maxDecompressedBytes: 1_000 });
  const { compress, decompress } = codec(CompressionTypes.GZIP);
  expect(await decompress(await compress({ buffer: Buffer.alloc(1_000, 1) }))).toEqual(Buffer.alloc(1_000, 1));
  const bomb = decompress(gzipSync(Buffer.alloc(1_000_000)));
  await expect(bomb).rejects.toMatchObject({ retriable: false, cause: { code: 'BUS_DECODE_FAILED' } });
});

it('holds codecs of the app to the same limit', async () => {
  registerCodecs({ maxDecompressedBytes: 1_000, codecs: { snappy: { decompress: () => Buffer.alloc(1_001) } } });
  await expect(codec(CompressionTypes.Snappy).decompress(Buffer.alloc(1))).rejects.toMatchObject({
    cause: { code: 'BUS_DECODE_FAILED' },
  });
  await expect(codec(CompressionTypes.Snappy).compress({ buffer: Buffer.alloc(1) })).rejects.toMatchObject({
    code: 'BUS_UNSUPPORTED',
  });
});

it('names the codec that is missing', () => {
  registerCodecs({});
  let error: unknown;
  try {
    codec(CompressionTypes.LZ4);
  } catch (thrown) {
    error = thrown;
  }
  expect(busErrorOf(error, 'Consuming')).toMatchObject({
    code: 'BUS_UNSUPPORTED',
    message: expect.stringContaining('codecs.lz4') as string,
  });
});

it('takes nothing away that another client of the process has handed in', async () => {
  registerCodecs({ codecs: { lz4: { decompress: () => Buffer.alloc(2_000) } }, maxDecompressedBytes: 2_000 });

  registerCodecs({ maxDecompressedBytes: 1_000 });

  expect(await codec(CompressionTypes.LZ4).decompress(Buffer.alloc(1))).toHaveLength(2_000);
});
