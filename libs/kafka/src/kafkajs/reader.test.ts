import { expect, test } from 'vitest';
import type { Cluster } from './cluster.js';
import { kafkajsReader } from './reader.js';

/** A partition whose last records, up to 8, are gone by compaction: every answer is empty, though the log goes on. */
function setup(throttled: number) {
  let answers = 0;
  const broker = {
    lookupRequest: () => () => ({ request: {}, response: { decode: () => {} } }),
    disconnect: async () => {},
    connectionPool: {
      send: async () => ({
        clientSideThrottleTime: answers++ < throttled ? 1 : 0,
        responses: [{ partitions: [{ errorCode: 0, partition: 0, highWatermark: '8', messages: [] }] }],
      }),
    },
  };
  const topicMetadata = [{ topic: 't', topicErrorCode: 0, partitionMetadata: [{ partitionId: 0, leader: 1 }] }];
  const cluster = {
    brokerPool: { metadata: { topicMetadata } },
    connect: async () => {},
    disconnect: async () => {},
    findBroker: async () => broker,
  };
  return { reader: kafkajsReader(cluster as unknown as Cluster, async () => {}), answers: () => answers };
}

test.each([
  ['ends when nothing comes any more', 0, 4],
  ['does not take a broker that holds back for one that has nothing', 10, 14],
])('a range whose last records are gone %s', async (_, throttled, expected) => {
  const { reader, answers } = setup(throttled);

  for await (const batch of reader.read({ topic: 't', partition: 0, from: '5', to: '8' }))
    expect(batch).toBeUndefined();

  expect(answers()).toBe(expected);
});
