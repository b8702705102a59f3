import { expect, test } from 'vitest';
import { virtualClock } from './virtual-clock.js';

test('timers fire in the order of their time, and only when time passes', async () => {
  const clock = virtualClock(1);
  const fired: string[] = [];
  clock.timer(20, () => fired.push('late'));
  clock.timer(10, () => fired.push('early'));
  clock.timer(15, () => fired.push('cancelled'))();

  await clock.advance(12);
  expect(fired).toEqual(['early']);
  await clock.advance(8);
  expect(fired).toEqual(['early', 'late']);
  expect(clock.monotonic()).toBe(20);
});

test('timers that are due together fire in an order that belongs to the seed', async () => {
  const orderOf = async (seed: number) => {
    const clock = virtualClock(seed);
    const fired: number[] = [];
    for (let n = 0; n < 20; n++) clock.timer(5, () => fired.push(n));
    await clock.advance(5);
    return fired;
  };

  const orders = await Promise.all([1, 2, 3].map(orderOf));
  expect(await orderOf(1)).toEqual(orders[0]);
  expect(new Set(orders.map(String)).size).toBe(3);
  for (const order of orders) expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, n) => n));
});

test('what a timer sets going comes to rest before the next one fires', async () => {
  const clock = virtualClock(1);
  const seen: string[] = [];
  clock.timer(1, async () => {
    for (let n = 0; n < 50; n++) await Promise.resolve();
    seen.push('first');
  });
  clock.timer(2, () => seen.push('second'));

  await clock.advance(2);
  expect(seen).toEqual(['first', 'second']);
});

test('run ends with true when its condition holds, and with false when nothing is left to fire', async () => {
  const clock = virtualClock(1);
  let count = 0;
  const again = () => {
    if (++count < 5) clock.timer(10, again);
  };
  clock.timer(10, again);

  expect(await clock.run(() => count === 3)).toBe(true);
  expect(clock.monotonic()).toBe(30);
  expect(await clock.run(() => false)).toBe(false);
  expect(count).toBe(5);
});

test('a frozen process catches up in order when it is thawed, a dead one never', async () => {
  const clock = virtualClock(1);
  const [frozen, dead] = [clock.process(), clock.process()];
  const fired: string[] = [];
  frozen.clock.timer(20, () => fired.push('second'));
  frozen.clock.timer(10, () => fired.push('first'));
  dead.clock.timer(10, () => fired.push('dead'));

  frozen.freeze();
  dead.kill();
  await clock.advance(100);
  expect(fired).toEqual([]);
  frozen.thaw();
  await clock.advance(0);
  expect(fired).toEqual(['first', 'second']);
});

test('a step of the wall clock is not seen by the monotonic one', () => {
  const clock = virtualClock(1, { startMs: 1_000 });
  const process = clock.process();
  process.stepWallClock(-500);
  expect([process.clock.now(), process.clock.monotonic(), clock.now()]).toEqual([500, 0, 1_000]);
});
