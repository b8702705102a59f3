/** What it costs to write and read one event: our codec against JSON and against avsc by itself. */
import { createRequire } from 'node:module';
import { avroCodec } from '@event-bus/avro';
import { memoryStore } from '@event-bus/avro/internal';
import { defineEvent, schema } from '@event-bus/core';
import { runBenchmark } from './benchmark.mjs';
import { decimals, inTurns, median, printTable, ratios, spread, stopwatch } from './figures.mjs';

const avsc = createRequire(import.meta.resolve('@event-bus/avro'))('avsc');

const schedule = schema.record('CourseScheduleData', {
  start: schema.dateTime(),
  pacing: schema.string(),
  end: schema.optional(schema.dateTime()),
  enrollment_start: schema.optional(schema.dateTime()),
  enrollment_end: schema.optional(schema.dateTime()),
});
const changed = defineEvent({
  type: 'org.openedx.content_authoring.course.catalog_info.changed.v1',
  data: {
    catalog_info: schema.record('CourseCatalogData', {
      course_key: schema.courseKey(),
      name: schema.string(),
      schedule_data: schedule,
      hidden: schema.boolean(),
      invitation_only: schema.boolean(),
    }),
  },
});
const route = { topic: 'prod-course-catalog-info-changed', keyField: 'catalog_info.course_key' };
const data = {
  catalog_info: {
    course_key: 'course-v1:edX+DemoX+Demo_Course',
    name: 'Demonstration Course',
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
const metadata = {
  id: 'e2e8ba5c-0ae7-11f1-9bd3-0242ac120002',
  type: changed.type,
  minorversion: 0,
  source: 'openedx/studio/web',
  sourcehost: 'studio-7d5c9b6f4-x2x8k',
  time: '2026-01-02T03:04:05.678901+00:00',
  sourcelib: '11.2.0',
};

await runBenchmark(
  {
    name: 'avro',
    title: 'what it costs to write and read one event, beside JSON and avsc by itself',
    parts: { write: 'value, key and headers', read: 'event type, metadata, value' },
  },
  async ({ parts, quick }) => {
    const codec = avroCodec({ registry: memoryStore() });
    await codec.prepare(changed, route);
    const contenders = contendersOf(codec);
    for (const part of parts) await measure(part, contenders[part], quick ? 5 : 50);
    await codec.close();
  },
);

function contendersOf(codec) {
  const record = codec.encode(changed, { metadata, data }, route, []);
  const plain = avsc.Type.forSchema(JSON.parse(JSON.stringify(changed.avro)));
  const older = avsc.Type.forSchema({
    ...changed.avro,
    fields: [...changed.avro.fields, { name: 'note', type: 'string' }],
  });
  const resolver = plain.createResolver(older);
  const plainBytes = plain.toBuffer(data);
  const olderBytes = older.toBuffer({ ...data, note: 'a field that the reader does not have' });
  const json = Buffer.from(JSON.stringify({ ...metadata, data }));
  console.log(
    `value ${record.value.length} bytes, as JSON ${JSON.stringify(data).length}, ${record.headers.length} headers`,
  );
  return {
    write: {
      'JSON: metadata and data as bytes': () => Buffer.from(JSON.stringify({ ...metadata, data })),
      'avsc: toBuffer, value only': () => plain.toBuffer(data),
      'ours: value, key and ten headers': () => codec.encode(changed, { metadata, data }, route, []),
    },
    read: {
      'JSON: metadata and data': () => JSON.parse(json.toString()),
      'avsc: fromBuffer, value only': () => plain.fromBuffer(plainBytes),
      'avsc: fromBuffer through a resolver': () => plain.fromBuffer(olderBytes, resolver),
      'ours: event type': () => codec.eventType(record),
      'ours: metadata': () => codec.metadata(record),
      'ours: value': () => codec.decode(changed, record),
      'ours: metadata and value': () => [codec.metadata(record), codec.decode(changed, record)],
    },
  };
}

async function measure(part, contenders, rounds) {
  const named = Object.entries(contenders);
  const timed = Object.fromEntries(named.map(([name, run]) => [name, () => nanoseconds(run, 20_000)]));
  await inTurns(3, timed); // warms up
  const results = await inTurns(rounds, timed);
  const [json] = Object.values(results);
  console.log();
  printTable(
    [part, 'ns CPU each', 'of JSON'],
    named.map(([name]) => [name, spread(results[name], decimals(0)), decimals(2)(median(ratios(results[name], json)))]),
  );
}

/** Of processor, which other processes blur less. */
function nanoseconds(run, times) {
  const stop = stopwatch();
  for (let i = 0; i < times; i++) run();
  return (stop().cpuUs * 1_000) / times;
}
