import { expect, test } from 'vitest';
import { kafka, type KafkaOptions } from './kafka.js';

const right: KafkaOptions = { brokers: ['kafka:9092'], registry: { url: 'http://registry:8081' } };

test('everything that is wrong with the options is said at once', () => {
  const wrong = { ...right, brokers: [], partitioner: 'crc', maxRecordBytes: 0, registry: { url: 'registry:8081' } };
  expect(() => kafka(wrong as unknown as KafkaOptions)).toThrow(
    expect.objectContaining({
      code: 'BUS_CONFIG_INVALID',
      message: expect.stringMatching(/"brokers".*"partitioner".*"maxRecordBytes".*"url" of the schema registry/s),
    }),
  );
});

test('a registry that was forgotten is asked for by name', () => {
  const { registry: _, ...without } = right;
  expect(() => kafka(without as KafkaOptions)).toThrow(/Option "registry" must name the schema registry/);
});
