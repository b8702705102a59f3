/** A bus on a simulated broker in virtual time, for tests. */
import { seededRandom, simulatedBroker, virtualClock, type SimulatedOptions } from '@event-bus/testing';
import {
  createBus,
  defineEvent,
  schema,
  type Bus,
  type BusOptions,
  type StoredRecord,
  type Transport,
} from './index.js';

export const CHANGED = defineEvent({
  type: 'org.example.course.changed.v1',
  data: { course_key: schema.courseKey(), revision: schema.long(), note: schema.optional(schema.string()) },
});
export const ARCHIVED = defineEvent({
  type: 'org.example.course.archived.v1',
  data: { course_key: schema.courseKey() },
});
export const courseKey = (n: number) => `course-v1:edX+Demo+${n}`;

export interface WorldOptions extends Partial<BusOptions> {
  readonly broker?: SimulatedOptions;
  /** Puts something between the bus and its transport. */
  readonly wrap?: (transport: Transport) => Transport;
}

export function world({ broker: brokerOptions, wrap = (same) => same, ...options }: WorldOptions = {}) {
  const clock = virtualClock(1);
  const random = seededRandom(1);
  const broker = simulatedBroker({ clock, random, partitions: 1, ...brokerOptions });
  const transport = broker.transport();
  const life = clock.process();
  const bus: Bus = createBus(
    {
      service: 'catalog',
      transport: wrap(transport),
      routes: {
        [CHANGED.type]: { courses: { keyField: 'course_key' } },
        [ARCHIVED.type]: { courses: { keyField: 'course_key' } },
      },
      events: [CHANGED, ARCHIVED],
      ...options,
    },
    { clock: life.clock, random },
  );

  /** The outcome of a promise that needs time to pass. */
  const during = async <T>(promise: Promise<T>): Promise<T> => {
    let isDone = false;
    void promise.catch(() => {}).finally(() => (isDone = true));
    if (!(await clock.run(() => isDone, { limitMs: LIMIT_MS }))) throw new Error('still pending after 600 s');
    return promise;
  };
  const until = async (condition: () => boolean) => {
    if (!(await clock.run(condition, { limitMs: LIMIT_MS }))) throw new Error('not so after 600 s');
  };
  const failure = (promise: Promise<unknown>) =>
    promise.then(
      () => undefined,
      (error: unknown) => error,
    );
  const lag = async () => {
    const positions = await during(transport.positions({ topic: 'courses', group: 'catalog' }));
    return positions.reduce((sum, one) => sum + (one.lag ?? 0), 0);
  };
  const stored = (topic: string): StoredRecord[] => broker.records(topic);
  return { bus, broker, clock, life, transport, during, until, failure, lag, stored };
}

const LIMIT_MS = 600_000;
