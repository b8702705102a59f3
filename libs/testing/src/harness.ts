/**
 * For the tests of an app: a bus that is real down to the transport, a way to wait until nothing is left to do, and what came of every
 * event. On the simulated transport no test waits for a retry: time passes by itself while `quiet` waits.
 */
import {
  createBus,
  signals,
  systemClock,
  type Bus,
  type BusEnvironment,
  type BusErrorCode,
  type BusOptions,
  type BusStatus,
  type EventMetadata,
  type PublishedFact,
  type Transport,
} from '@event-bus/core';
import { seededRandom } from './seeded-random.js';
import { simulatedBroker } from './simulated.js';
import { virtualClock, type VirtualClock } from './virtual-clock.js';

/** Time that passes only when it is told to, and chance from a seed. */
export type VirtualEnvironment = Required<Pick<BusEnvironment, 'clock' | 'random'>>;

export interface HarnessOptions {
  /**
   * Default: simulated, in virtual time. Another one runs in real time, for example a temporary embedded log. A function makes one for each bus, on the
   * virtual time it is given: `(environment) => simulated({ ...environment, partitions: 1 })`.
   */
  readonly transport?: Transport | ((environment: VirtualEnvironment) => Transport);
  /** Of the chances in the bus: jitter of retries, partitions of records without a key. Default 1. */
  readonly seed?: number;
  /** The virtual wall clock at the start, in milliseconds since 1970. Default: now. */
  readonly startMs?: number;
  /**
   * How long a running handler may take before virtual time passes under it, in milliseconds of real time. A handler that awaits a
   * database must not time out only because virtual time is fast. Default 2 000.
   */
  readonly handlerPatienceMs?: number;
}

/** What came of one attempt of one handler, or of a record that no handler got. */
export interface Outcome {
  readonly type: 'handled' | 'retrying' | 'dead' | 'skipped' | 'interrupted';
  /** `undefined`: it concerns all handlers of the group. */
  readonly handler: string | undefined;
  readonly group: string;
  /** `undefined`: the record was not readable, or nobody wanted it. */
  readonly event: EventMetadata | undefined;
  readonly topic: string;
  /** Attempts so far; 0 when none was made. */
  readonly attempt: number;
  readonly error?: unknown;
  /** Of a dead letter. */
  readonly reason?: BusErrorCode;
  /** Of a skipped record. */
  readonly rule?: string;
}

/** What the harness needs of a bus. */
export type WatchedBus = Pick<Bus, 'name' | 'instance' | 'transport' | 'status'>;

export interface Harness {
  /** One for one more bus; by default all are on one broker. Throws when the harness was given the only one. */
  transport(): Transport;
  /** The second argument of `createBus`. */
  readonly environment: BusEnvironment;
  /** Makes a bus on this harness and watches it. Handlers are added and the bus is started as always. */
  bus(options: Omit<BusOptions, 'transport'>): Bus;
  /** Watches a bus that was made elsewhere with a `transport()` and the `environment`. */
  watch(bus: WatchedBus): void;
  /**
   * Resolves when everything that was sent is settled by every handler, committed, and no retry is due. Rejects with what is left after
   * `limitMs` (default: an hour of virtual time, or 30 s of real time), and at once when a bus that has sent something has not started.
   */
  quiet(limitMs?: number): Promise<void>;
  /** Settles as `promise` does, and lets virtual time pass until then: `waitFor(bus.close())` ends a handler that never settles. */
  waitFor<T>(promise: Promise<T>): Promise<T>;
  /** Lets virtual time pass; without it, real time. */
  advance(ms: number): Promise<void>;
  readonly sent: readonly PublishedFact[];
  /** In the order in which they came; of one handler when given. */
  outcomes(handler?: string): readonly Outcome[];
  handled(handler?: string): readonly Outcome[];
  retried(handler?: string): readonly Outcome[];
  deadLetters(handler?: string): readonly Outcome[];
  /** Forgets what came so far. */
  clear(): void;
  /** Stops hearing. Close the buses first. */
  close(): void;
}

export function harness(options: HarnessOptions = {}): Harness {
  const { seed = 1, startMs = Date.now(), handlerPatienceMs = 2_000 } = options;
  const random = seededRandom(seed);
  const clock = typeof options.transport === 'object' ? undefined : virtualClock(seed, { soon: 'real', startMs });
  const environment: BusEnvironment = clock === undefined ? { random } : { clock, random };
  const transport = transportsOf(options.transport, { clock: clock ?? systemClock, random });
  const buses = new Set<WatchedBus>();
  const watched = new Set<symbol>();
  const sent: PublishedFact[] = [];
  const outcomes: Outcome[] = [];
  const running = new Map<string, number>();

  const hear = <Fact extends { readonly instance: symbol }>(
    signal: { subscribe(hear: (fact: Fact) => void): () => void },
    act: (fact: Fact) => void,
  ) => signal.subscribe((fact) => void (watched.has(fact.instance) && act(fact)));
  const ended = (type: Outcome['type'], fact: EndedFact) => {
    running.delete(runOf(fact));
    outcomes.push({
      type,
      handler: fact.handler,
      group: fact.group,
      event: fact.event,
      topic: fact.topic,
      attempt: fact.attempt ?? fact.attempts ?? 0,
      ...('error' in fact ? { error: fact.error } : {}),
      ...(fact.reason === undefined ? {} : { reason: fact.reason }),
      ...(fact.rule === undefined ? {} : { rule: fact.rule }),
    });
  };
  const unsubscribe = [
    hear(signals.published, (fact) => sent.push(fact)),
    hear(signals.delivered, (fact) => running.set(runOf(fact), realMs())),
    hear(signals.handled, (fact) => ended('handled', fact)),
    hear(signals.retrying, (fact) => ended('retrying', fact)),
    hear(signals.dead, (fact) => ended('dead', fact)),
    hear(signals.skipped, (fact) => ended('skipped', fact)),
    hear(signals.interrupted, (fact) => ended('interrupted', fact)),
  ];

  const watch = (bus: WatchedBus) => {
    buses.add(bus);
    watched.add(bus.instance);
  };
  const of = (type?: Outcome['type']) => (handler?: string) =>
    outcomes.filter(
      (each) => (type === undefined || each.type === type) && (handler === undefined || each.handler === handler),
    );

  const time = timeOf({ clock, running, handlerPatienceMs });

  return {
    transport,
    environment,
    bus(busOptions) {
      const bus = createBus({ ...busOptions, transport: transport() }, environment);
      watch(bus);
      return bus;
    },
    watch,
    async quiet(limitMs = clock === undefined ? 30_000 : 3_600_000) {
      const end = time.now() + limitMs;
      for (;;) {
        await turn();
        refuseUnstarted(buses, sent);
        const left = await whatIsLeft(buses);
        if (left.length === 0 && running.size === 0) return;
        if (time.now() > end)
          throw new Error(`Not quiet after ${limitMs} ms: ${left.join('; ') || `${running.size} handlers run`}.`);
        await time.pass();
      }
    },
    async waitFor(promise) {
      let isPending = true;
      const settle = () => void (isPending = false);
      promise.then(settle, settle);
      for (await turn(); isPending; await turn()) await time.pass();
      return promise;
    },
    advance: (ms) => (clock === undefined ? sleep(ms) : clock.advance(ms)),
    sent,
    outcomes: of(),
    handled: of('handled'),
    retried: of('retrying'),
    deadLetters: of('dead'),
    clear() {
      sent.length = 0;
      outcomes.length = 0;
    },
    close: () => unsubscribe.forEach((end) => end()),
  };
}

function transportsOf(given: HarnessOptions['transport'], environment: VirtualEnvironment): () => Transport {
  if (typeof given === 'function') return () => given(environment);
  if (given === undefined) {
    const broker = simulatedBroker(environment);
    return () => broker.transport();
  }
  let isTaken = false;
  return () => {
    if (isTaken)
      throw new Error('A transport belongs to one bus, and there is another; give a function that makes them.');
    isTaken = true;
    return given;
  };
}

interface EndedFact {
  readonly group: string;
  readonly handler: string | undefined;
  readonly event?: EventMetadata | undefined;
  readonly topic: string;
  readonly partition: number;
  readonly offset: string;
  readonly attempt?: number;
  readonly attempts?: number;
  readonly error?: unknown;
  readonly reason?: BusErrorCode;
  readonly rule?: string;
}

const runOf = ({ group, handler, topic, partition, offset }: EndedFact): string =>
  [group, handler, topic, partition, offset].join('\n');

interface TimeParts {
  readonly clock: VirtualClock | undefined;
  readonly running: ReadonlyMap<string, number>;
  readonly handlerPatienceMs: number;
}

/** The time in which a harness waits. */
function timeOf({ clock, running, handlerPatienceMs }: TimeParts) {
  const isAtWork = () => [...running.values()].some((since) => realMs() - since < handlerPatienceMs);
  return {
    now: () => (clock === undefined ? realMs() : clock.monotonic()),
    /** Fires the next timer, or waits a little for what does not go by virtual time. */
    async pass(): Promise<void> {
      if (clock === undefined || isAtWork()) return sleep(2);
      let asked = 0;
      if (await clock.run(() => asked++ > 0)) return;
      // Nothing here waits for time; what is waited for is outside of it, and not waited for without end.
      await sleep(2);
      await clock.advance(10_000);
    },
  };
}

function refuseUnstarted(buses: ReadonlySet<WatchedBus>, sent: readonly PublishedFact[]): void {
  for (const bus of buses) {
    const { state } = bus.status();
    const isSender = sent.some(({ instance }) => instance === bus.instance);
    if (!isSender || (state !== 'new' && state !== 'open')) continue;
    throw new Error(
      `The bus "${bus.name}" has not started, so nothing of what it sent is handled; await its start() first.`,
    );
  }
}

async function whatIsLeft(buses: ReadonlySet<WatchedBus>): Promise<string[]> {
  const left: string[] = [];
  for (const bus of buses) {
    const { state, buffered, consumers } = bus.status();
    if (buffered.records > 0) left.push(`${buffered.records} records are being sent`);
    if (state !== 'started') continue;
    for (const consumer of consumers) left.push(...(await ofConsumer(bus, consumer)));
  }
  return left;
}

async function ofConsumer(bus: WatchedBus, consumer: BusStatus['consumers'][number]): Promise<string[]> {
  const { group, topics, inFlight, retrying, pausedHandlers, brokenHandlers } = consumer;
  if (inFlight > 0) {
    const waits = [
      ...pausedHandlers.map((id) => `${id} is switched off`),
      ...brokenHandlers.map((id) => `the breaker of ${id} is open`),
    ];
    const why = waits.length === 0 ? '' : ` (${waits.join(', ')})`;
    return [`group ${group} has ${inFlight} records in hand, ${retrying} keys wait for a retry${why}`];
  }
  const left: string[] = [];
  for (const topic of topics) {
    for (const { partition, start, end, committed, lag } of await bus.transport.positions({ topic, group })) {
      if (start === end && committed === undefined) continue;
      if (lag === 0 || committed === end) continue;
      left.push(`group ${group} has not finished partition ${partition} of ${topic}`);
    }
  }
  return left;
}

// As they are when this file loads: a test may put fake timers in their place.
const { setImmediate, setTimeout } = globalThis;
const realMs = performance.now.bind(performance);
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
