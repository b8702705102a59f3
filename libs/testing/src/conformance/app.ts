/** For the cases of the bus: an app on the transport under test, and what it heard. */
import {
  createBus,
  defineEvent,
  schema,
  signals,
  type Bus,
  type BusOptions,
  type DeadFact,
  type DeliveryFact,
  type InterruptedFact,
  type PausedFact,
  type RetryingFact,
  type SkippedFact,
  type StoredRecord,
  type Transport,
} from '@event-bus/core';
import { all, type World } from './world.js';

export const COURSE_CHANGED = defineEvent({
  type: 'org.openedx.conformance.course.changed.v1',
  data: { course_key: schema.courseKey(), revision: schema.long(), title: schema.optional(schema.string()) },
});

export const COURSE_ARCHIVED = defineEvent({
  type: 'org.openedx.conformance.course.archived.v1',
  data: { course_key: schema.courseKey() },
});

export const course = (name: string | number) => `course-v1:edX+Demo+${name}`;

/** Everything that was said of one bus. */
export interface Heard {
  readonly delivered: Omit<DeliveryFact, 'durationMs'>[];
  readonly handled: DeliveryFact[];
  readonly retrying: RetryingFact[];
  readonly dead: DeadFact[];
  readonly skipped: SkippedFact[];
  readonly interrupted: InterruptedFact[];
  readonly paused: PausedFact[];
}

export interface App {
  readonly bus: Bus;
  readonly heard: Heard;
}

/** Makes a bus with a route of both event types to the topic. It is closed when the case ends. */
export function app(world: World, topic: string, options: Partial<BusOptions> = {}): App {
  const name = world.name('bus');
  const bus = createBus({
    service: world.name('catalog'),
    name,
    transport: world.make(),
    routes: {
      [COURSE_CHANGED.type]: { [topic]: { keyField: 'course_key' } },
      [COURSE_ARCHIVED.type]: { [topic]: { keyField: 'course_key' } },
    },
    events: [COURSE_CHANGED, COURSE_ARCHIVED],
    commitIntervalMs: 200,
    ...options,
  });
  const heard: Heard = { delivered: [], handled: [], retrying: [], dead: [], skipped: [], interrupted: [], paused: [] };
  const ends = [
    listen(signals.delivered, name, heard.delivered),
    listen(signals.handled, name, heard.handled),
    listen(signals.retrying, name, heard.retrying),
    listen(signals.dead, name, heard.dead),
    listen(signals.skipped, name, heard.skipped),
    listen(signals.interrupted, name, heard.interrupted),
    listen(signals.paused, name, heard.paused),
  ];
  world.cleanup(async () => {
    await bus.close();
    for (const end of ends) end();
  });
  return { bus, heard };
}

function listen<Fact extends { readonly bus: string }>(
  signal: { subscribe(hear: (fact: Fact) => void): () => void },
  name: string,
  into: Fact[],
): () => void {
  return signal.subscribe((fact) => void (fact.bus === name && into.push(fact)));
}

/** Waits until a group has finished everything that is in a topic. */
export async function finished(world: World, transport: Transport, topic: string, group: string): Promise<void> {
  const left = async () =>
    (await transport.positions({ topic, group })).filter(
      ({ start, end, committed }) => start !== end && committed !== end,
    );
  await world.eventually(
    async () => (await left()).length === 0,
    () => `group ${group} did not finish ${topic}`,
  );
}

/** The whole of a topic. A topic that was never made is empty. */
export async function logOf(transport: Transport, topic: string): Promise<StoredRecord[]> {
  await transport.ensureTopic(topic);
  return all(transport.read({ topic }));
}

export function headersOf({ headers }: StoredRecord): Record<string, string> {
  return Object.fromEntries(headers.map(([name, value]) => [name, Buffer.from(value).toString()]));
}

/** The same transport with a gate before what is published to some topics. */
export function gated(transport: Transport, isGated: (topic: string) => boolean, opened: Promise<void>): Transport {
  // Without its way for single records, everything passes through here.
  const { publishOne: _, ...rest } = transport;
  return {
    ...rest,
    async publish(topic, records, options) {
      if (isGated(topic)) await opened;
      return transport.publish(topic, records, options);
    },
  };
}
