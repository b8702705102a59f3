import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Tracker, type Tracked } from './tracker.js';
import type { StoredRecord } from './transport.js';

const batchOf = (offsets: readonly number[], next: number) => ({
  topic: 'courses',
  partition: 0,
  records: offsets.map((offset) => ({ offset: String(offset) }) as StoredRecord),
  next: String(next),
});

describe('a tracker', () => {
  test('moves its position only past what is finished without a gap', () => {
    const tracker = new Tracker();
    const [first, second, third] = tracker.add(batchOf([10, 11, 12], 13));
    tracker.finish(third!);
    expect(tracker.take()).toEqual({ position: '10', ahead: ['12'] });
    tracker.finish(first!);
    expect(tracker.take()).toEqual({ position: '11', ahead: ['12'] });
    tracker.finish(second!);
    expect(tracker.take()).toEqual({ position: '13', ahead: [] });
  });

  test('says nothing when there is nothing to say, and the same again when a commit did not get through', () => {
    const tracker = new Tracker();
    expect(tracker.take()).toBeUndefined();
    const [one] = tracker.add(batchOf([1], 2));
    expect(tracker.hasNews).toBe(false);
    tracker.finish(one!);
    expect(tracker.take()).toEqual({ position: '2', ahead: [] });
    expect(tracker.take()).toBeUndefined();
    tracker.again();
    expect(tracker.take()).toEqual({ position: '2', ahead: [] });
  });

  test('a batch without records moves the position over a hole, but not past what is unfinished', () => {
    const tracker = new Tracker();
    const [one] = tracker.add(batchOf([1], 2));
    tracker.add(batchOf([], 50));
    expect(tracker.take()).toEqual({ position: '1', ahead: [] });
    tracker.finish(one!);
    expect(tracker.take()).toEqual({ position: '50', ahead: [] });
  });

  test('takes a batch of any size', () => {
    const tracker = new Tracker();
    const offsets = Array.from({ length: 300_000 }, (_, offset) => offset);
    const entries = tracker.add(batchOf(offsets, offsets.length));
    for (const entry of entries) tracker.finish(entry);
    expect(tracker.take()).toEqual({ position: '300000', ahead: [] });
  });

  test('agrees with a plain set of finished offsets, whatever the order', () => {
    fc.assert(
      fc.property(
        fc.commands([addCommand, finishCommand, takeCommand, againCommand], { maxCommands: 200 }),
        (commands) =>
          fc.modelRun(
            () => ({ model: { offsets: [], finished: new Set<number>(), next: undefined }, real: world() }),
            commands,
          ),
      ),
      { numRuns: 200 },
    );
  });
});

interface Model {
  offsets: number[];
  finished: Set<number>;
  next: number | undefined;
}
interface World {
  readonly tracker: Tracker;
  readonly open: Map<number, Tracked>;
}
const world = (): World => ({ tracker: new Tracker(), open: new Map() });

/** What the position has to be, by looking at every offset. */
function naive({ offsets, finished, next }: Model) {
  const stuck = offsets.find((offset) => !finished.has(offset));
  if (stuck === undefined) return { position: String(next), ahead: [] };
  return {
    position: String(stuck),
    ahead: offsets.filter((offset) => offset > stuck && finished.has(offset)).map(String),
  };
}

const addCommand = fc
  .tuple(fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 40 }), fc.nat(3))
  .map(([steps, hole]) => ({
    check: () => true,
    run(model: Model, { tracker, open }: World) {
      let offset = model.next ?? 0;
      const offsets = steps.map((step) => (offset += step));
      const next = offset + 1 + hole;
      const entries = tracker.add(batchOf(offsets, next));
      entries.forEach((entry, i) => open.set(offsets[i]!, entry));
      model.offsets.push(...offsets);
      model.next = next;
    },
    toString: () => `add ${steps.length}`,
  }));

const finishCommand = fc.nat().map((pick) => ({
  check: (model: Readonly<Model>) => model.finished.size < model.offsets.length,
  run(model: Model, { tracker, open }: World) {
    const [offset, entry] = [...open][pick % open.size]!;
    open.delete(offset);
    tracker.finish(entry);
    model.finished.add(offset);
    expect(tracker.ahead).toBe(naive(model).ahead.length);
  },
  toString: () => `finish ${pick}`,
}));

const takeCommand = fc.constant({
  check: (model: Readonly<Model>) => model.next !== undefined,
  run(model: Model, { tracker }: World) {
    const hadNews = tracker.hasNews;
    const taken = tracker.take();
    expect(taken !== undefined).toBe(hadNews);
    if (taken !== undefined) expect(taken).toEqual(naive(model));
  },
  toString: () => 'take',
});

const againCommand = fc.constant({
  check: (model: Readonly<Model>) => model.next !== undefined,
  run(model: Model, { tracker }: World) {
    tracker.again();
    expect(tracker.take()).toEqual(naive(model));
  },
  toString: () => 'again',
});
