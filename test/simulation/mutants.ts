/**
 * Wrong buses: small changes of the core that break a promise each. The simulation must notice every one of them within a hundred seeds,
 * or it would not notice the same mistake made by hand. A change that does not fit the source any more fails.
 */
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import ts from 'typescript';
import type { Core } from './world.js';

export interface Mutant {
  readonly name: string;
  readonly edits: readonly { readonly file: string; readonly find: string; readonly replace: string }[];
}

export const MUTANTS: readonly Mutant[] = [
  {
    name: 'the highest finished record is committed, not the contiguous ones',
    edits: [
      {
        file: 'tracker.ts',
        find: 'const first = this.#entries[this.#head];',
        replace: `let highest = this.#entries.length;
    while (highest > this.#head && !this.#entries[highest - 1]!.isFinished) highest--;
    const first = this.#entries[highest];`,
      },
    ],
  },
  {
    name: 'unfinished records are called finished ahead',
    edits: [{ file: 'tracker.ts', find: 'if (this.#entries[i]!.isFinished) ahead.push', replace: 'ahead.push' }],
  },
  {
    name: 'no lane for a key: every record runs alone',
    edits: [
      {
        file: 'lanes.ts',
        find: 'const { key } = record;',
        replace: 'return `${handler.id}\\n${record.offset}`;\n  const { key } = record;',
      },
    ],
  },
  {
    name: 'the tracker is kept across a revoke',
    edits: [
      {
        file: 'consumer.ts',
        find: 'new Assignment(place.topic, place.partition)',
        replace: 'this.keep(new Assignment(place.topic, place.partition) as any)',
      },
      {
        file: 'consumer.ts',
        find: '  #assigned(partitions',
        replace: `  readonly kept = new Map<string, any>();
  keep(next: any) {
    next.tracker = this.kept.get(placeOf(next)) ?? next.tracker;
    this.kept.set(placeOf(next), next.tracker);
    return next;
  }

  #assigned(partitions`,
      },
    ],
  },
  {
    name: 'a record is acknowledged before it is handled',
    edits: [
      {
        file: 'consumer.ts',
        find: 'this.#take(assignment, records[i]!, entries[i]!);',
        replace: `this.#take(assignment, records[i]!, entries[i]!);
      assignment.tracker.finish(entries[i]!);
      this.#armCommit();`,
      },
    ],
  },
  {
    name: 'an event that failed is dropped instead of dead-lettered',
    edits: [
      {
        file: 'lanes.ts',
        find: "if (decision.action === 'dead') void this.#bury(lane, delivery, error);",
        replace: "if (decision.action === 'dead') this.#settle(lane);",
      },
    ],
  },
  {
    name: 'the dead letter is written after the record is settled',
    edits: [
      { file: 'lanes.ts', find: "lane.state = 'burying';", replace: 'this.#settle(lane);' },
      { file: 'lanes.ts', find: 'if (isStored) this.#settle(lane);', replace: '' },
    ],
  },
  {
    name: 'a dead letter is given up when it cannot be written',
    edits: [
      {
        file: 'consumer.ts',
        find: "if (outcome?.status !== 'stored') throw outcome?.error ?? new Error('no outcome');",
        replace: 'void outcome;',
      },
    ],
  },
  {
    name: 'the lane goes on while a retry waits',
    edits: [
      {
        file: 'lanes.ts',
        find: "lane.state = 'retrying';",
        replace: `if (lane.line.size > 1) {
      lane.line.push(lane.line.shift()!);
      return this.#release([lane]);
    }
    lane.state = 'retrying';`,
      },
    ],
  },
  {
    name: 'a record is dropped when there is no room',
    edits: [
      {
        file: 'consumer.ts',
        find: 'this.#take(assignment, records[i]!, entries[i]!);',
        replace: `if (!this.#room.isFreeFor(assignment)) {
        assignment.tracker.finish(entries[i]!);
        continue;
      }
      this.#take(assignment, records[i]!, entries[i]!);`,
      },
      {
        file: 'consumer.ts',
        find: 'while (!this.#mayTake(assignment, share)) {',
        replace: 'while (false) {',
      },
    ],
  },
  {
    name: 'one outcome stands for all handlers',
    edits: [
      {
        file: 'consumer.ts',
        find: "if (--work.unsettled > 0 || assignment.state === 'gone') return;",
        replace: "if (work.unsettled === 0 || assignment.state === 'gone') return;\n    work.unsettled = 0;",
      },
    ],
  },
  {
    name: 'an interruption counts as an attempt',
    edits: [
      {
        file: 'delivery.ts',
        find: "this.#end({ status: 'interrupted' });",
        replace: "this.#end({ status: 'failed', error: this.context.signal.reason });",
      },
      {
        file: 'lanes.ts',
        find: "lane.assignment.state === 'gone' || outcome.status === 'interrupted'",
        replace: "outcome.status === 'interrupted'",
      },
    ],
  },
  {
    name: 'a late result is committed by the next owner',
    edits: [
      { file: 'delivery.ts', find: "this.#end({ status: 'interrupted' });", replace: '' },
      {
        file: 'lanes.ts',
        find: "lane.assignment.state === 'gone' || outcome.status === 'interrupted'",
        replace: "outcome.status === 'interrupted'",
      },
      {
        file: 'consumer.ts',
        find: "if (--work.unsettled > 0 || assignment.state === 'gone') return;",
        replace: `if (--work.unsettled > 0) return;
    if (assignment.state === 'gone') {
      this.#assignments.get(placeOf(assignment))?.tracker.late(work.entry.offset);
      return this.#armCommit();
    }`,
      },
      {
        file: 'tracker.ts',
        find: '  again(): void {',
        replace: `  late(offset: string): void {
    const entry = this.#entries.find((one) => one.offset === offset && !one.isFinished);
    if (entry !== undefined) this.finish(entry);
  }

  again(): void {`,
      },
    ],
  },
  {
    name: 'deadlines are measured on the wall clock',
    edits: [
      { file: 'lanes.ts', find: 'this.#offer(lane, now);', replace: 'this.#offer(lane, clock.now());' },
      {
        file: 'lanes.ts',
        find: 'const now = this.setup.clock.monotonic();',
        replace: 'const now = this.setup.clock.now();',
      },
      { file: 'lanes.ts', find: 'deadline - clock.monotonic()', replace: 'deadline - clock.now()' },
    ],
  },
  {
    name: 'a commit that did not get through is forgotten',
    edits: [{ file: 'consumer.ts', find: 'assignment.tracker.again();', replace: '' }],
  },
  {
    name: 'an attempt less than the policy says',
    edits: [{ file: 'retry.ts', find: 'attempt >= attempts', replace: 'attempt + 1 >= attempts' }],
  },
  {
    name: 'a handler that never settles is waited for',
    edits: [{ file: 'lanes.ts', find: 'attempt.expire();', replace: 'void attempt;' }],
  },
  {
    name: 'the records of a handler that is switched off are passed over',
    edits: [
      {
        file: 'gate.ts',
        find: '    this.hold(lane);\n    return false;',
        replace: '    if (!this.#isSwitchedOff) this.hold(lane);\n    return false;',
      },
    ],
  },
  {
    name: 'a breaker that closes keeps its lanes',
    edits: [
      {
        file: 'gate.ts',
        find: '    this.#failures = 0;\n    if (!wasBroken) return;',
        replace: '    if (!wasBroken) return void (this.#failures = 0);',
      },
      {
        file: 'gate.ts',
        find: 'if (!this.#isSwitchedOff) this.#releaseAll();\n',
        replace: 'if (!this.#isSwitchedOff) this.#releaseAll();\n    this.#failures = 0;\n',
      },
    ],
  },
  {
    name: 'a send overtakes its key while the buffer is full',
    edits: [
      {
        file: 'send-buffer.ts',
        find: 'this.#starved = line;',
        replace: 'this.#starved = line;\n        line.waiting.push(line.waiting.shift()!);',
      },
    ],
  },
  {
    name: 'a send without an answer is called not stored',
    edits: [
      {
        file: 'producer.ts',
        find: 'return withOutcome(error, status);',
        replace: "return withOutcome(error, 'not-stored');",
      },
    ],
  },
  {
    name: 'a handler begins in a partition that may be that of somebody else',
    edits: [{ file: 'lanes.ts', find: 'if (!holds()) return', replace: 'if (false) return' }],
  },
  {
    name: 'a handler begins in a partition that is leaving',
    edits: [
      {
        file: 'lanes.ts',
        find: "if (head === undefined || lane.assignment.state !== 'held') return;",
        replace: "if (head === undefined || lane.assignment.state === 'gone') return;",
      },
      { file: 'lanes.ts', find: 'this.#feeds.remove(isLeaving);', replace: 'void isLeaving;' },
    ],
  },
  {
    name: 'what is in hand has no bound',
    edits: [
      {
        file: 'room.ts',
        find: 'return this.#records < records && this.#bytes < bytes && tracker.ahead < MAX_AHEAD;',
        replace: 'void [records, bytes, tracker];\n    return true;',
      },
    ],
  },
  {
    name: 'any number of handlers runs at once',
    edits: [
      { file: 'feeds.ts', find: 'if (this.#running >= this.concurrency) return undefined;', replace: '' },
      { file: 'feeds.ts', find: ' || feed.running >= this.#share(feed)) continue;', replace: ') continue;' },
    ],
  },
  {
    name: 'records without a key run alone',
    edits: [
      {
        file: 'lanes.ts',
        find: 'if (key === null) return `${handler.id}\\n`;',
        replace: 'if (key === null) return `${handler.id}\\n${record.offset}`;',
      },
    ],
  },
  {
    name: 'commits overtake each other',
    edits: [
      {
        file: 'consumer.ts',
        find: 'this.#committing = this.#committing.then(() => this.#commitNow(assignments));',
        replace: 'this.#committing = this.#commitNow(assignments);',
      },
    ],
  },
  {
    name: 'a record that waits for its schema is overtaken',
    edits: [
      {
        file: 'consumer.ts',
        find: 'delivery.isWaiting = true;\n      this.#lanes.add(assignment, work, delivery);',
        replace: 'void delivery;',
      },
      {
        file: 'consumer.ts',
        find: 'this.#lanes.read(assignment, deliveries);',
        replace: `{
          for (const delivery of deliveries) this.#lanes.add(assignment, work, delivery);
          this.#lanes.pump();
        }`,
      },
    ],
  },
  {
    name: 'a handler begins after its attempt is over',
    edits: [{ file: 'delivery.ts', find: 'attempt.isOver ? undefined : ', replace: '' }],
  },
  {
    name: 'a record that nobody can read holds up its key',
    edits: [{ file: 'consumer.ts', find: 'this.#lanes.remove(assignment, deliveries);', replace: '' }],
  },
];

const SOURCES = fileURLToPath(new URL('../../libs/core/src/', import.meta.url));
const CACHE = fileURLToPath(new URL('../../node_modules/.cache/event-bus-mutants/', import.meta.url));

export function forgetMutants(): void {
  rmSync(CACHE, { recursive: true, force: true });
}

/** A core with the mutant's changes, in a folder of its own. Throws when a change does not fit exactly one place. */
export async function loadMutant({ name, edits }: Mutant): Promise<Core> {
  const folder = join(CACHE, name.replaceAll(/\W+/g, '-'));
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  for (const file of readdirSync(SOURCES).filter((each) => each.endsWith('.ts') && !each.endsWith('.test.ts'))) {
    let source = readFileSync(join(SOURCES, file), 'utf8');
    for (const edit of edits.filter((each) => each.file === file)) {
      const places = source.split(edit.find).length - 1;
      if (places !== 1) throw new Error(`Mutant "${name}" fits ${places} places of ${file}, not one: ${edit.find}`);
      source = source.replace(edit.find, () => edit.replace);
    }
    const { outputText } = ts.transpileModule(source, {
      compilerOptions: { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext },
    });
    writeFileSync(join(folder, file.replace(/\.ts$/, '.js')), outputText);
  }
  return (await import(pathToFileURL(join(folder, 'index.js')).href)) as Core;
}
