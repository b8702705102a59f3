/**
 * The transport contract and the promises of the bus as a program. Every transport passes it; whoever writes one runs it from a dozen lines:
 *
 *     conformance(test, { name: 'embedded', open: () => embedded({ path }) });
 *
 * What is skipped follows from the transport's capabilities and from the faults that were passed in, and is printed with its reason.
 */
import type { Capabilities, Transport } from '@event-bus/core';
import { busFailures } from './conformance/bus-failures.js';
import { busHandlers } from './conformance/bus-handlers.js';
import { busPublish } from './conformance/bus-publish.js';
import { busStop } from './conformance/bus-stop.js';
import { close } from './conformance/close.js';
import { commit } from './conformance/commit.js';
import { delivery } from './conformance/delivery.js';
import { failure } from './conformance/failure.js';
import { flow } from './conformance/flow.js';
import { groups } from './conformance/groups.js';
import { order } from './conformance/order.js';
import { positions } from './conformance/positions.js';
import { publishing } from './conformance/publish.js';
import { read } from './conformance/read.js';
import { redelivery } from './conformance/redelivery.js';
import { retention } from './conformance/retention.js';
import { seek } from './conformance/seek.js';
import { topics } from './conformance/topics.js';
import { volume } from './conformance/volume.js';
import { inWorld, type Case, type Chapter, type ConformanceFaults } from './conformance/world.js';

export type { ConformanceFaults };

/** The test function of the runner: `test` of Vitest, of Jest, of `node:test`. */
export interface TestFunction {
  (name: string, run: () => Promise<void>, timeoutMs?: number): unknown;
  readonly skip: (name: string, run: () => Promise<void>) => unknown;
}

export interface ConformanceOptions {
  /** Of the transport; it stands before each case's name. */
  readonly name: string;
  /**
   * Makes a transport, not opened. Every call gives another handle on the same broker or log, as another process would have it;
   * the suite closes what it opened.
   */
  readonly open: () => Transport;
  readonly faults?: ConformanceFaults;
  /** How long the suite waits for anything. Raise it where a rebalance takes seconds. Default 10 000. */
  readonly patienceMs?: number;
  /** How long the broker keeps a member that it does not hear of, as the transports are set up here. Default 5 000. */
  readonly sessionMs?: number;
  /** Runs each case so many times at once. Default 1. */
  readonly stress?: number;
}

export const chapters: readonly Chapter[] = [
  delivery,
  publishing,
  order,
  groups,
  commit,
  redelivery,
  flow,
  read,
  positions,
  seek,
  retention,
  topics,
  close,
  failure,
  volume,
  busPublish,
  busHandlers,
  busFailures,
  busStop,
];

/** The name of every promise, as `chapter: name`, in the order of the suite. */
export const conformanceCases: readonly string[] = chapters.flatMap(({ name, cases }) =>
  cases.map((each) => `${name}: ${each.name}`),
);

/** Registers every case with the runner. */
export function conformance(test: TestFunction, options: ConformanceOptions): void {
  const { name, open, faults = {}, patienceMs = 10_000, sessionMs = 5_000, stress = 1 } = options;
  const { capabilities } = open();
  const skipped: string[] = [];

  for (const chapter of chapters) {
    for (const each of chapter.cases) {
      const title = `${name} ${chapter.name}: ${each.name}`;
      const reason = whyNot(each, capabilities, faults);
      const run = async () => {
        const world = { open, faults, patienceMs, sessionMs };
        const times = each.isAlone === true ? 1 : stress;
        await Promise.all(Array.from({ length: times }, () => inWorld(world, each.run)));
      };
      if (reason === undefined) test(title, run, 6 * patienceMs + 2 * sessionMs);
      else {
        skipped.push(`${title} (${reason})`);
        test.skip(`${title} (${reason})`, run);
      }
    }
  }
  test(`${name}: what was skipped, and why`, async () => {
    if (skipped.length > 0)
      console.log(`Skipped ${skipped.length} of ${conformanceCases.length}:\n  ${skipped.join('\n  ')}`);
  });
}

function whyNot(
  { needs = [], faults = [], recordBytes = 0 }: Case,
  capabilities: Capabilities,
  given: ConformanceFaults,
): string | undefined {
  const missing = needs.find((capability) => !capabilities[capability]);
  if (missing !== undefined) return `its capabilities say ${missing}: false`;
  if (capabilities.maxRecordBytes < recordBytes)
    return `its capabilities say maxRecordBytes: ${capabilities.maxRecordBytes}`;
  const absent = faults.find((fault) => given[fault] === undefined);
  return absent === undefined ? undefined : `the fault "${absent}" was not passed in`;
}
