import { gzipSync } from 'node:zlib';
import { expect, it } from 'vitest';
import { registerCodecs } from './compression.js';
import { internal } from './library.js';
import { encodeProduce, type ProduceMessage } from './produce-encoder.js';
import { batchesDecoder, type BatchesParts, type UnreadBatch } from './record-batches.js';
import { recordOf } from './records.js';

const original = internal<BatchesParts['original']>('protocol/requests/fetch/v4/decodeMessages');
const Decoder = internal<BatchesParts['Decoder']>('protocol/decoder');
const decode = batchesDecoder({ Decoder, decodeBatch: internal('protocol/recordBatch/v0/decoder'), original });

it('reads what kafkajs reads, also when the last batch is cut off, and when there is none', async () => {
  const batches = Buffer.concat([batchOf([{ key: 'a', value: '1' }, { value: '2' }]), batchOf([{ value: '3' }])]);
  for (const bytes of [batches, batches.subarray(0, -5), batches.subarray(0, 20), batches.subarray(0, 0)]) {
    const read = await decode(answer(bytes));
    expect(read).toEqual(await original(answer(bytes)));
  }
  expect(await decode(answer(batches))).toHaveLength(3);
  expect(await decode(answer(batches.subarray(0, -5)))).toHaveLength(2);
});

it('reads more records of one batch than a call takes arguments', async () => {
  const batch = batchOf(Array.from({ length: 150_000 }, () => ({ value: null })));
  await expect(original(answer(batch))).rejects.toThrow(/call stack/);
  expect(await decode(answer(batch))).toHaveLength(150_000);
});

it('lets a batch that cannot be read stand as one record, at its last offset, and reads what is around it', async () => {
  registerCodecs({});
  const before = batchOf([{ value: '0' }]);
  const bomb = compressed(1, 3, gzipSync(Buffer.alloc(70_000_000)), GZIP);
  const garbage = compressed(4, 1, Buffer.from('garbage'), GZIP);
  const after = batchOf([{ value: '5' }]);

  const [first, unpacked, broken, last, ...others] = (await decode(
    answer(Buffer.concat([before, bomb, garbage, after])),
  )) as UnreadBatch[];

  expect([first, last].map((record) => record!.value!.toString())).toEqual(['0', '5']);
  expect(others).toEqual([]);
  expect(recordOf('t', 0, unpacked!)).toMatchObject({ offset: '3', key: null, value: bomb, headers: [] });
  expect(unpacked!.unreadable).toMatch(/a batch of 3 records .* more than \d+ bytes; raise "maxDecompressedBytes"/);
  expect(recordOf('t', 0, broken!)).toMatchObject({ offset: '4', value: garbage });
  // Somebody else's consumer in this process must not take the batch for a record.
  expect(() => unpacked!.value).toThrow('more than');
});

it('reads up to a batch whose codec is missing, and then says which', async () => {
  registerCodecs({});
  const waiting = compressed(1, 2, Buffer.from('snappy'), SNAPPY);
  const before = batchOf([{ value: '0' }]);
  expect(await decode(answer(Buffer.concat([before, waiting])))).toHaveLength(1);

  const [record, ...others] = (await decode(answer(Buffer.concat([waiting, before])))) as UnreadBatch[];

  expect(others).toEqual([]);
  expect(record!.missing).toMatchObject({ code: 'BUS_UNSUPPORTED', message: expect.stringContaining('codecs.snappy') });
  expect(() => recordOf('t', 0, record!)).toThrow('codecs.snappy');
  expect(() => record!.value).toThrow('codecs.snappy');
});

/** A batch with `bytes` for its records, as a codec has left them. */
function compressed(firstOffset: number, count: number, bytes: Buffer, codec: number): Buffer {
  const batch = Buffer.concat([batchOf([{ value: null }]).subarray(0, BATCH_HEAD_BYTES), bytes]);
  batch.writeBigInt64BE(BigInt(firstOffset), 0);
  batch.writeInt32BE(batch.length - 12, 8);
  batch.writeInt16BE(codec, 21);
  batch.writeInt32BE(count - 1, 23);
  batch.writeInt32BE(count, BATCH_HEAD_BYTES - 4);
  return batch;
}

const GZIP = 1;
const SNAPPY = 2;
const BATCH_HEAD_BYTES = 61;

/** The tail of a Produce request for one partition, behind the length of the batch. */
function batchOf(messages: readonly ProduceMessage[]): Buffer {
  const topicData = [{ topic: 't', partitions: [{ partition: 0, firstSequence: 0, messages }] }];
  const request = encodeProduce({ acks: -1, timeout: 1, producerId: '1', producerEpoch: 0, topicData }, 0)!;
  return request.subarray(HEAD_BYTES);
}

// transactional id, acks, timeout, count and name of topics, count and number of partitions, length of the batch
const HEAD_BYTES = 2 + 2 + 4 + 4 + 3 + 4 + 4 + 4;

function answer(batches: Buffer): InstanceType<typeof Decoder> {
  const size = Buffer.alloc(4);
  size.writeInt32BE(batches.length);
  return new Decoder(Buffer.concat([size, batches]));
}
