import { virtualClock } from '@event-bus/testing';
import { describe, expect, test } from 'vitest';
import { Assignment } from './assignment.js';
import { Feed } from './feeds.js';
import { Gate } from './gate.js';
import { Lane } from './lane.js';

function setup() {
  const clock = virtualClock(1);
  const released: string[] = [];
  const said: string[] = [];
  const gate = new Gate({
    clock,
    breakerAfter: 3,
    release: (lanes) => released.push(...lanes.map(({ id }) => id)),
    changed: (state, reason) => said.push(`${state} ${reason}`),
  });
  const assignment = new Assignment('courses', 0);
  const lane = (id: string, owner = assignment) => new Lane(id, owner, new Feed(gate));
  const fail = (times = 1) => {
    for (let i = 0; i < times; i++) gate.failed(new Error('away'));
  };
  const taken = () => released.splice(0);
  return { clock, gate, assignment, lane, fail, said, taken };
}

describe('an open gate', () => {
  test('admits everyone, also after failures that are not in a row', () => {
    const { gate, lane, fail, said } = setup();
    fail(2);
    gate.succeeded();
    fail(2);
    expect(gate.isBroken).toBe(false);
    expect(gate.admits(lane('a'))).toBe(true);
    expect(said).toEqual([]);
  });
});

describe('a gate that is switched off', () => {
  test('keeps lanes in their order and lets them go when it is switched on', () => {
    const { gate, lane, said, taken } = setup();
    gate.switchOff();
    gate.switchOff();
    expect(['a', 'b', 'c'].map((id) => gate.admits(lane(id)))).toEqual([false, false, false]);
    expect(taken()).toEqual([]);
    gate.switchOn();
    gate.switchOn();
    expect(taken()).toEqual(['a', 'b', 'c']);
    expect(said).toEqual(['paused switched-off', 'resumed switched-off']);
  });

  test('lets nobody go when its breaker mends meanwhile', () => {
    const { gate, lane, fail, taken } = setup();
    fail(3);
    gate.admits(lane('a'));
    gate.switchOff();
    gate.succeeded();
    expect(taken()).toEqual([]);
    gate.switchOn();
    expect(taken()).toEqual(['a']);
  });

  test('sends no probe while it is off, and goes on probing afterwards', async () => {
    const { clock, gate, lane, fail, taken } = setup();
    fail(3);
    gate.admits(lane('a'));
    gate.switchOff();
    await clock.advance(600_000);
    expect(taken()).toEqual([]);
    gate.switchOn();
    await clock.advance(60_000);
    expect(taken()).toEqual(['a']);
  });
});

describe('a broken gate', () => {
  test('says so once, and lets one lane at a time through, in turn, with growing pauses', async () => {
    const { clock, gate, lane, fail, said, taken } = setup();
    const lanes = new Map(['a', 'b'].map((id) => [id, lane(id)]));
    fail(5);
    for (const one of lanes.values()) gate.hold(one);
    const probes: [number, string][] = [];
    for (let i = 0; i < 7; i++) {
      const from = clock.monotonic();
      let probe: string[] = [];
      await clock.run(() => (probe = taken()).length > 0);
      expect(probe).toHaveLength(1);
      probes.push([clock.monotonic() - from, probe[0]!]);
      const one = lanes.get(probe[0]!)!;
      expect(gate.admits(one)).toBe(true);
      expect(gate.admits(lane('new'))).toBe(false);
      gate.forget(({ id }) => id === 'new');
      fail();
      gate.hold(one);
    }
    expect(probes).toEqual([
      [1_000, 'a'],
      [2_000, 'b'],
      [4_000, 'a'],
      [8_000, 'b'],
      [16_000, 'a'],
      [30_000, 'b'],
      [30_000, 'a'],
    ]);
    expect(said).toEqual(['paused breaker']);
  });

  test('opens for all with the first success, and its pauses begin anew', async () => {
    const { clock, gate, lane, fail, said, taken } = setup();
    fail(3);
    for (const id of ['a', 'b', 'c']) gate.hold(lane(id));
    await clock.advance(1_000);
    expect(taken()).toEqual(['a']);
    gate.succeeded();
    expect(gate.isBroken).toBe(false);
    expect(taken()).toEqual(['b', 'c']);
    expect(said).toEqual(['paused breaker', 'resumed breaker']);
    fail(3);
    gate.hold(lane('d'));
    await clock.advance(1_000);
    expect(taken()).toEqual(['d']);
  });

  test('a released lane finds it open already', () => {
    const clock = virtualClock(1);
    const states: boolean[] = [];
    const gate: Gate = new Gate({
      clock,
      breakerAfter: 1,
      release: () => states.push(gate.isBroken),
      changed: () => {},
    });
    gate.failed(new Error('away'));
    gate.hold(new Lane('a', new Assignment('courses', 0), new Feed(gate)));
    gate.succeeded();
    expect(states).toEqual([false]);
  });

  test('a probe that says nothing about the handler hands over to the next', async () => {
    const { clock, gate, lane, fail, taken } = setup();
    const first = lane('a');
    fail(3);
    gate.hold(first);
    gate.hold(lane('b'));
    await clock.advance(1_000);
    expect(taken()).toEqual(['a']);
    gate.passed(first);
    await clock.advance(2_000);
    expect(taken()).toEqual(['b']);
  });

  test('a probe whose partition leaves hands over to the next, and nobody of the partition is let through', async () => {
    const { clock, gate, lane, fail, taken } = setup();
    const gone = new Assignment('courses', 1);
    fail(3);
    gate.hold(lane('gone 1', gone));
    gate.hold(lane('gone 2', gone));
    gate.hold(lane('here'));
    await clock.advance(1_000);
    expect(taken()).toEqual(['gone 1']);
    gate.forget(({ assignment }) => assignment === gone);
    await clock.advance(60_000);
    expect(taken()).toEqual(['here']);
  });

  test('whatever happens to it, a lane that is held is let through in the end once the handler is well', async () => {
    const { clock, gate, lane, fail, taken } = setup();
    const held = lane('a');
    fail(3);
    gate.hold(held);
    gate.switchOff();
    gate.switchOn();
    await clock.advance(1_000);
    expect(taken()).toEqual(['a']);
    gate.switchOff();
    expect(gate.admits(held)).toBe(false);
    gate.switchOn();
    await clock.advance(120_000);
    expect(taken()).toEqual(['a']);
    gate.succeeded();
    expect(gate.admits(held)).toBe(true);
  });

  test('closed, it sets no timer any more', async () => {
    const { clock, gate, lane, fail, taken } = setup();
    fail(3);
    gate.hold(lane('a'));
    gate.close();
    await clock.advance(60_000);
    expect(taken()).toEqual([]);
  });
});
