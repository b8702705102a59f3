import { expect, test } from 'vitest';
import { Latencies } from './latencies.js';

test('nothing is known before anything was handled', () => {
  expect(new Latencies().summary()).toEqual({ handled: 0, p50Ms: null, p99Ms: null });
});

test('a delivery that brought nothing new counts and is not measured', () => {
  const latencies = new Latencies();
  for (let ms = 1; ms <= 100; ms++) latencies.add(ms);
  latencies.add();
  expect(latencies.summary()).toEqual({ handled: 101, p50Ms: 50, p99Ms: 99 });
});

test('only the last few thousand are remembered', () => {
  const latencies = new Latencies();
  for (let n = 0; n < 5_000; n++) latencies.add(1_000);
  for (let n = 0; n < 4_096; n++) latencies.add(1);
  expect(latencies.summary()).toEqual({ handled: 9_096, p50Ms: 1, p99Ms: 1 });
});
