/** The suite itself is tested on transports that break one promise each. */
import type { Batch, Receiver, Subscription, Transport } from '@event-bus/core';
import { expect, test } from 'vitest';
import { conformance, conformanceCases, type ConformanceFaults } from './conformance.js';
import { simulatedBroker, type SimulatedTransport } from './simulated.js';

/** Collects what the suite registers, to run one case by its name. */
function collect(open: () => Transport, faults: ConformanceFaults = {}, patienceMs = 10_000) {
  const cases = new Map<string, () => Promise<void>>();
  const skipped: string[] = [];
  const register = Object.assign((name: string, run: () => Promise<void>) => void cases.set(name, run), {
    skip: (name: string) => void skipped.push(name),
  });
  conformance(register, { name: 'wrong', open, faults, patienceMs, sessionMs: 300 });
  return { run: (name: string) => cases.get(`wrong ${name}`)!(), cases, skipped };
}

type Wrong = (right: Transport) => Partial<Transport>;

/** Changes the receiver that is handed to the right transport, or the subscription that comes back. */
function subscribing(change: {
  readonly receiver?: (receiver: Receiver) => Partial<Receiver>;
  readonly subscription?: (subscription: Subscription) => Partial<Subscription>;
}): Wrong {
  return (right) => ({
    async subscribe(options, receiver) {
      const subscription = await right.subscribe(options, { ...receiver, ...change.receiver?.(receiver) });
      return { ...subscription, ...change.subscription?.(subscription) };
    },
  });
}

const changedBatch = (change: (batch: Batch) => Batch | undefined): Wrong =>
  subscribing({
    receiver: (receiver) => ({
      async receive(batch) {
        const changed = change(batch);
        if (changed !== undefined) await receiver.receive(changed);
      },
    }),
  });

const seen = new Set<string>();

test.each<[string, Wrong, string]>([
  [
    'drops a header',
    changedBatch((batch) => ({
      ...batch,
      records: batch.records.map((each) => ({ ...each, headers: each.headers.slice(1) })),
    })),
    'delivery: a record arrives with key, bytes and headers unchanged',
  ],
  [
    'hands a record over twice',
    changedBatch((batch) => ({ ...batch, records: batch.records.flatMap((each) => [each, each]) })),
    'delivery: nothing arrives twice when nothing failed',
  ],
  [
    'loses one record',
    changedBatch((batch) => {
      const isFirst = batch.records.length > 0 && !seen.has(batch.topic);
      seen.add(batch.topic);
      return isFirst ? { ...batch, records: batch.records.slice(1) } : batch;
    }),
    'order: records of one key arrive in order',
  ],
  [
    'turns batches round',
    changedBatch((batch) => ({ ...batch, records: [...batch.records].reverse() })),
    'order: a batch comes from one partition, and offsets rise in it',
  ],
  [
    'takes records over the limit',
    (right) => ({
      publish: async (_, records) => records.map(() => ({ status: 'stored', partition: 0, offset: '0' })),
      close: right.close,
    }),
    'delivery: a record over the limit is refused before sending',
  ],
  [
    'says stored and stores nothing',
    () => ({
      publish: async (_, records) => records.map((__, n) => ({ status: 'stored', partition: 0, offset: String(n) })),
    }),
    'publish: publish resolves with partition and offset of every record',
  ],
  [
    'does not wait for the receiver',
    subscribing({ receiver: (receiver) => ({ receive: (batch) => void receiver.receive(batch) }) }),
    'flow: no batch is handed over while the receiver is busy',
  ],
  [
    'does not wait for revoking',
    subscribing({
      receiver: (receiver) => ({
        async revoking(partitions, gone) {
          void receiver.revoking(partitions, gone);
        },
      }),
    }),
    'groups: revoking is called before a partition leaves, and awaited',
  ],
  [
    'forgets to call revoking',
    subscribing({ receiver: () => ({ revoking: async () => {} }) }),
    'groups: a member that joins gets a share, one that leaves gives it back',
  ],
  [
    'takes late commits',
    subscribing({ subscription: () => ({ commit: async (commits) => commits.map(() => 'committed' as const) }) }),
    'groups: a late commit of an old owner is refused',
  ],
  [
    'commits nothing',
    subscribing({ subscription: () => ({ commit: async (commits) => commits.map(() => 'committed' as const) }) }),
    'commit: a restarted member goes on after the last commit',
  ],
  [
    'forgets what was finished ahead',
    subscribing({
      subscription: (subscription) => ({
        commit: (commits) => subscription.commit(commits.map((commit) => ({ ...commit, ahead: [] }))),
      }),
    }),
    'commit: records finished ahead do not run again',
  ],
  [
    'calls unknown lag 0',
    (right) => ({
      positions: async (options) => (await right.positions(options)).map((each) => ({ ...each, lag: each.lag ?? 0 })),
    }),
    'positions: unknown lag is undefined, never 0',
  ],
  [
    'starts every new group at the earliest record',
    (right) => ({ subscribe: (options, receiver) => right.subscribe({ ...options, from: 'earliest' }, receiver) }),
    'groups: a new group starts at the latest record when told, and keeps that place',
  ],
  [
    'takes a time for the earliest record',
    (right) => ({
      subscribe: ({ from = 'earliest', ...options }, receiver) =>
        right.subscribe({ ...options, from: typeof from === 'object' ? 'earliest' : from }, receiver),
    }),
    'groups: a new group starts at a time when told, and behind the last record when that is still to come',
  ],
  [
    'forgets when records were stored',
    changedBatch((batch) => ({ ...batch, records: batch.records.map((each) => ({ ...each, timestamp: 0 })) })),
    'delivery: a record arrives with key, bytes and headers unchanged',
  ],
  [
    'goes one record too far with a batch',
    changedBatch((batch) => ({ ...batch, next: String(Number(batch.next) + 1) })),
    'positions: lag is 0 only when nothing is left',
  ],
  [
    'turns the answers of a publish round',
    (right) => ({ publish: async (...args) => [...(await right.publish(...args))].reverse() }),
    'publish: publish resolves with partition and offset of every record',
  ],
  [
    'stores what it was handed twice',
    (right) => ({
      async publish(topic, records, options) {
        await right.publish(topic, records.slice(0, 1), options);
        return right.publish(topic, records, options);
      },
    }),
    'order: records of one key arrive in order',
  ],
  [
    'overlooks another partition count',
    (right) => ({
      ensureTopic: (topic, options) =>
        right.ensureTopic(topic, options).catch(() => ({ topic, partitions: options!.partitions! })),
    }),
    'topics: another partition count is refused',
  ],
  [
    'stops without waiting',
    subscribing({ subscription: (subscription) => ({ stop: async () => void subscription.stop() }) }),
    'seek: a stopped group goes to an offset, the start or the end, and its next start obeys',
  ],
  [
    'moves all partitions instead of one',
    (right) => ({ seek: ({ partition: _partition, ...options }) => right.seek(options) }),
    'seek: one partition is moved alone when told',
  ],
  [
    'never says that a revoke took too long',
    subscribing({
      receiver: (receiver) => ({
        revoking: (partitions) => receiver.revoking(partitions, new AbortController().signal),
      }),
    }),
    'groups: a revoke that takes too long is told so, and does not hold the group',
  ],
  [
    'reads on after it is aborted',
    (right) => ({ read: ({ signal: _signal, ...options }) => right.read(options) }),
    'read: reading that follows goes on, until it is aborted',
  ],
  [
    'never says that trouble is over',
    subscribing({
      receiver: (receiver) => ({ trouble: (error) => void (error !== undefined && receiver.trouble(error)) }),
    }),
    'failure: a black hole is noticed, and left when it ends',
  ],
  [
    'leaves a timer behind',
    (right) => ({
      async close() {
        setTimeout(() => {}, 2_000);
        await right.close();
      },
    }),
    'close: no timer or socket stays behind',
  ],
  ['moves running groups', () => ({ seek: async () => {} }), 'seek: a running group is not moved'],
  [
    'seeks to anywhere',
    () => ({ seek: async () => {} }),
    'seek: a seek to a partition that is not there, to an offset without its partition, or behind the end is refused',
  ],
  [
    'reads nothing of a partition that is not there',
    () => ({ read: async function* () {} }),
    'read: reading a partition that is not there, or from an offset that is not in the log, is refused',
  ],
  [
    'jumps silently over what retention took',
    subscribing({ receiver: () => ({ lost: () => {} }) }),
    'retention: a position before the start of the log is loud, with the exact range',
  ],
  [
    'publishes after its close',
    () => ({ close: async () => {} }),
    'close: publishing after the close is refused by code',
  ],
])('a transport that %s is noticed', async (_, wrong, name) => {
  const broker = simulatedBroker({ sessionTimeoutMs: 300, batchRecords: 10 });
  const opened: SimulatedTransport[] = [];
  const open = (change: Wrong) => () => {
    const right = broker.transport();
    opened.push(right);
    return { ...right, ...change(right) };
  };
  const faults: ConformanceFaults = {
    async blackHole() {
      const held = [...opened];
      for (const transport of held) transport.cut();
      return async () => held.forEach((transport) => transport.mend());
    },
    deleteBefore: async (topic, partition, offset) => broker.deleteBefore(topic, partition, offset),
  };

  await expect(collect(open(wrong), faults, 400).run(name)).rejects.toThrow();
  await collect(
    open(() => ({})),
    faults,
  ).run(name);
});

test('cases are skipped for what a transport cannot do and for faults that were not passed in, and say so', () => {
  const right = simulatedBroker().transport();
  const weak = { ...right, capabilities: { ...right.capabilities, fenced: false, maxRecordBytes: 1_000 } };
  const { skipped, cases } = collect(() => weak);
  expect(skipped).toContain(
    'wrong groups: a late commit of an old owner is refused (its capabilities say fenced: false)',
  );
  expect(skipped).toContain('wrong delivery: a record of 1 MB survives (its capabilities say maxRecordBytes: 1000)');
  expect(skipped).toContain('wrong failure: a cut connection loses nothing (the fault "cut" was not passed in)');
  expect(skipped.length + cases.size).toBe(conformanceCases.length + 1);
});

test('every promise has a name of its own', () => {
  expect(new Set(conformanceCases).size).toBe(conformanceCases.length);
});
