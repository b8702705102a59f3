import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { FastPathOptions } from './fast-path.js';

// Each test has a kafkajs of its own, as a process has.
async function setup(before?: (internal: <T>(path: string) => T) => void) {
  vi.resetModules();
  const library = await import('./library.js');
  for (const file of Object.keys(library.loadedModules))
    if (/node_modules\/kafkajs\//.test(file)) delete library.loadedModules[file];
  before?.(library.internal);
  const { installFastPath } = await import('./fast-path.js');
  const warnings: string[] = [];
  const install = (options: FastPathOptions | false = {}) => installFastPath(options, (text) => warnings.push(text));
  return { install, warnings, internal: library.internal };
}

let realNow: typeof Date.now;
beforeEach(() => void (realNow = Date.now));
afterEach(() => void (Date.now = realNow));

const RECORD_DECODER = 'protocol/recordBatch/record/v0/decoder';

it('puts all parts in, and does so once', async () => {
  const { install, warnings, internal } = await setup();
  expect(await install()).toEqual({ encode: true, decode: true, timer: true });
  const produce = internal<{ protocol: unknown }>('protocol/requests/produce');
  const first = produce.protocol;
  expect(await install()).toEqual({ encode: true, decode: true, timer: true });
  expect(produce.protocol).toBe(first);
  expect(warnings).toEqual([]);
});

it('puts the decoder in although a consumer of the process fetched before', async () => {
  const { install, internal } = await setup((internal) => {
    internal('protocol/requests/fetch/v4/response');
    internal('protocol/requests/fetch/v11/response');
  });
  expect(await install()).toMatchObject({ decode: true });
  expect(internal<{ name: string }>(RECORD_DECODER).name).toBe('decodeRecord');
});

it('leaves a part out that differs from kafkajs, and says so', async () => {
  const { install, warnings, internal } = await setup((internal) => {
    const encoder = internal<{ prototype: { writeInt16(value: number): unknown } }>('protocol/encoder');
    const write = encoder.prototype.writeInt16;
    encoder.prototype.writeInt16 = function (value) {
      return write.call(this, value + 1);
    };
  });
  const before = internal<{ protocol: unknown }>('protocol/requests/produce').protocol;
  expect(await install()).toEqual({ encode: false, decode: true, timer: true });
  expect(warnings.join()).toMatch(/encoder of the fast path failed its self-test .* bytes differ/);
  expect(internal<{ protocol: unknown }>('protocol/requests/produce').protocol).toBe(before);
});

it('takes the decoder out again when kafkajs does not use it', async () => {
  const { install, warnings, internal } = await setup((internal) => {
    const decoder = internal<(...args: unknown[]) => Record<string, unknown>>(RECORD_DECODER);
    const fetch = internal<{ protocol: unknown }>('protocol/requests/fetch');
    const records = ['0', '1', '2'].map(() => decoder as unknown);
    fetch.protocol = () => () => ({
      response: { decode: async () => ({ responses: [{ partitions: [{ messages: records.map(() => ({})) }] }] }) },
    });
  });
  expect(await install()).toMatchObject({ decode: false });
  expect(warnings.join()).toMatch(/kafkajs goes on using its own.*some thousand headers/);
  expect(internal<{ name: string }>(RECORD_DECODER).name).not.toBe('decodeRecord');
});

it('leaves out what is switched off, and says what that costs', async () => {
  const { install, warnings } = await setup();
  expect(await install({ timer: false })).toEqual({ encode: true, decode: true, timer: false });
  expect(warnings).toEqual([]);
  expect(await install(false)).toEqual({ encode: false, decode: false, timer: false });
  expect(warnings).toEqual([
    expect.stringMatching(/^Without our encoder headers lose/),
    expect.stringMatching(/^Without our decoder, one record/),
  ]);
});

it('hands compressed sends, and their ordered headers, to the original encoder', async () => {
  const { install, internal } = await setup();
  await install();
  type Produce = {
    protocol(o: { version: number }): (args: object) => { request: { encode(): Promise<{ buffer: Buffer }> } };
  };
  const { protocol } = internal<Produce>('protocol/requests/produce');
  const sample = (message: object) => ({
    acks: -1,
    timeout: 1,
    compression: 1,
    topicData: [{ topic: 't', partitions: [{ partition: 0, messages: [{ value: 'v', timestamp: '1', ...message }] }] }],
  });
  const encoded = (message: object) => protocol({ version: 7 })(sample(message)).request.encode();
  const ours = await encoded({ pairs: [['a', Buffer.from('x')]] });
  expect(ours.buffer.equals((await encoded({ headers: { a: 'x' } })).buffer)).toBe(true);
});
