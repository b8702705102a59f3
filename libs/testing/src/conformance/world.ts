/** What a case of the suite gets: transports on one broker, fresh names, patience, and members that watch the contract by themselves. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import type { BusRecord, Capabilities, PublishOutcome, StoredRecord, TopicOptions, Transport } from '@event-bus/core';
import { joinGroup, type Member, type MemberOptions } from './member.js';

/** One promise. `name` is its wording in docs/reference/guarantees.md. */
export interface Case {
  readonly name: string;
  /** Capabilities without which the promise is not made. */
  readonly needs?: readonly (keyof Capabilities)[];
  /** Faults without which it cannot be tried. */
  readonly faults?: readonly (keyof ConformanceFaults)[];
  /** The smallest `maxRecordBytes` that makes sense of it. */
  readonly recordBytes?: number;
  /** It looks at the whole process, so it is run once at a time, also under stress. Default false. */
  readonly isAlone?: boolean;
  readonly run: (world: World) => Promise<void>;
}

export interface Chapter {
  readonly name: string;
  readonly cases: readonly Case[];
}

/** What the place where the suite runs can do to the broker. All are optional; without one its cases are skipped, in print. */
export interface ConformanceFaults {
  /** Breaks every connection once; new ones are possible at once. */
  readonly cut?: () => Promise<void>;
  /** Nothing passes, nothing is answered, until the function is called that this resolves with. */
  readonly blackHole?: () => Promise<() => Promise<void>>;
  /** Stops the broker and starts it again with its data. */
  readonly restartBroker?: () => Promise<void>;
  /** A transport whose broker is not there. */
  readonly unreachable?: () => Transport;
  /** Retention: forgets all records of a partition before an offset. */
  readonly deleteBefore?: (topic: string, partition: number, offset: string) => Promise<void>;
  /** The schema registry does not answer, until the function is called that this resolves with. */
  readonly registryDown?: () => Promise<() => Promise<void>>;
}

export interface World {
  readonly capabilities: Capabilities;
  readonly faults: Required<ConformanceFaults>;
  /** How long anything may take before the case fails. */
  readonly patienceMs: number;
  /** How long a silent member stays in its group. */
  readonly sessionMs: number;
  /** A transport on the broker, not opened; closed when the case ends. */
  make(): Transport;
  /** The same, opened. */
  open(): Promise<Transport>;
  /** A name that nobody has used. */
  name(kind: string): string;
  /** A fresh topic, made. */
  topic(transport: Transport, options?: TopicOptions): Promise<string>;
  join(transport: Transport, options: MemberOptions): Promise<Member>;
  /** Something to wait for until it is opened; opened when the case ends. */
  gate(): Gate;
  /** Is called when the case ends, before the transports are closed. */
  cleanup(end: () => Promise<void>): void;
  /** Waits until `check` answers true; fails with what it waited for. */
  eventually(check: () => boolean | Promise<boolean>, what: () => string): Promise<void>;
}

export interface Gate {
  readonly opened: Promise<void>;
  open(): void;
}

export interface WorldOptions {
  readonly open: () => Transport;
  readonly faults: ConformanceFaults;
  readonly patienceMs: number;
  readonly sessionMs: number;
}

/** Runs one case in a world of its own and cleans up behind it, whatever happened. */
export async function inWorld(options: WorldOptions, run: (world: World) => Promise<void>): Promise<void> {
  const transports: Transport[] = [];
  const members: Member[] = [];
  const gates: Gate[] = [];
  const cleanups: (() => Promise<void>)[] = [];
  const id = randomUUID().slice(0, 8);
  let names = 0;

  const world: World = {
    capabilities: options.open().capabilities,
    faults: options.faults as Required<ConformanceFaults>,
    patienceMs: options.patienceMs,
    sessionMs: options.sessionMs,
    make() {
      const transport = options.open();
      transports.push(transport);
      return transport;
    },
    async open() {
      const transport = world.make();
      await transport.open();
      return transport;
    },
    name: (kind) => `${kind}-${id}-${++names}`,
    async topic(transport, topicOptions = { partitions: 4 }) {
      const { topic } = await transport.ensureTopic(world.name('course'), topicOptions);
      return topic;
    },
    async join(transport, memberOptions) {
      const member = await joinGroup(transport, memberOptions);
      members.push(member);
      return member;
    },
    gate() {
      let open = () => {};
      const gate: Gate = { opened: new Promise((resolve) => (open = resolve)), open: () => open() };
      gates.push(gate);
      return gate;
    },
    cleanup: (end) => void cleanups.push(end),
    eventually: (check, what) => eventually(options.patienceMs, check, what),
  };
  try {
    await run(world);
  } finally {
    for (const gate of gates) gate.open();
    await Promise.all(cleanups.map((end) => end()));
    await Promise.all(transports.map((transport) => transport.close()));
  }
  for (const member of members) assert.deepEqual(member.violations, []);
}

export async function eventually(
  patienceMs: number,
  check: () => boolean | Promise<boolean>,
  what: () => string,
): Promise<void> {
  const end = performance.now() + patienceMs;
  while (!(await check())) {
    if (performance.now() > end) assert.fail(`Waited ${patienceMs} ms in vain: ${what()}.`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A record whose value says who it is. */
export function record(key: string | null, n: number): BusRecord {
  return { key: key === null ? null : Buffer.from(key), value: Buffer.from(`${key}:${n}`), headers: [] };
}

/** Publishes and insists that everything was stored. */
export async function publish(transport: Transport, topic: string, records: readonly BusRecord[]): Promise<Stored[]> {
  return stored(await transport.publish(topic, records));
}

type Stored = Extract<PublishOutcome, { status: 'stored' }>;

export function stored(outcomes: readonly PublishOutcome[]): Stored[] {
  for (const outcome of outcomes)
    assert.equal(outcome.status, 'stored', 'error' in outcome ? String(outcome.error) : '');
  return outcomes as Stored[];
}

/** The values of records, as text. */
export const valuesOf = (records: readonly StoredRecord[]): string[] =>
  records.map(({ value }) => Buffer.from(value!).toString());

/** The numbers of the records of one key, in the order in which they came. */
export function numbersOf(records: readonly StoredRecord[], key: string): number[] {
  return valuesOf(records)
    .filter((value) => value.startsWith(`${key}:`))
    .map((value) => Number(value.slice(key.length + 1)));
}

export const range = (count: number): number[] => Array.from({ length: count }, (_, n) => n);

export async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

/** Asserts that every place came once. */
export function assertOnce(records: readonly StoredRecord[]): void {
  const places = records.map(({ topic, partition, offset }) => `${topic}/${partition}/${offset}`);
  const again = places.filter((place, index) => places.indexOf(place) !== index);
  assert.deepEqual(again, [], 'handed over more than once');
}
