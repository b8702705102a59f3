/**
 * One seed makes one world: a broker, processes that send and handle, and everything that goes wrong with them. The core is the real one;
 * only time, chance and the broker are simulated. First come the faults, then a healthy world in which everything must finish. What
 * happened is a history, and the checker of `@event-bus/testing` says whether it kept the promises.
 */
import {
  checkHistory,
  jsonCodec,
  seededRandom,
  simulatedBroker,
  virtualClock,
  type BrokerFact,
  type HistoryFact,
  type HistoryLine,
  type SimulatedTransport,
  type Verdict,
  type VirtualProcess,
} from '@event-bus/testing';
import type {
  Bus,
  Clock,
  Codec,
  DeliveryContext,
  Random,
  Receiver,
  StoredRecord,
  TopicPartition,
  Transport,
} from '@event-bus/core';

export type Core = typeof import('@event-bus/core');

/** States that are rare and dangerous. A run of many seeds that never reached one of them proved nothing about it. */
export const STATES = [
  'revoke with work in flight',
  'retry waiting at a revoke',
  'dead-letter write refused',
  'dead-letter write without an answer',
  'commit lost after success',
  'commit fenced',
  'lease lapsed under a handler',
  'process killed with work in flight',
  'breaker opened',
  'handler timed out',
  'handler interrupted',
  'handler switched off with records waiting',
  'finished ahead at a take-over',
  'records lost to retention',
  'send refused',
  'send without an answer',
  'record stored twice',
  'buffer full',
  'record waiting for its schema',
  'record waiting for a registry that is away',
  'send waiting for its schema',
  'in hand up to the bound',
  'running up to the bound',
  'event without a key',
] as const;

export type State = (typeof STATES)[number];

/** What the history alone does not tell. */
export interface Observation {
  /**
   * `overfull`: more in hand, or running, than the options allow. `usurped`: an attempt began in a partition that belongs to somebody else,
   * or is leaving. `crowded`: two commits of one group under way at once. `belated`: a handler began after its attempt was over.
   */
  readonly verdict: 'overfull' | 'usurped' | 'crowded' | 'belated';
  readonly text: string;
}

export interface Simulation {
  readonly seed: number;
  readonly verdicts: readonly (Verdict | Observation)[];
  readonly reached: ReadonlySet<State>;
  readonly history: readonly HistoryLine[];
  readonly steps: number;
}

export async function simulate(seed: number, core: Core): Promise<Simulation> {
  const world = makeWorld(seed, core);
  let isOver = false;
  let failure: unknown;
  world.run().then(
    () => (isOver = true),
    (error: unknown) => {
      failure = error;
      isOver = true;
    },
  );
  await world.clock.run(() => isOver || world.clock.steps > MOST_STEPS, { limitMs: 2_000_000 });
  world.end();
  if (failure !== undefined) throw failure;
  if (!isOver) throw new Error(`The world of seed ${seed} did not end within ${world.clock.steps} steps.`);
  const { history, reached, limits, observations } = world;
  const verdicts = [...observations, ...checkHistory(history, limits)];
  return { seed, verdicts, reached, history, steps: world.clock.steps };
}

// A world takes a thousand or so; one that turns on the spot must not hang the run.
const MOST_STEPS = 500_000;

/** What a handler is about to do. */
type Fate = 'works' | 'works at once' | 'throws' | 'gives up' | 'never settles' | 'ignores its end';

interface Process {
  readonly name: string;
  readonly life: VirtualProcess;
  readonly transport: SimulatedTransport;
  readonly bus: Bus;
  isLeaving: boolean;
}

function makeWorld(seed: number, core: Core) {
  const chance = (salt: number): Random => seededRandom(Math.imul(seed + 1, 0x9e3779b1) ^ salt);
  const random = chance(1);
  const between = (low: number, high: number) => low + Math.floor(random() * (high - low + 1));
  const oneOf = <T>(items: readonly T[]): T => items[between(0, items.length - 1)]!;
  const happens = (probability: number) => random() < probability;

  const clock = virtualClock(seed);
  const history: HistoryLine[] = [];
  const reached = new Set<State>();
  const running = new Map<string, string>();
  const write = (process: string, fact: HistoryFact) => void history.push({ ...fact, at: clock.monotonic(), process });

  // Every tenth world is calm: one member, and nothing fails but handlers. There each of them has to end every event exactly once.
  const isCalm = seed % 10 === 0;
  const shape = {
    partitions: between(1, 3),
    keys: between(1, 6),
    events: between(20, 60),
    members: isCalm ? 1 : between(1, 3),
    attempts: between(1, 4),
    timeoutMs: between(400, 2_000),
    latencyMs: oneOf([0, 2, 30]),
    protocol: oneOf(['eager', 'cooperative'] as const),
    sessionTimeoutMs: between(2_000, 8_000),
    batchRecords: oneOf([1, 5, 20]),
    holes: happens(0.3) ? 0.2 : 0,
    failures: oneOf([0, 0.1, 0.4]),
    hasSearch: happens(0.3),
    schemaMs: happens(0.3) ? 200 : 0,
    hasKeyless: happens(0.5),
    poison: oneOf([0, 0.1, 0.5]),
    concurrency: between(1, 6),
    inFlight: oneOf([3, 10, 2_000]),
    commitIntervalMs: oneOf([50, 300, 1_000]),
    stopTimeoutMs: oneOf([300, 1_500, 5_000]),
    breakerAfter: oneOf([2, 5, 20]),
    buffer: oneOf([1, 4, 10_000]),
    faultsMs: between(6_000, 16_000),
  };

  const COURSE = core.defineEvent({
    type: 'org.openedx.simulation.course.changed.v1',
    data: {
      course_key: core.schema.string(),
      producer: core.schema.string(),
      seq: core.schema.long(),
      note: core.schema.string(),
    },
  });
  const OTHER = core.defineEvent({
    type: 'org.openedx.simulation.course.viewed.v1',
    data: { course_key: core.schema.string() },
  });
  /** Events without a key. In a world of one partition they are all in one order. */
  const NOTICE = core.defineEvent({
    type: 'org.openedx.simulation.notice.published.v1',
    data: {
      course_key: core.schema.string(),
      producer: core.schema.string(),
      seq: core.schema.long(),
      note: core.schema.string(),
    },
  });
  type Data = { course_key: string; producer: string; seq: number; note: string };

  const handlers = [
    { group: 'catalog', handler: 'view', topic: 'courses' },
    { group: 'catalog', handler: 'audit', topic: 'courses' },
    ...(shape.hasSearch ? [{ group: 'search', handler: 'index', topic: 'courses' }] : []),
  ];
  const groups = [...new Set(handlers.map(({ group }) => group))];

  const brokerRandom = chance(2);
  let isRegistryAway = false;
  const broker = simulatedBroker({
    clock,
    random: brokerRandom,
    partitions: shape.partitions,
    protocol: shape.protocol,
    sessionTimeoutMs: shape.sessionTimeoutMs,
    batchRecords: shape.batchRecords,
    hole: () => (brokerRandom() < shape.holes ? 1 : 0),
    observe: seen,
  });
  broker.faults.latencyMs = () => (shape.latencyMs === 0 ? 0 : brokerRandom() * shape.latencyMs);

  const processes: Process[] = [];
  const pending = new Map<string, Process>();
  const outages = new Set<string>();
  /** By group and partition, who owns it; nobody after it was given back. */
  const owners = new Map<string, string | undefined>();
  const observations: Observation[] = [];
  let isHealthy = false;
  /** By process, group and partition. */
  const leaving = new Set<string>();
  const attempts = new Set<{ readonly name: string; readonly group: string }>();
  let started = 0;
  let sent = 0;

  const unsubscribe = listen();
  const wait = (ms: number) => new Promise<void>((resolve) => clock.timer(ms, resolve));
  const limits = {
    handlers,
    attempts: shape.attempts,
    timeoutMs: shape.timeoutMs,
    maxEffects: isCalm ? 1 : Infinity,
  };

  return { clock, history, reached, limits, observations, run, end: () => unsubscribe.forEach((stop) => stop()) };

  async function run(): Promise<void> {
    disturb(undefined);
    const observer = broker.transport({ name: 'observer' });
    await observer.open();
    const studio = start('studio');
    for (let n = 0; n < shape.members; n++) start('catalog');
    const sending = send(studio);
    if (!isCalm) await chaos(studio);
    await sending;
    await heal(studio);
    await drain(observer);
    await close();
  }

  // the life of processes

  function start(service: 'studio' | 'catalog'): Process {
    const name = `${service}-${started++}`;
    const life = clock.process();
    const transport = broker.transport({ name, clock: life.clock });
    const own = chance(1_000 + started);
    const bus = core.createBus(
      {
        service,
        name: `${seed}.${name}`,
        transport: watched(name, transport, life.clock),
        routes: {
          [COURSE.type]: { courses: { keyField: 'course_key' } },
          [OTHER.type]: { courses: { keyField: 'course_key' } },
          [NOTICE.type]: { courses: {} },
        },
        events: [COURSE, OTHER, NOTICE],
        retry: core.exponential({ attempts: shape.attempts, firstMs: 50, maxMs: 1_000 }),
        timeoutMs: shape.timeoutMs,
        concurrency: shape.concurrency,
        maxInFlight: { records: shape.inFlight },
        commitIntervalMs: shape.commitIntervalMs,
        stopTimeoutMs: shape.stopTimeoutMs,
        breakerAfter: shape.breakerAfter,
        buffer: { records: shape.buffer },
        sendDeadlineMs: 3_000,
        sourceHost: 'here',
      },
      { clock: life.clock, random: own },
    );
    const process: Process = { name, life, transport, bus, isLeaving: false };
    processes.push(process);
    write(name, { type: 'up' });
    if (service === 'catalog') {
      for (const { group, handler } of handlers) {
        const run = (data: Data, context: DeliveryContext) =>
          counted(name, context, () => handle(process, own, data, context));
        bus.handle(COURSE, { id: handler, group }, run);
        bus.handle(NOTICE, { id: handler, group }, run);
      }
    }
    // A process that cannot start ends, as an app would.
    (service === 'studio' ? bus.open() : bus.start()).catch(() => kill(process));
    return process;
  }

  function kill(process: Process): void {
    if (process.life.state === 'dead') return;
    if (runsOf(process.name).length > 0) reached.add('process killed with work in flight');
    process.life.kill();
    process.transport.kill();
    for (const [what, owner] of pending) if (owner === process) pending.delete(what);
    for (const key of runsOf(process.name)) running.delete(key);
    write(process.name, { type: 'down' });
  }

  function leave(process: Process): Promise<void> {
    process.isLeaving = true;
    const what = `close of ${process.name}`;
    pending.set(what, process);
    return process.bus.close().then(() => {
      pending.delete(what);
      write(process.name, { type: 'down' });
    });
  }

  function members(): Process[] {
    return processes.filter(
      ({ name, life, isLeaving }) => name.startsWith('catalog') && life.state !== 'dead' && !isLeaving,
    );
  }

  // what handlers do

  /** An attempt lasts until its handler has settled, or its signal says that it is over. */
  async function counted(name: string, { group, signal }: DeliveryContext, run: () => Promise<void>): Promise<void> {
    if (signal.aborted) observe('belated', name, `a handler of ${group} began after its attempt was over`);
    const attempt = { name, group };
    attempts.add(attempt);
    signal.addEventListener('abort', () => attempts.delete(attempt));
    const now = [...attempts].filter((one) => one.name === name && one.group === group).length;
    if (now > shape.concurrency) observe('overfull', name, `${now} attempts at once, ${shape.concurrency} are allowed`);
    if (now === shape.concurrency && now > 1) reached.add('running up to the bound');
    try {
      await run();
    } finally {
      attempts.delete(attempt);
    }
  }

  async function handle(process: Process, own: Random, data: Data, context: DeliveryContext): Promise<void> {
    const fate = fateOf(own, context.handler);
    const pause = (ms: number) => new Promise<void>((resolve) => process.life.clock.timer(ms, resolve));
    const error = `${context.handler} failed`;
    if (fate === 'throws') {
      await pause(own() * 100);
      throw new Error(error);
    }
    if (fate === 'gives up') throw new core.NonRetryable(error);
    if (fate === 'never settles') await new Promise(() => {});
    if (fate === 'works') await pause(own() * 300);
    if (fate === 'ignores its end') await pause(shape.timeoutMs * (0.5 + 2 * own()));
    const { group, handler, topic, partition, offset } = context;
    const value = { producer: data.producer, key: data.course_key, seq: data.seq };
    write(process.name, {
      type: 'effect',
      group,
      handler,
      topic,
      partition,
      offset,
      value,
      digest: digestOf(data, context.key),
    });
  }

  function fateOf(own: Random, handler: string): Fate {
    const draw = own();
    // In a healthy world handlers fail seldom: a breaker that opens all the time is slow, not stuck.
    const failures = isHealthy ? Math.min(shape.failures, 0.05) : shape.failures;
    if (outages.has(handler)) return draw < 0.05 ? 'gives up' : 'throws';
    if (draw < failures) return 'throws';
    if (draw < failures + 0.03) return 'gives up';
    if (draw < failures + 0.05 && !isHealthy) return 'never settles';
    if (draw < failures + 0.1 && !isCalm) return 'ignores its end';
    return draw < 0.7 ? 'works' : 'works at once';
  }

  // what is sent

  async function send(studio: Process): Promise<void> {
    const seqs = new Map<string, number>();
    while (sent < shape.events) {
      for (let burst = oneOf([1, 1, 1, 8]); burst > 0 && sent < shape.events; burst--) {
        const key = isKeyless() ? NO_KEY : `course-${between(1, shape.keys)}`;
        const seq = seqs.get(key) ?? 0;
        seqs.set(key, seq + 1);
        sendOne(studio, { course_key: key, producer: studio.name, seq, note: `note ${sent++}` });
      }
      if (happens(0.1)) void studio.bus.send(OTHER, { course_key: 'course-1' }).catch(() => {});
      if (happens(shape.poison)) poison(studio);
      await wait(between(0, (2 * shape.faultsMs) / shape.events));
    }
  }

  function sendOne(studio: Process, data: Data): void {
    const value = { producer: data.producer, key: data.course_key, seq: data.seq };
    const what = `send of ${value.key}/${value.seq}`;
    const hasKey = data.course_key !== NO_KEY;
    if (!hasKey) reached.add('event without a key');
    pending.set(what, studio);
    write(studio.name, { type: 'send', value, digest: digestOf(data, hasKey ? Buffer.from(data.course_key) : null) });
    studio.bus
      .send(hasKey ? COURSE : NOTICE, data)
      .then(
        ({ records: [place] }) => write(studio.name, { type: 'sent', value, ...place! }),
        (error: { code?: string; details?: { outcome?: string } }) => {
          if (error.code === 'BUS_BUFFER_FULL') reached.add('buffer full');
          const type = error.details?.outcome === 'not-stored' ? 'refused' : 'unknown';
          reached.add(type === 'refused' ? 'send refused' : 'send without an answer');
          write(studio.name, { type, value });
        },
      )
      .finally(() => pending.delete(what));
  }

  function isKeyless(): boolean {
    return shape.hasKeyless && shape.partitions === 1 && happens(0.3);
  }

  /** Records that no codec can read. */
  function poison(studio: Process): void {
    const headers = oneOf<[string, Buffer][]>([
      [],
      [['ce_type', Buffer.from(COURSE.type)]],
      ...[1, 2, 3].map((id): [string, Buffer][] => [
        ['ce_type', Buffer.from(COURSE.type)],
        ['ce_id', Buffer.from(String(id))],
      ]),
    ]);
    const record = { key: oneOf([null, Buffer.from('course-1')]), value: Buffer.from('nonsense'), headers };
    studio.transport.publish('courses', [record]).catch(() => {});
  }

  // what goes wrong

  async function chaos(studio: Process): Promise<void> {
    const end = clock.monotonic() + shape.faultsMs;
    while (clock.monotonic() < end) {
      await wait(between(50, 1_000));
      const member = oneOf([undefined, ...members()]);
      // Without a member there is nobody to hit: one comes.
      if (member === undefined) {
        if (members().length < 4) start('catalog');
        continue;
      }
      void hit(studio, member);
    }
  }

  async function hit(studio: Process, member: Process): Promise<void> {
    const fault = oneOf([
      'kill',
      'freeze',
      'stop',
      'stop',
      'cut',
      'cut studio',
      'rebalance',
      'dead letters',
      'publish',
      'commit',
      'outage',
      'retention',
      'clock',
      'clock',
      'switch',
      'registry',
    ] as const);
    write('world', { type: 'fault-on', fault });
    const lastMs = between(200, 6_000);
    if (fault === 'kill') kill(member);
    else if (fault === 'stop') void leave(member);
    else if (fault === 'rebalance') broker.rebalance(oneOf(groups));
    else if (fault === 'clock') member.life.stepWallClock(oneOf([-3_600_000, 3_600_000]));
    else if (fault === 'retention') trim();
    else if (fault === 'freeze') {
      member.life.freeze();
      await wait(lastMs);
      member.life.thaw();
    } else if (fault === 'cut' || fault === 'cut studio') {
      const { transport } = fault === 'cut' ? member : studio;
      transport.cut();
      await wait(lastMs);
      transport.mend();
    } else if (fault === 'registry') {
      isRegistryAway = true;
      await wait(lastMs);
      isRegistryAway = false;
    } else if (fault === 'outage') {
      const { handler } = oneOf(handlers);
      outages.add(handler);
      await wait(lastMs);
      outages.delete(handler);
    } else if (fault === 'switch') {
      const { handler } = oneOf(handlers);
      member.bus.pause(handler);
      await wait(lastMs);
      if (member.bus.status().consumers.some(({ inFlight }) => inFlight > 0))
        reached.add('handler switched off with records waiting');
      member.bus.resume(handler);
    } else {
      disturb(fault);
      await wait(lastMs);
      disturb(undefined);
    }
    write('world', { type: 'fault-off', fault });
  }

  function disturb(fault: 'dead letters' | 'publish' | 'commit' | undefined): void {
    const isLetter = (topic: string) => topic.includes('-dead-');
    broker.faults.publish =
      fault === 'dead letters' || fault === 'publish'
        ? ({ topic }) => {
            if (isLetter(topic) !== (fault === 'dead letters')) return undefined;
            const draw = brokerRandom();
            const what =
              draw < 0.3
                ? 'refused'
                : draw < 0.5
                  ? 'lost'
                  : draw < 0.7
                    ? 'unanswered'
                    : draw < 0.8
                      ? 'doubled'
                      : undefined;
            if (fault === 'dead letters' && what === 'refused') reached.add('dead-letter write refused');
            if (fault === 'dead letters' && (what === 'lost' || what === 'unanswered'))
              reached.add('dead-letter write without an answer');
            if (what === 'doubled') reached.add('record stored twice');
            return what;
          }
        : undefined;
    broker.faults.commit = () => {
      const draw = brokerRandom();
      if (fault !== 'commit') return draw < 0.1 && !isCalm ? 'refused' : undefined;
      if (draw >= 0.7) return undefined;
      if (draw < 0.3) return 'refused';
      reached.add('commit lost after success');
      return 'unanswered';
    };
  }

  /** Retention overruns whoever is slow: mostly a little, sometimes everything. */
  function trim(): void {
    const partition = between(0, shape.partitions - 1);
    const records = broker.records('courses').filter((record) => record.partition === partition);
    const upTo = records[between(0, records.length - 1)];
    // Before a group has a place, what vanishes is not missed: it starts at the earliest record there is.
    const isPlaced = groups.every((group) => owners.has(`${group}/${partition}`));
    if (upTo !== undefined && happens(0.5) && isPlaced) broker.deleteBefore('courses', partition, upTo.offset);
  }

  // the healthy world

  async function heal(studio: Process): Promise<void> {
    isHealthy = true;
    isRegistryAway = false;
    disturb(undefined);
    outages.clear();
    for (const process of [studio, ...members()]) {
      process.life.thaw();
      process.transport.mend();
      for (const { handler } of handlers) if (process !== studio) process.bus.resume(handler);
    }
    for (const { life, transport } of processes) {
      life.thaw();
      transport.mend();
    }
    if (members().length === 0) start('catalog');
  }

  async function drain(observer: Transport): Promise<void> {
    const end = clock.monotonic() + 240_000;
    for (;;) {
      const left: string[] = [];
      for (const group of groups) {
        for (const { partition, end, committed, lag } of await observer.positions({ topic: 'courses', group })) {
          // Lag alone is not enough: of records that retention took, the next owner has still to be told.
          if (committed !== end)
            left.push(`${group} stands at ${committed} of partition ${partition} with ${lag} records left`);
        }
      }
      if (left.length === 0 && [...pending.keys()].every((what) => !what.startsWith('send'))) return;
      // A member that could not start while things were bad is replaced, as a process manager would.
      if (members().length === 0) start('catalog');
      if (clock.monotonic() > end) {
        for (const what of left) write('world', { type: 'undrained', what });
        return;
      }
      await wait(500);
    }
  }

  async function close(): Promise<void> {
    let isClosed = false;
    const alive = processes.filter(({ life, isLeaving }) => life.state === 'alive' && !isLeaving);
    void Promise.all(alive.map(leave)).then(() => (isClosed = true));
    const end = clock.monotonic() + 60_000;
    while (clock.monotonic() < end && (!isClosed || pending.size > 0)) await wait(500);
    for (const what of pending.keys()) write('world', { type: 'pending', what });
  }

  // what is seen

  function runsOf(process: string, topic = '', partition = -1): string[] {
    const prefix = partition < 0 ? `${process}\n` : `${process}\n${topic}/${partition}/`;
    return [...running.keys()].filter((key) => key.startsWith(prefix));
  }

  function seen(fact: BrokerFact): void {
    if (fact.type === 'stored') return stored(fact.record);
    const { process, group, topic, partition, fence: generation } = fact;
    if (fact.type === 'expired' && runsOf(process, topic, partition).length > 0)
      reached.add('lease lapsed under a handler');
    if (fact.type === 'fenced') reached.add('commit fenced');
    if (fact.type === 'released' || fact.type === 'expired') owners.set(`${group}/${partition}`, undefined);
    if (fact.type === 'assigned' || fact.type === 'committed') {
      const ahead = fact.ahead!.map(String);
      if (fact.type === 'assigned') owners.set(`${group}/${partition}`, process);
      if (fact.type === 'assigned' && ahead.length > 0) reached.add('finished ahead at a take-over');
      write(process, { type: fact.type, group, topic, partition, generation, position: String(fact.position), ahead });
    }
  }

  function stored({ topic, partition, offset, key, value, headers }: StoredRecord): void {
    const at = { topic, partition, offset };
    const data = readable(value);
    if (topic === 'courses') {
      write('broker', {
        type: 'stored',
        ...at,
        ...(data === undefined ? {} : { value: { producer: data.producer, key: data.course_key, seq: data.seq } }),
      });
      return;
    }
    const header = (name: string) => Buffer.from(headers.find(([each]) => each === name)?.[1] ?? []).toString();
    write('broker', {
      type: 'dead',
      group: header('dead-group'),
      ...(header('dead-handler') === '' ? {} : { handler: header('dead-handler') }),
      ...(data === undefined ? {} : { digest: digestOf(data, key) }),
      code: header('dead-reason'),
      attempts: Number(header('dead-attempts')),
      topic: header('dead-topic'),
      partition: Number(header('dead-partition')),
      offset: header('dead-offset'),
    });
  }

  /** How much is in hand, and in whose partition an attempt begins. */
  function inspect(name: string, { group, handler, topic, partition, offset }: PlacedRun): void {
    const what = `${handler} of ${group} began ${topic}/${partition}/${offset}, which`;
    const owner = owners.get(`${group}/${partition}`);
    if (owner !== name) observe('usurped', name, `${what} belongs to ${owner ?? 'nobody'}`);
    if (leaving.has(`${name}/${group}/${partition}`)) observe('usurped', name, `${what} is leaving`);
    const inFlight = processes
      .find((process) => process.name === name)
      ?.bus.status()
      .consumers.find((consumer) => consumer.group === group)?.inFlight;
    if (inFlight! > shape.inFlight)
      observe('overfull', name, `${inFlight} records of ${group} in hand, ${shape.inFlight} are allowed`);
    if (inFlight === shape.inFlight) reached.add('in hand up to the bound');
  }

  function observe(verdict: Observation['verdict'], name: string, text: string): void {
    observations.push({ verdict, text: `${name} at ${clock.monotonic()}: ${text}` });
  }

  /** The transport of a process, with schemas that are slow to come, and a look at what a revoke meets. */
  function watched(name: string, transport: SimulatedTransport, own: Clock): Transport {
    return {
      ...transport,
      codec: slowCodec(core, own, brokerRandom, shape.schemaMs, () => isRegistryAway, reached),
      subscribe: async (options, receiver) => {
        const { group } = options;
        const mark = (partitions: readonly TopicPartition[], isLeaving: boolean) => {
          for (const { partition } of partitions)
            leaving[isLeaving ? 'add' : 'delete'](`${name}/${group}/${partition}`);
        };
        const watching: Receiver = {
          ...receiver,
          assigned(partitions) {
            mark(partitions, false);
            receiver.assigned(partitions);
          },
          revoking(partitions, gone) {
            mark(partitions, true);
            const hasWork = partitions.some(({ topic, partition }) => runsOf(name, topic, partition).length > 0);
            if (hasWork) reached.add('revoke with work in flight');
            const own = processes.find((process) => process.name === name);
            if (own?.bus.status().consumers.some(({ retrying }) => retrying > 0) === true)
              reached.add('retry waiting at a revoke');
            return receiver.revoking(partitions, gone);
          },
        };
        const subscription = await transport.subscribe(options, watching);
        let committing = 0;
        return {
          ...subscription,
          commit(commits) {
            if (committing++ > 0) observe('crowded', name, `a commit of ${group} while another is under way`);
            return subscription.commit(commits).finally(() => committing--);
          },
        };
      },
    };
  }

  function listen(): (() => void)[] {
    const { signals } = core;
    const nameOf = (bus: string) => (bus.startsWith(`${seed}.`) ? bus.slice(`${seed}.`.length) : undefined);
    const hear = <Fact extends { readonly bus: string }>(
      signal: { subscribe(hear: (fact: Fact) => void): () => void },
      act: (name: string, fact: Fact) => void,
    ) =>
      signal.subscribe((fact) => {
        const name = nameOf(fact.bus);
        if (name !== undefined) act(name, fact);
      });
    type Ended = {
      group: string;
      handler: string | undefined;
      topic: string;
      partition: number;
      offset: string;
      error?: unknown;
      reason?: string;
      afterMs?: number;
    };
    const ended =
      (outcome: 'handled' | 'retrying' | 'dead' | 'skipped' | 'interrupted') => (name: string, fact: Ended) => {
        const { group, handler, topic, partition, offset, afterMs } = fact;
        const code = fact.reason ?? codeOf(fact.error);
        running.delete(`${name}\n${topic}/${partition}/${offset}\n${group}\n${handler}`);
        if (code === 'BUS_HANDLER_TIMEOUT') reached.add('handler timed out');
        if (outcome === 'interrupted') reached.add('handler interrupted');
        write(name, {
          type: 'settled',
          outcome,
          group,
          topic,
          partition,
          offset,
          ...(handler === undefined ? {} : { handler }),
          ...(code === undefined ? {} : { code }),
          ...(afterMs === undefined ? {} : { afterMs }),
        });
      };
    return [
      hear(signals.delivered, (name, { group, handler, topic, partition, offset, attempt }) => {
        running.set(`${name}\n${topic}/${partition}/${offset}\n${group}\n${handler}`, handler);
        inspect(name, { group, handler, topic, partition, offset });
        write(name, { type: 'delivered', group, handler, topic, partition, offset, attempt });
      }),
      hear(signals.handled, ended('handled')),
      hear(signals.retrying, ended('retrying')),
      hear(signals.dead, ended('dead')),
      hear(signals.skipped, ended('skipped')),
      hear(signals.interrupted, ended('interrupted')),
      hear(signals.paused, (_, { reason }) => void (reason === 'breaker' && reached.add('breaker opened'))),
      hear(signals.dataLoss, (name, { group, topic, partition, from, to }) => {
        reached.add('records lost to retention');
        write(name, { type: 'lost', group, topic, partition, from, to });
      }),
    ];
  }
}

interface PlacedRun extends TopicPartition {
  readonly group: string;
  readonly handler: string;
  readonly offset: string;
}

const NO_KEY = 'no key';

/** JSON, whose schemas have to be fetched now and then, from a registry that may be away. */
function slowCodec(
  core: Core,
  clock: Clock,
  random: Random,
  schemaMs: number,
  isAway: () => boolean,
  reached: Set<State>,
): Codec {
  const json = jsonCodec();
  const isKnown = () => (schemaMs === 0 && !isAway()) || random() < 0.7;
  const fetched = async () => {
    await new Promise<void>((resolve) => clock.timer(random() * schemaMs, resolve));
    if (!isAway()) return;
    reached.add('record waiting for a registry that is away');
    throw new core.BusError('BUS_REGISTRY_UNAVAILABLE', 'The registry is away.');
  };
  return {
    ...json,
    encode(...args) {
      if (isKnown()) return json.encode(...args);
      reached.add('send waiting for its schema');
      return fetched().then(() => json.encode(...args));
    },
    decode(...args) {
      if (isKnown()) return json.decode(...args);
      reached.add('record waiting for its schema');
      return fetched().then(() => json.decode(...args));
    },
  };
}

function codeOf(error: unknown): string | undefined {
  if (error === undefined) return undefined;
  return (error as { code?: string }).code ?? 'BUS_HANDLER_FAILED';
}

function digestOf(
  { course_key, note }: { readonly course_key: string; readonly note: string },
  key: Uint8Array | null,
): string {
  return `${key === null ? 'none' : Buffer.from(key).toString()} ${course_key} ${note}`;
}

function readable(
  value: Uint8Array | null,
): { producer: string; course_key: string; seq: number; note: string } | undefined {
  try {
    const data = JSON.parse(Buffer.from(value!).toString());
    return typeof data.seq === 'number' ? data : undefined;
  } catch {
    return undefined;
  }
}
