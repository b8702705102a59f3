/**
 * The event that everybody sends: COURSE_CATALOG_INFO_CHANGED with a value of about 300 bytes, a thousand keys, and the ten headers of
 * Open edX. `byHand` is what a program writes that has kafkajs and avsc and nothing else.
 */
import { randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import { COURSE_CATALOG_INFO_CHANGED as event } from '@event-bus/openedx';

export { event };
export const KEY_FIELD = 'catalog_info.course_key';
// The processes of one run inherit it from the first.
const run = (process.env.BENCH_RUN ??= randomUUID().slice(0, 8));

/** `stored` and `narrow` are filled before they are read; the schemas of `stored` serve all topics. */
export const TOPICS = Object.fromEntries(
  ['published', 'stored', 'narrow', 'live'].map((name) => [name, `bench-${run}-${name}`]),
);

const PADDING = 'A course about events '.repeat(7);

/** The name begins with the moment of sending, so that whoever handles the event can tell how old it is. */
export function dataOf(n, sentAt = performance.now()) {
  return {
    catalog_info: {
      course_key: `course-v1:edX+Bench+${n % 1_000}`,
      name: `${sentAt.toFixed(3)} ${PADDING}`,
      schedule_data: {
        start: '2026-01-02T03:04:05+00:00',
        pacing: 'instructor',
        end: '2026-07-02T03:04:05+00:00',
        enrollment_start: '2025-11-02T03:04:05+00:00',
        enrollment_end: null,
      },
      hidden: false,
      invitation_only: false,
    },
  };
}

/** Milliseconds since this process sent it. */
export const ageOf = (data) => performance.now() - Number.parseFloat(data.catalog_info.name);

/** Key, value and headers, made with avsc; the schemas are those that our producer has registered. */
export async function byHand(topic = TOPICS.stored) {
  const { Type } = createRequire(import.meta.resolve('@event-bus/avro'))('avsc');
  const type = Type.forSchema(structuredClone(event.avro));
  const keyType = Type.forSchema('string');
  const valueFrame = await frameOf(`${topic}-${event.type}.CloudEvent`);
  const keyFrame = await frameOf(`${topic}-string`);
  return {
    encode(data) {
      return {
        key: Buffer.concat([keyFrame, keyType.toBuffer(data.catalog_info.course_key)]),
        value: Buffer.concat([valueFrame, type.toBuffer(data)]),
        headers: {
          ce_specversion: '1.0',
          'content-type': 'application/avro',
          ce_datacontenttype: 'application/avro',
          ce_type: event.type,
          ce_id: randomUUID(),
          ce_source: 'openedx/studio/web',
          ce_time: new Date().toISOString(),
          ce_minorversion: '0',
          sourcehost: 'studio-7d5c9b6f4-x2x8k',
          sourcelib: '11.2.0',
        },
      };
    },
    decode(value, headers) {
      if (headers.ce_type.toString() !== event.type) throw new Error('another event type');
      return type.fromBuffer(value.subarray(5));
    },
  };
}

async function frameOf(subject) {
  const url = `${process.env.SCHEMA_REGISTRY_URL}/subjects/${encodeURIComponent(subject)}/versions/latest`;
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`The registry has no schema for ${subject}: ${answer.status}`);
  const frame = Buffer.alloc(5);
  frame.writeInt32BE((await answer.json()).id, 1);
  return frame;
}
