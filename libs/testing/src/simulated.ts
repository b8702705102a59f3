/**
 * A transport that lives in memory and keeps the whole contract: partitions, groups, rebalances, fences, positions, retention. It runs on
 * the clock and the random numbers it is given, and can be made to fail on command. One broker has many transports: each is the
 * connection of one process.
 */
import {
  systemClock,
  systemRandom,
  type Clock,
  type Codec,
  type Random,
  type StoredRecord,
  type Transport,
} from '@event-bus/core';
import { jsonCodec } from './json-codec.js';
import { memoryGroups, type GroupFact } from './simulated/groups.js';
import { link } from './simulated/link.js';
import { memoryLog } from './simulated/log.js';
import { transport } from './simulated/transport.js';

export interface SimulatedOptions {
  readonly clock?: Clock;
  readonly random?: Random;
  /** Of a topic that is made without saying how many. Default 8. */
  readonly partitions?: number;
  readonly codec?: () => Codec;
  /** Default 1 MiB. */
  readonly maxRecordBytes?: number;
  /** A member that was not heard of for so long is out of its group. Default 10 000. */
  readonly sessionTimeoutMs?: number;
  /** How partitions change hands. Default `cooperative`. */
  readonly protocol?: 'eager' | 'cooperative';
  /** Largest batch; each is of a random size up to it. Default 100. */
  readonly batchRecords?: number;
  /** How many offsets to leave out before the next record. Default none. */
  readonly hole?: () => number;
  /** Hears what the broker knows and no process does. */
  readonly observe?: (fact: BrokerFact) => void;
}

/** What goes wrong, asked each time. All may be set and taken away while the broker runs. */
export interface SimulatedFaults {
  /** How long one crossing between process and broker takes. Default 0. */
  latencyMs?: (() => number) | undefined;
  /**
   * `refused`: not stored, and said so. `lost`: not stored, no answer. `unanswered`: stored, no answer. `doubled`: stored, and once
   * more a little later.
   */
  publish?:
    | ((write: {
        readonly topic: string;
        readonly partition: number;
        readonly records: number;
      }) => 'refused' | 'lost' | 'unanswered' | 'doubled' | undefined)
    | undefined;
  /** `refused`: answered with `later`. `unanswered`: applied, and answered with `later`. */
  commit?:
    | ((commit: {
        readonly group: string;
        readonly topic: string;
        readonly partition: number;
      }) => 'refused' | 'unanswered' | undefined)
    | undefined;
}

/** A record is in the log, or something happened to a group. */
export type BrokerFact = { readonly type: 'stored'; readonly record: StoredRecord } | GroupFact;

export interface SimulatedTransport extends Transport {
  /** Nothing crosses until `mend`; what was on its way arrives then. */
  cut(): void;
  mend(): void;
  /** The process behind this transport is gone: it is not heard of again, and hears nothing. Stop its clock as well. */
  kill(): void;
}

export interface SimulatedBroker {
  /** A connection for one process, on the process's own clock when it has one. The name is for what is observed. */
  transport(process?: { readonly name?: string; readonly clock?: Clock }): SimulatedTransport;
  readonly faults: SimulatedFaults;
  /** Retention: forgets all records of a partition before an offset. */
  deleteBefore(topic: string, partition: number, offset: string): void;
  /** Takes every partition of a group from its owner once. */
  rebalance(group: string): void;
  /** What is stored now, partition by partition. */
  records(topic: string): StoredRecord[];
}

/** A broker of its own for one transport: enough where one process is tested. */
export function simulated(options: SimulatedOptions = {}): SimulatedTransport {
  return simulatedBroker(options).transport();
}

export function simulatedBroker(options: SimulatedOptions = {}): SimulatedBroker {
  const {
    clock = systemClock,
    random = systemRandom,
    partitions = 8,
    codec = jsonCodec,
    maxRecordBytes = 2 ** 20,
    sessionTimeoutMs = 10_000,
    protocol = 'cooperative',
    batchRecords = 100,
    hole = () => 0,
    observe = () => {},
  } = options;
  const faults: SimulatedFaults = {};
  const log = memoryLog(hole, (record) => observe({ type: 'stored', record }));
  const groups = memoryGroups({ log, clock, protocol, observe });

  return {
    faults,
    transport(process = {}) {
      const { name = 'process', clock: processClock = clock } = process;
      const connection = link({ brokerClock: clock, processClock, latencyMs: () => faults.latencyMs?.() ?? 0 });
      const { cut, mend, kill } = connection;
      const parts = { random, log, groups, faults, partitions, maxRecordBytes, sessionTimeoutMs, batchRecords };
      return {
        ...transport({
          ...parts,
          process: name,
          clock: processClock,
          brokerClock: clock,
          codec: codec(),
          link: connection,
        }),
        cut,
        mend,
        kill,
      };
    },
    deleteBefore: (topic, partition, offset) => log.deleteBefore(topic, partition, Number(offset)),
    rebalance: groups.rebalance,
    records: (topic) =>
      Array.from(
        { length: log.partitions(topic) },
        (_, partition) => log.fetch(topic, partition, 0, Infinity).records,
      ).flat(),
  };
}

export type { GroupFact };
