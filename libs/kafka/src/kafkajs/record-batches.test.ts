import { expect, it } from 'vitest';
import { internal } from './library.js';
import { encodeProduce, type ProduceMessage } from './produce-encoder.js';
import { batchesDecoder, type BatchesParts } from './record-batches.js';

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
