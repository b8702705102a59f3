import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { logKey } from './databases.js';
import { openEnvironment, type Environment } from './environment.js';
import { encodeFrames } from './frame.js';

const WIDE = { records: 1_000, bytes: 2 ** 20 };
let environment: Environment;
beforeEach(async () => void (environment = await openEnvironment(mkdtempSync(join(tmpdir(), 'event-bus-log-')), true)));
afterEach(() => environment.release());

const write = <T>(run: () => T) => environment.writer.write(run, { deadlineMs: 5_000 });
const append = (partition: number, values: readonly string[], time: number) =>
  write(() =>
    encodeFrames(values.map((value) => ({ key: null, value: Buffer.from(value), headers: [] }))).map((frame) =>
      environment.log.append(1, partition, frame, time),
    ),
  );
const read = (partition: number, from: number, limits = WIDE) =>
  environment.snapshot(() => environment.log.read('course', 1, partition, from, Infinity, limits));
const texts = (partition: number, from = 0) =>
  read(partition, from).records.map(({ value }) => Buffer.from(value!).toString());

describe('the log', () => {
  it('counts offsets from 0 in each partition', async () => {
    expect(await append(0, ['a', 'b'], 1_000)).toEqual([0, 1]);
    expect(await append(1, ['c'], 1_000)).toEqual([0]);
    expect(await append(0, ['d'], 1_000)).toEqual([2]);
    expect(texts(0)).toEqual(['a', 'b', 'd']);
    expect(texts(1)).toEqual(['c']);
  });

  it('appends several times in one transaction', async () => {
    const both = await Promise.all([append(0, ['a'], 1), append(0, ['b'], 1), append(0, ['c'], 1)]);
    expect(both).toEqual([[0], [1], [2]]);
    expect(texts(0)).toEqual(['a', 'b', 'c']);
  });

  it('never lets time run back within a partition', async () => {
    await append(0, ['a'], 5_000);
    await append(0, ['b'], 3_000);
    expect(read(0, 0).records.map(({ timestamp }) => timestamp)).toEqual([5_000, 5_000]);
  });

  it('gives at least one record, however small the limit', async () => {
    await append(0, ['aaaa', 'bbbb'], 1);
    const slice = read(0, 0, { records: 10, bytes: 1 });
    expect(slice.records).toHaveLength(1);
    expect(slice.next).toBe(1);
    expect(read(0, slice.next, { records: 1, bytes: 2 ** 20 }).next).toBe(2);
  });

  it('counts the bytes it holds', async () => {
    await append(0, ['a'], 1);
    const before = environment.snapshot(() => environment.log.bytes());
    await append(0, ['a'], 1);
    expect(environment.snapshot(() => environment.log.bytes())).toBe(2 * before);
    await write(() => environment.log.trim(1, 0, 2, 10));
    expect(environment.snapshot(() => environment.log.bytes())).toBe(0);
  });

  it('sets a changed record aside and serves the rest', async () => {
    await append(0, ['a', 'b', 'c'], 1);
    const frame = environment.snapshot(() => Buffer.from(environment.databases.log.get(logKey(1, 0, 1))!));
    frame[frame.length - 1]! ^= 1;
    await write(() => void environment.databases.log.put(logKey(1, 0, 1), frame));

    const [first, second, third] = read(0, 0).records;
    expect([first, third].map((record) => Buffer.from(record!.value!).toString())).toEqual(['a', 'c']);
    expect(second).toMatchObject({ key: null, offset: `${environment.epoch}.1` });
    expect(second!.headers[0]![0]).toBe('corrupt-record');
    expect(frame.equals(second!.value!)).toBe(true);
  });

  it('does not serve a right record in a wrong place', async () => {
    await append(0, ['a', 'b'], 1);
    await write(
      () =>
        void environment.databases.log.put(
          logKey(1, 0, 1),
          Buffer.from(environment.databases.log.get(logKey(1, 0, 0))!),
        ),
    );
    expect(read(0, 1).records[0]!.headers[0]![0]).toBe('corrupt-record');
  });

  it('says exactly which records are missing', async () => {
    await append(0, ['a', 'b', 'c', 'd', 'e'], 1);
    await write(() => environment.log.trim(1, 0, 2, 10));
    await write(() => void environment.databases.log.remove(logKey(1, 0, 3)));
    const slice = read(0, 0);
    expect(slice.records).toHaveLength(2);
    expect(slice.lost.map(({ from, to }) => [from, to])).toEqual([
      [0, 2],
      [3, 4],
    ]);
    expect(slice.next).toBe(5);
  });

  it('keeps no times of what was trimmed', async () => {
    for (const second of [1, 2, 3]) await append(0, ['a', 'b'], second * 1_000);
    const seconds = () => [...environment.databases.times.getKeys()].map((key) => key[2]);
    expect(environment.snapshot(seconds)).toEqual([1, 2, 3]);
    await write(() => environment.log.trim(1, 0, 3, 10));
    expect(environment.snapshot(seconds)).toEqual([2, 3]);
    await write(() => environment.log.trim(1, 0, 6, 10));
    expect(environment.snapshot(seconds)).toEqual([]);
  });

  it('finds the first record of any time, whatever was appended and trimmed', async () => {
    // Time never runs back within a partition: each run has one of its own.
    let partition = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat(9_000), { minLength: 1, maxLength: 30 }),
        fc.nat(9_500),
        fc.nat(30),
        async (steps, time, trimmed) => {
          partition++;
          const times: number[] = [];
          for (const step of steps) {
            times.push(Math.max(step, times.at(-1) ?? 0));
            await append(partition, ['x'], step);
          }
          await write(() => environment.log.trim(1, partition, trimmed, 1_000_000));
          const { first } = environment.snapshot(() => environment.log.ends(1, partition));
          const found = times.findIndex((each, i) => each >= time && i >= first);
          const expected = found === -1 ? times.length : found;
          expect(environment.snapshot(() => environment.log.offsetAt(1, partition, time))).toBe(expected);
        },
      ),
      { numRuns: 40 },
    );
  });
});
