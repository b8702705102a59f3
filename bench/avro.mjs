/**
 * What it costs to write and read one event: our codec against JSON and against avsc by itself. Trust the ratios, not the nanoseconds.
 * Run on the built libraries: npx tsc -b libs/avro && node bench/avro.mjs
 */
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import os from 'node:os';
import { avroCodec } from '@event-bus/avro';
import { memoryStore } from '@event-bus/avro/internal';
import { defineEvent, schema } from '@event-bus/core';

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

const codec = avroCodec({ registry: memoryStore() });
await codec.prepare(changed, route);
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

console.log(`${os.cpus()[0].model}, ${os.cpus().length} cores, Node ${process.version}, commit ${commit()}`);
console.log(
  `value ${record.value.length} bytes, as JSON ${Buffer.from(JSON.stringify(data)).length}, ${record.headers.length} headers\n`,
);

table('write', [
  ['JSON: metadata and data as bytes', () => Buffer.from(JSON.stringify({ ...metadata, data }))],
  ['avsc: toBuffer, value only', () => plain.toBuffer(data)],
  ['ours: value, key and ten headers', () => codec.encode(changed, { metadata, data }, route, [])],
]);
table('read', [
  ['JSON: metadata and data', () => JSON.parse(json.toString())],
  ['avsc: fromBuffer, value only', () => plain.fromBuffer(plainBytes)],
  ['avsc: fromBuffer through a resolver', () => plain.fromBuffer(olderBytes, resolver)],
  ['ours: event type', () => codec.eventType(record)],
  ['ours: metadata', () => codec.metadata(record)],
  ['ours: value', () => codec.decode(changed, record)],
  ['ours: metadata and value', () => [codec.metadata(record), codec.decode(changed, record)]],
]);
await codec.close();

function table(title, rows) {
  const results = rows.map(([name, run]) => [name, fastest(run)]);
  const base = results[0][1];
  console.log(title.padEnd(40), 'ns'.padStart(8), 'of JSON'.padStart(9));
  for (const [name, ns] of results)
    console.log(`  ${name}`.padEnd(40), ns.toFixed(0).padStart(8), (ns / base).toFixed(2).padStart(9));
  console.log();
}

/** The best of many short rounds: what else runs on the machine only ever adds. */
function fastest(run) {
  let best = Infinity;
  for (let round = 0; round < 150; round++) {
    const start = process.hrtime.bigint();
    for (let i = 0; i < 5_000; i++) run();
    best = Math.min(best, Number(process.hrtime.bigint() - start) / 5_000);
  }
  return best;
}

function commit() {
  return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim();
}
