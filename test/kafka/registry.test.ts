import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { avroCodec, httpRegistry, type HttpRegistryOptions, type SchemaStore } from '@event-bus/avro';
import { defineEvent, schema, type BusRecord, type EventDefinition } from '@event-bus/core';
import { startRegistry } from './broker.js';

const registry = await startRegistry();

describe.skipIf(!registry)('the schema registry', () => {
  const stores: SchemaStore[] = [];
  let topic: string;
  beforeAll(() => void (topic = `registry-${Date.now()}`));
  afterAll(async () => {
    for (const store of stores) await store.close();
    await registry?.stop();
  });

  const open = (options: Partial<HttpRegistryOptions> = {}) => {
    const store = httpRegistry({ url: registry!.env.SCHEMA_REGISTRY_URL, ...options });
    stores.push(store);
    return store;
  };

  it('gives one id per subject and text, and the text back byte for byte', async () => {
    const text = '{"name": "course_key", "type": "string"}';

    const id = await open().id(`${topic}-string`, text);

    expect(await open().id(`${topic}-string`, text)).toBe(id);
    expect(await open().byId(id)).toBe(text);
    expect(await open({ registration: 'lookup' }).id(`${topic}-string`, text)).toBe(id);
    expect(await open({ registration: 'latest' }).id(`${topic}-string`, text)).toBe(id);
  });

  it('carries an event from one codec to another that has never seen its schema', async () => {
    const definition = defineEvent({
      type: 'org.openedx.content_authoring.course.catalog_info.changed.v1',
      data: { course_key: schema.courseKey(), note: schema.optional(schema.string()) },
    });
    const route = { topic, keyField: 'course_key' };
    const data = { course_key: 'course-v1:edX+Demo+2026', note: 'ünïcode' };
    const writer = avroCodec({ registry: open() });
    const reader = avroCodec({ registry: open() });

    const record = await writer.encode(definition, { metadata: metadataOf(definition), data }, route, []);

    expect(await reader.decode(definition, record)).toStrictEqual(data);
    expect(reader.decode(definition, record)).toStrictEqual(data);
  });

  it('a subject or a schema that is not there fails a start under lookup and latest', async () => {
    const lookup = open({ registration: 'lookup' });

    await expect(lookup.id(`${topic}-none`, '"string"')).rejects.toMatchObject({ code: 'BUS_SCHEMA_UNKNOWN' });
    await expect(lookup.id(`${topic}-string`, '"bytes"')).rejects.toMatchObject({ code: 'BUS_SCHEMA_UNKNOWN' });
    const latest = open({ registration: 'latest' });
    await expect(latest.id(`${topic}-none`, '"string"')).rejects.toMatchObject({ code: 'BUS_SCHEMA_UNKNOWN' });
  });

  it('an id that is not there is unknown, which is not the same as a registry that is away', async () => {
    const definition = defineEvent({ type: 'org.test.unknown.v1', data: { a: schema.string() } });
    const record: BusRecord = { key: null, value: Buffer.from([0, 0x7f, 0xff, 0xff, 0xff, 0]), headers: [] };
    const codec = avroCodec({ registry: open() });
    const away = avroCodec({ registry: httpRegistry({ url: 'http://127.0.0.1:1' }) });

    await expect(codec.decode(definition, record)).rejects.toMatchObject({ code: 'BUS_SCHEMA_UNKNOWN' });
    expect(() => codec.decode(definition, record)).toThrow(expect.objectContaining({ code: 'BUS_SCHEMA_UNKNOWN' }));
    await expect(away.decode(definition, record)).rejects.toMatchObject({ code: 'BUS_REGISTRY_UNAVAILABLE' });
    await expect(open({ url: `${registry!.env.SCHEMA_REGISTRY_URL}/wrong` }).byId(1)).rejects.toMatchObject({
      code: 'BUS_REGISTRY_UNAVAILABLE',
    });
  });

  it('an incompatible schema is refused with the words of the registry', async () => {
    const subject = `${topic}-incompatible`;
    const record = (type: string) => JSON.stringify({ type: 'record', name: 'R', fields: [{ name: 'a', type }] });
    await open().id(subject, record('string'));
    await configure(subject, 'FULL_TRANSITIVE');

    await expect(open().id(subject, record('long'))).rejects.toMatchObject({
      code: 'BUS_TRANSPORT_REFUSED',
      message: expect.stringMatching(/refused the schema of the subject .*: \S/),
    });
  });

  it('what is no schema is refused', async () => {
    await expect(open().id(`${topic}-bad`, '{"type": "nothing"}')).rejects.toMatchObject({
      code: 'BUS_TRANSPORT_REFUSED',
    });
  });

  it('schemas that refer to each other become one that can be read', async () => {
    const inner = { type: 'record', name: 'Inner', namespace: 'org.test', fields: [{ name: 'n', type: 'long' }] };
    await post(`/subjects/${topic}-inner/versions`, { schema: JSON.stringify(inner) });
    const outer = { type: 'record', name: 'Outer', fields: [{ name: 'inner', type: 'org.test.Inner' }] };
    const references = [{ name: 'org.test.Inner', subject: `${topic}-inner`, version: 1 }];
    const { id } = await post(`/subjects/${topic}-outer/versions`, { schema: JSON.stringify(outer), references });

    const text = await open().byId(id);

    expect(JSON.parse(text!)).toMatchObject({
      name: 'Outer',
      fields: [{ name: 'inner', type: { name: 'org.test.Inner' } }],
    });
  });
});

async function configure(subject: string, compatibility: string): Promise<void> {
  const url = `${registry!.env.SCHEMA_REGISTRY_URL}/config/${subject}`;
  const response = await fetch(url, { method: 'PUT', headers: JSON_TYPE, body: JSON.stringify({ compatibility }) });
  expect(response.status).toBe(200);
}

async function post(path: string, body: object): Promise<{ id: number }> {
  const url = registry!.env.SCHEMA_REGISTRY_URL + path;
  const response = await fetch(url, { method: 'POST', headers: JSON_TYPE, body: JSON.stringify(body) });
  return (await response.json()) as { id: number };
}

const JSON_TYPE = { 'content-type': 'application/json' };

function metadataOf({ type }: EventDefinition) {
  const time = '2026-01-02T03:04:05.678901+00:00';
  return {
    id: 'e2e8ba5c-0ae7-11f1-9bd3-0242ac120002',
    type,
    minorversion: 0,
    source: 's',
    sourcehost: 'h',
    time,
    sourcelib: '1',
  };
}
