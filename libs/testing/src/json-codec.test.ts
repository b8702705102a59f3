import { defineEvent, schema, type Envelope } from '@event-bus/core';
import { expect, test } from 'vitest';
import { jsonCodec } from './json-codec.js';

const COURSE_CHANGED = defineEvent({
  type: 'org.openedx.content_authoring.course.changed.v1',
  data: {
    course: schema.record('Course', {
      key: schema.courseKey(),
      title: schema.optional(schema.string()),
      enrolled: schema.bigLong(),
      image: schema.bytes(),
      tags: schema.map(schema.array(schema.long())),
    }),
    hidden: schema.optional(schema.boolean()),
  },
});

const envelope: Envelope = {
  metadata: {
    id: '5e9b2a0c-c8f1-11f0-8000-0123456789ab',
    type: COURSE_CHANGED.type,
    minorversion: 0,
    source: 'openedx/studio/web',
    sourcehost: 'here',
    time: '2026-01-02T03:04:05.678901+00:00',
    sourcelib: '1.0.0',
  },
  data: {
    course: { key: 'course-v1:edX+Demo+2026', enrolled: 2n ** 60n, image: Buffer.from([0, 255]), tags: { a: [1, 2] } },
  },
};

const codec = jsonCodec();
const route = { topic: 'courses', keyField: 'course.key' };
const record = async () => codec.encode(COURSE_CHANGED, envelope, route, [['traceparent', Buffer.from('00-1')]]);

test('an event comes back as it was sent, with null for what was left out', async () => {
  const written = await record();
  expect(codec.decode(COURSE_CHANGED, written)).toEqual({
    course: { ...(envelope.data as { course: object }).course, title: null },
    hidden: null,
  });
  expect(codec.metadata(written)).toEqual({ metadata: envelope.metadata, headers: { traceparent: '00-1' } });
  expect(codec.eventType(written)).toBe(COURSE_CHANGED.type);
  expect(Buffer.from(written.key!).toString()).toBe('course-v1:edX+Demo+2026');
});

test.each([
  ['no id', (headers: [string, Buffer][]) => headers.filter(([name]) => name !== 'ce_id')],
  ['a metadata header twice', (headers: [string, Buffer][]) => [...headers, ['ce_type', Buffer.from('x')]]],
  ['a header that is not UTF-8', (headers: [string, Buffer][]) => headers.map(([name]) => [name, Buffer.from([0xff])])],
])('a record with %s is no event', async (_, change) => {
  const written = await record();
  const changed = { ...written, headers: change(written.headers as unknown as [string, Buffer][]) } as typeof written;
  expect(() => codec.metadata(changed)).toThrow(expect.objectContaining({ code: 'BUS_DECODE_FAILED' }));
});

test.each(['', '{', '{}', 'null', '[]', '{"course":{}}', '{"course":{"key":1,"enrolled":"x","image":"","tags":{}}}'])(
  'the value %j is not decoded',
  async (value) => {
    const broken = { ...(await record()), value: Buffer.from(value) };
    expect(() => codec.decode(COURSE_CHANGED, broken)).toThrow(expect.objectContaining({ code: 'BUS_DECODE_FAILED' }));
  },
);
