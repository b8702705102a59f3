/** Event types as Open edX defines them, and one of `python/every_kind.py` that has every kind of field. */
import { defineEvent, schema, type EventInput } from '@event-bus/core';

export const XBLOCK_PUBLISHED = defineEvent({
  type: 'org.openedx.content_authoring.xblock.published.v1',
  data: {
    xblock_info: schema.record('XBlockData', {
      usage_key: schema.usageKey(),
      block_type: schema.string(),
      version: schema.optional(schema.string()),
    }),
  },
});

/** The one official type with a hyphen in its name, which a strict Avro parser refuses as a namespace. */
export const REDEMPTION_REVERSED = defineEvent({
  type: 'org.openedx.enterprise.subsidy.redemption-reversed.v1',
  data: {
    redemption: schema.record('SubsidyRedemption', {
      subsidy_identifier: schema.string(),
      content_key: schema.string(),
      lms_user_id: schema.long(),
    }),
  },
});

const person = schema.record('Person', { name: schema.string(), born: schema.optional(schema.long()) });

export const EVERY_KIND = defineEvent({
  type: 'org.openedx.test.kinds.every.seen.v1',
  minorversion: 3,
  data: {
    kinds: schema.record('Kinds', {
      course_key: schema.courseKey(),
      a_bool: schema.boolean(),
      an_int: schema.bigLong(),
      a_float: schema.double(),
      a_str: schema.string(),
      a_datetime: schema.dateTime(),
      a_uuid: schema.uuid(),
      a_usage_key: schema.usageKey(),
      a_ccx_key: schema.courseKey(),
      a_library_key: schema.string(),
      a_library_usage_key: schema.usageKey(),
      a_library_container_key: schema.string(),
      a_library_collection_key: schema.string(),
      a_person: person,
      some_ints: schema.array(schema.long()),
      some_people: schema.array(person),
      some_lists: schema.array(schema.array(schema.string())),
      floats_by_name: schema.map(schema.double()),
      people_by_name: schema.map(person),
      lists_by_name: schema.map(schema.array(schema.long())),
      some_bytes: schema.optional(schema.bytes()),
      maybe_bool: schema.optional(schema.boolean()),
      maybe_int: schema.optional(schema.long()),
      maybe_float: schema.optional(schema.double()),
      maybe_str: schema.optional(schema.string()),
      maybe_datetime: schema.optional(schema.dateTime()),
      maybe_uuid: schema.optional(schema.uuid()),
      maybe_person: schema.optional(person),
      maybe_ints: schema.optional(schema.array(schema.long())),
      maybe_strs_by_name: schema.optional(schema.map(schema.string())),
      str_with_default: schema.string(),
    }),
    count: schema.long(),
    note: schema.string(),
    person,
  },
});

type Kinds = EventInput<typeof EVERY_KIND>;

/**
 * All optional fields unset; text that is not ASCII; numbers at their limits. Of what JavaScript and Python take for false, openedx-events
 * makes none at two places, so it does not occur there: a field of the event itself is then "missing", an optional one is written as null.
 */
export const LEAST: Kinds = {
  kinds: {
    course_key: 'course-v1:Universität+日本語+Ⅷ',
    a_bool: true,
    an_int: -(2n ** 63n),
    a_float: -0.1,
    a_str: '',
    a_datetime: '2026-01-02T03:04:05.678901+00:00',
    a_uuid: 'e2e8ba5c-0ae7-11f1-9bd3-0242ac120002',
    a_usage_key: 'block-v1:edX+DemoX+2026+type@problem+block@ünï',
    a_ccx_key: 'ccx-v1:edX+DemoX+2026+ccx@7',
    a_library_key: 'lib:edX:Ωμέγα',
    a_library_usage_key: 'lb:edX:Ωμέγα:problem:p1',
    a_library_container_key: 'lct:edX:Ωμέγα:unit:u1',
    a_library_collection_key: 'lib-collection:edX:Ωμέγα:c1',
    a_person: { name: 'Ada 🧮' },
    some_ints: [],
    some_people: [],
    some_lists: [],
    floats_by_name: {},
    people_by_name: {},
    lists_by_name: {},
    str_with_default: 'default',
  },
  count: -1,
  note: '-',
  person: { name: '' },
};

/** All optional fields set that openedx-events can write. */
export const MOST: Kinds = {
  kinds: {
    ...LEAST.kinds,
    a_bool: false,
    an_int: 2n ** 63n - 1n,
    a_float: 1.7976931348623157e308,
    a_str: 'Zeile 1\nعربي\t"quoted" \\ 👩‍🔬',
    a_datetime: '2026-01-02T03:04:05+00:00',
    a_person: { name: 'Grace', born: 1906 },
    some_ints: [0, -1, 127, 128, 2 ** 53 - 1, -(2 ** 53 - 1)],
    some_people: [{ name: 'Ada', born: 1815 }, { name: 'ünknown' }],
    some_lists: [[], ['a'], ['b', '', 'ç']],
    floats_by_name: { e: 2.718281828459045, π: 3.141592653589793, '1': 1.5 },
    people_by_name: { first: { name: 'Ada', born: -1 } },
    lists_by_name: { empty: [], some: [1, 2, 3] },
    maybe_bool: true,
    maybe_int: 2 ** 53 - 1,
    maybe_float: 0.5,
    maybe_str: ' ',
    maybe_datetime: '1970-01-01T00:00:00+00:00',
    maybe_uuid: '00000000-0000-0000-0000-000000000000',
    maybe_person: { name: 'Mary' },
    maybe_ints: [1],
    maybe_strs_by_name: { ключ: 'значение' },
    str_with_default: 'given',
  },
  count: 1_000_000_007,
  note: 'ﷺ',
  person: { name: 'Katherine', born: 1918 },
};

/** Data as `python/plain.py` reads it. */
export function toPlain(value: unknown): unknown {
  if (typeof value === 'bigint') return { $long: String(value) };
  if (Buffer.isBuffer(value)) return { $bytes: value.toString('hex') };
  if (Array.isArray(value)) return value.map(toPlain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, toPlain(inner)]));
}

/** What a handler gets of this: `null` where a field was left out. */
export function received(definition: typeof EVERY_KIND, { kinds, ...rest }: Kinds): unknown {
  const person = (one: { readonly name: string; readonly born?: number | null | undefined }) => ({
    born: null,
    ...one,
  });
  const optional = (
    definition.avro.fields[0]!.type as unknown as { readonly fields: readonly { readonly name: string }[] }
  ).fields;
  const nulls = Object.fromEntries(optional.filter((field) => 'default' in field).map(({ name }) => [name, null]));
  return {
    ...rest,
    person: person(rest.person),
    kinds: {
      ...nulls,
      ...kinds,
      a_person: person(kinds.a_person),
      some_people: kinds.some_people.map(person),
      people_by_name: Object.fromEntries(
        Object.entries(kinds.people_by_name).map(([name, one]) => [name, person(one)]),
      ),
      ...(kinds.maybe_person ? { maybe_person: person(kinds.maybe_person) } : {}),
    },
  };
}
