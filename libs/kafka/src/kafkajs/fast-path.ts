/**
 * Puts our encoder, decoder and timer into kafkajs, for the whole process: whoever else uses this copy of kafkajs gets them too. They are
 * known to fit version 2.2.4 only. Each part proves itself against the original when it is put in; a part that fails stays out, loudly.
 */
import { encodeProduce, type ProduceArguments, type ProduceMessage } from './produce-encoder.js';
import { batchesDecoder, type DecodeBatches } from './record-batches.js';
import { decodeRecord, type DecodedRecord } from './record-decoder.js';
import { scheduleCheckPendingRequests } from './request-timer.js';
import { KNOWN_VERSION, fileOf, internal, kafkajsVersion, loadedModules } from './library.js';

/** Switches parts off. A part that an earlier client of the process put in stays in. */
export interface FastPathOptions {
  /** Writes Produce requests; three to five times as fast. Off, headers lose their order, the places of repeats, and nulls. Default on. */
  readonly encode?: boolean;
  /** Reads records in linear time, and any number. Off, anybody who may write to a topic can stop its consumers. Default on. */
  readonly decode?: boolean;
  /** Mends the timer that costs 6 % of a core per idle connection. Default on. */
  readonly timer?: boolean;
}

/** Which parts are in. */
export interface FastPath {
  readonly encode: boolean;
  readonly decode: boolean;
  readonly timer: boolean;
}

/** `warn` hears why a part is not in. Idempotent; may be called by several clients at once. */
export async function installFastPath(
  options: FastPathOptions | false,
  warn: (text: string) => void,
): Promise<FastPath> {
  const wanted = {
    encode: true,
    decode: true,
    timer: true,
    ...(options || { encode: false, decode: false, timer: false }),
  };
  if (!wanted.encode) warn(ENCODER_OFF);
  if (!wanted.decode) warn(DECODER_OFF);
  if (kafkajsVersion !== KNOWN_VERSION) {
    warn(`kafkajs ${kafkajsVersion} is not ${KNOWN_VERSION}: the fast path stays off. ${DECODER_OFF} ${ENCODER_OFF}`);
    return { encode: false, decode: false, timer: false };
  }
  return {
    encode: wanted.encode && (await proven('encoder', installEncoder, (text) => warn(`${text} ${ENCODER_OFF}`))),
    decode: wanted.decode && (await proven('decoder', installDecoder, (text) => warn(`${text} ${DECODER_OFF}`))),
    timer: wanted.timer && (await proven('timer', installTimer, warn)),
  };
}

const ENCODER_OFF =
  'Without our encoder headers lose their order, the places of repeats, and nulls: dead letters are no longer byte for byte what was read.';

const DECODER_OFF =
  'Without our decoder, one record with some thousand headers stops every consumer of its topic for minutes, and one batch of some hundred thousand records for good: make sure that only trusted producers may write.';

async function proven(part: string, install: () => Promise<void>, warn: (text: string) => void): Promise<boolean> {
  try {
    await install();
    return true;
  } catch (error) {
    warn(
      `The ${part} of the fast path failed its self-test and stays off: ${error instanceof Error ? error.message : String(error)}.`,
    );
    return false;
  }
}

// ---- encoder: kafkajs looks up `protocol` at every call

interface ProduceRequest {
  readonly request: { readonly encode: () => Promise<{ readonly buf: Buffer; readonly buffer: Buffer }> };
  readonly response: unknown;
}

interface ProduceModule {
  protocol: ((options: { version: number }) => (args: ProduceArguments) => ProduceRequest) & {
    readonly original?: ProduceModule['protocol'];
  };
}

async function installEncoder(): Promise<void> {
  const produce = internal<ProduceModule>('protocol/requests/produce');
  if (produce.protocol.original) return;
  const original = produce.protocol;
  const fast = Object.assign(
    ({ version }: { version: number }) =>
      version < 3 ? original({ version }) : (args: ProduceArguments) => fastProduce(original({ version }), args),
    { original },
  );
  await compareEncoders(original, fast);
  produce.protocol = fast;
}

function fastProduce(original: (args: ProduceArguments) => ProduceRequest, args: ProduceArguments): ProduceRequest {
  const { request, response } = original(args);
  const encode = async () => {
    const bytes = encodeProduce(args, Date.now());
    return bytes ? { buf: bytes, buffer: bytes } : original(withoutPairs(args)).request.encode();
  };
  return { request: { ...request, encode }, response };
}

/** The original encoder knows only the object: it keeps neither the order of names like `1` nor that of repeats. */
export function headersFromPairs(pairs: NonNullable<ProduceMessage['pairs']>): Record<string, unknown> {
  const headers: Record<string, unknown[]> = Object.create(null);
  for (const [name, value] of pairs)
    (headers[name] ??= []).push(
      Buffer.isBuffer(value) ? value : Buffer.from(value.buffer, value.byteOffset, value.length),
    );
  return headers;
}

function withoutPairs(args: ProduceArguments): ProduceArguments {
  const plain = ({ pairs, ...message }: ProduceMessage): ProduceMessage =>
    pairs ? { ...message, headers: { ...headersFromPairs(pairs), ...message.headers } } : message;
  return {
    ...args,
    topicData: args.topicData.map((topic) => ({
      ...topic,
      partitions: topic.partitions.map((partition) => ({ ...partition, messages: partition.messages.map(plain) })),
    })),
  };
}

async function compareEncoders(original: ProduceModule['protocol'], fast: ProduceModule['protocol']): Promise<void> {
  for (const version of [3, 7]) {
    const expected = (await original({ version })(SAMPLE).request.encode()).buffer;
    const written = (await fast({ version })(SAMPLE).request.encode()).buffer;
    if (!expected.equals(written))
      throw new Error(`its bytes differ from those of kafkajs in Produce version ${version}`);
    if (!encodeProduce(SAMPLE, 0)) throw new Error('it does not take the sample');
  }
}

// ---- decoder: kafkajs loads its own with the process's first fetch, so ours is put in its place before, or the modules are loaded again

async function installDecoder(): Promise<void> {
  const recordDecoder = fileOf('protocol/recordBatch/record/v0/decoder');
  internal<unknown>('protocol/recordBatch/record/v0/decoder');
  const module = loadedModules[recordDecoder]!;
  if (module.exports !== decodeRecord) {
    const original: unknown = module.exports;
    module.exports = decodeRecord;
    forgetDecoders();
    replaceBatchesDecoder();
    try {
      await tryDecoder();
    } catch (error) {
      module.exports = original;
      forgetDecoders();
      throw error;
    }
  }
}

/** What holds on to a record decoder is loaded again at the next fetch, which asks `require` each time. */
function forgetDecoders(): void {
  const fetch = fileOf('protocol/requests/fetch').replace(/index\.js$/, '');
  const batchDecoder = fileOf('protocol/recordBatch/v0/decoder');
  for (const file of Object.keys(loadedModules)) {
    if (file === batchDecoder || (file.startsWith(fetch) && /(response|decodeMessages)\.js$/.test(file)))
      delete loadedModules[file];
  }
}

/** After they were forgotten, so that it takes our record decoder, and what asks for it takes it. */
function replaceBatchesDecoder(): void {
  const original = internal<DecodeBatches>(BATCHES_DECODER);
  loadedModules[fileOf(BATCHES_DECODER)]!.exports = batchesDecoder({
    Decoder: internal('protocol/decoder'),
    decodeBatch: internal('protocol/recordBatch/v0/decoder'),
    original,
  });
}

const BATCHES_DECODER = 'protocol/requests/fetch/v4/decodeMessages';

interface FetchAnswer {
  readonly responses: readonly { readonly partitions: readonly { readonly messages: readonly DecodedRecord[] }[] }[];
}

interface FetchModule {
  protocol(options: {
    version: number;
  }): (args: object) => { readonly response: { decode(bytes: Buffer): Promise<FetchAnswer> } };
}

/** An answer to a Fetch of version 4 and 11, read by kafkajs itself, shows whether its records come from our decoder, and come out right. */
async function tryDecoder(): Promise<void> {
  for (const version of [4, 11]) {
    const { response } = internal<FetchModule>('protocol/requests/fetch').protocol({ version })({});
    const records = (await response.decode(sampleAnswer(version))).responses[0]?.partitions[0]?.messages ?? [];
    if (records.length !== SAMPLE_MESSAGES.length)
      throw new Error(`it read ${records.length} of ${SAMPLE_MESSAGES.length} records`);
    records.forEach((record, i) => compareRecord(record, SAMPLE_MESSAGES[i]!, i));
  }
}

function compareRecord(record: DecodedRecord, sent: ProduceMessage, index: number): void {
  if (!('pairs' in record)) throw new Error('kafkajs goes on using its own');
  const same = (read: Buffer | null, given: unknown) =>
    read === null ? given === null : read.equals(Buffer.from(given as string));
  const right =
    record.offset === String(index) &&
    record.timestamp === sent.timestamp &&
    same(record.key, sent.key) &&
    same(record.value, sent.value) &&
    record.pairs.map(([name, value]) => `${name}=${Buffer.from(value).toString()}`).join() === SAMPLE_PAIRS[index];
  if (!right) throw new Error(`it read record ${index} of the sample wrongly`);
}

function sampleAnswer(version: number): Buffer {
  const request = encodeProduce(SAMPLE, 0)!;
  // The batch is the tail of the Produce request, after its own length.
  const batch = request.subarray(request.length - request.readInt32BE(SAMPLE_HEAD_BYTES - 4));
  const head = version < 7 ? [int32(0)] : [int32(0), int16(0), int32(0)];
  const partition = version < 5 ? [int64(3), int64(3), int32(0)] : [int64(3), int64(3), int64(0), int32(0), int32(-1)];
  return Buffer.concat([
    ...head,
    int32(1),
    int16(1),
    Buffer.from('t'),
    int32(1),
    int32(0),
    int16(0),
    ...partition,
    int32(batch.length),
    batch,
  ]);
}

const int16 = (value: number) => Buffer.from([value >> 8, value]);
const int32 = (value: number) => Buffer.from([value >> 24, value >> 16, value >> 8, value]);
const int64 = (value: number) => Buffer.concat([int32(value < 0 ? -1 : 0), int32(value)]);

// ---- timer

async function installTimer(): Promise<void> {
  const { prototype } = internal<{
    prototype: { scheduleCheckPendingRequests: unknown; checkPendingRequests: unknown };
  }>('network/requestQueue');
  if (
    typeof prototype.scheduleCheckPendingRequests !== 'function' ||
    typeof prototype.checkPendingRequests !== 'function'
  ) {
    throw new Error('the request queue has no such method');
  }
  prototype.scheduleCheckPendingRequests = scheduleCheckPendingRequests;
}

// ---- the sample: text and bytes, an empty and a missing key, a missing value, times that go back, repeated headers

const SAMPLE_MESSAGES: readonly ProduceMessage[] = [
  {
    key: 'course-1',
    value: Buffer.from('first'),
    timestamp: '1700000000500',
    headers: { ce_type: 'a', ce_id: Buffer.from('1') },
  },
  {
    key: Buffer.alloc(0),
    value: null,
    timestamp: '1700000000000',
    headers: { twice: ['x', Buffer.from('y')], constructor: 'z' },
  },
  { key: null, value: 'ü', timestamp: '1700000123456', headers: {} },
];

const SAMPLE_PAIRS = ['ce_type=a,ce_id=1', 'twice=x,twice=y,constructor=z', ''];

const SAMPLE: ProduceArguments = {
  acks: -1,
  timeout: 8_000,
  producerId: '4211',
  producerEpoch: 3,
  topicData: [{ topic: 't', partitions: [{ partition: 5, firstSequence: 17, messages: SAMPLE_MESSAGES }] }],
};

// transactional id, acks, timeout, count and name of topics, count and number of partitions, length of the batch
const SAMPLE_HEAD_BYTES = 2 + 2 + 4 + 4 + 3 + 4 + 4 + 4;
