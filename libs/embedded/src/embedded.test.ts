import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Batch, LostRange, Receiver, StoredRecord, SubscribeOptions } from '@event-bus/core';
import { embedded, type EmbeddedTransport } from './embedded.js';
import type { EmbeddedOptions } from './options.js';

let path: string;
const open: EmbeddedTransport[] = [];
beforeEach(() => void (path = mkdtempSync(join(tmpdir(), 'event-bus-embedded-'))));
afterEach(async () => {
  await Promise.all(open.splice(0).map((log) => log.close()));
  rmSync(path, { recursive: true, force: true });
});

async function opened(options: EmbeddedOptions = { path }): Promise<EmbeddedTransport> {
  const log = embedded(options);
  open.push(log);
  await log.open();
  await log.ensureTopic('course', { partitions: 1 });
  return log;
}

const record = (text: string) => ({ key: Buffer.from('k'), value: Buffer.from(text), headers: [] });
const publish = (log: EmbeddedTransport, ...texts: string[]) => log.publish('course', texts.map(record));
const textOf = ({ value }: StoredRecord) => Buffer.from(value!).toString();

async function member(
  log: EmbeddedTransport,
  options: Partial<SubscribeOptions> = {},
  receive?: (batch: Batch) => void | Promise<void>,
) {
  const seen: string[] = [];
  const lost: LostRange[] = [];
  const receiver: Receiver = {
    assigned() {},
    receive(batch) {
      seen.push(...batch.records.map(textOf));
      return receive?.(batch);
    },
    revoking: async () => {},
    lost: (range) => void lost.push(range),
    trouble() {},
  };
  const subscription = await log.subscribe({ topics: ['course'], group: 'catalog', ...options }, receiver);
  return { subscription, seen, lost };
}

describe('an embedded log', () => {
  it('opens nothing when it is made', () => {
    embedded({ path: join(path, 'log') });
    expect(existsSync(join(path, 'log'))).toBe(false);
  });

  it('says that it is not open yet, or not any more', async () => {
    const log = embedded({ path });
    await expect(log.publish('course', [])).rejects.toMatchObject({
      code: 'BUS_CLOSED',
      message: expect.stringContaining('open()'),
    });
    await log.close();
    await expect(log.open()).rejects.toMatchObject({ code: 'BUS_CLOSED' });
  });

  it('ends what is being read when it is closed', async () => {
    const log = await opened();
    await publish(log, 'a', 'b');
    const follow = log.read({ topic: 'course', to: 'follow' })[Symbol.asyncIterator]();
    const finite = log.read({ topic: 'course' })[Symbol.asyncIterator]();
    for (const reading of [follow, follow, finite]) await reading.next();
    const waiting = follow.next();
    await log.close();
    await expect(waiting).rejects.toMatchObject({ code: 'BUS_CLOSED' });
    await expect(finite.next()).rejects.toMatchObject({ code: 'BUS_CLOSED' });
  });

  it('leaves no member behind that was joining when it was closed', async () => {
    const log = await opened();
    const joining = member(log);
    await Promise.all([expect(joining).rejects.toMatchObject({ code: 'BUS_CLOSED' }), log.close()]);
    const again = await opened();
    await again.seek({ topic: 'course', group: 'catalog', to: 'end' });
  });

  it('says that it was closed to who was deleting', async () => {
    const log = await opened();
    for (let i = 0; i < 3; i++) await publish(log, ...Array.from({ length: 1_000 }, () => 'x'));
    const { end } = (await log.positions({ topic: 'course' }))[0]!;
    const deleting = log.deleteBefore('course', 0, end!);
    await Promise.all([expect(deleting).rejects.toMatchObject({ code: 'BUS_CLOSED' }), log.close()]);
  });

  it('leaves nothing of an ephemeral log', async () => {
    const log = await opened({ ephemeral: true });
    const { path: directory } = log.stats();
    expect(log.capabilities.durable).toBe(false);
    await publish(log, 'a');
    expect(existsSync(directory)).toBe(true);
    await log.close();
    expect(existsSync(directory)).toBe(false);
  });

  it('takes what another member gave back as soon as it hears of it, not at its next heartbeat', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    try {
      const log = await opened();
      const first = await member(log);
      const second = await member(log);
      expect(second.subscription.status().partitions).toEqual([]);
      await first.subscription.stop();
      await vi.waitUntil(() => second.subscription.status().partitions.length === 1, { interval: 1 });
    } finally {
      vi.useRealTimers();
    }
  });

  it('makes no second call for a partition that comes back while the first is open', async () => {
    const log = await opened();
    await log.ensureTopic('wide', { partitions: 2 });
    const keys = Array.from({ length: 20 }, (_, n) => ({ ...record('x'), key: Buffer.from(String(n)) }));
    await log.publish('wide', keys);
    let open = () => {};
    const gate = new Promise<void>((resolve) => (open = resolve));
    const calls = [0, 0];
    let most = 0;
    const first = await member(log, { topics: ['wide'], revokeTimeoutMs: 10 }, async ({ partition }) => {
      most = Math.max(most, ++calls[partition]!);
      await gate;
      calls[partition]!--;
    });
    await vi.waitFor(() => expect(calls).toEqual([1, 1]));
    const second = await member(log, { topics: ['wide'] });
    await vi.waitFor(() => expect(second.seen.length).toBeGreaterThan(0));
    await second.subscription.stop();
    await vi.waitFor(() => expect(first.subscription.status().partitions).toHaveLength(2));
    for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve));
    expect(calls).toEqual([1, 1]);
    open();
    await vi.waitFor(() => expect(first.seen.length).toBeGreaterThan(20));
    expect(most).toBe(1);
  });

  it('hands nothing over again that was finished ahead, and counts it out of the lag', async () => {
    const log = await opened();
    const places = await publish(log, 'a', 'b', 'c', 'd', 'e');
    const offset = (i: number) => (places[i] as { offset: string }).offset;
    const first = await member(log);
    await vi.waitFor(() => expect(first.seen).toHaveLength(5));
    const answers = await first.subscription.commit([
      { topic: 'course', partition: 0, position: offset(1), ahead: [offset(2), offset(4)] },
    ]);
    expect(answers).toEqual(['committed']);
    expect(await log.positions({ topic: 'course', group: 'catalog' })).toMatchObject([
      { committed: offset(1), lag: 2 },
    ]);
    await first.subscription.stop();

    const second = await member(log);
    await vi.waitFor(() => expect(second.seen).toEqual(['b', 'd']));
    await second.subscription.commit([{ topic: 'course', partition: 0, position: offset(3), ahead: [] }]);
    await second.subscription.stop();
    const third = await member(log);
    await vi.waitFor(() => expect(third.seen).toEqual(['d']));
  });

  it('counts what was finished ahead neither twice nor as lost when retention takes it', async () => {
    const log = await opened();
    const places = await publish(log, ...'abcdefghijkl'.split(''));
    const offset = (i: number) => (places[i] as { offset: string }).offset;
    const first = await member(log);
    const ahead = [2, 3, 4, 6, 7].map(offset);
    await first.subscription.commit([{ topic: 'course', partition: 0, position: offset(1), ahead }]);
    await first.subscription.stop();

    await log.deleteBefore('course', 0, offset(9));

    expect(await log.positions({ topic: 'course', group: 'catalog' })).toMatchObject([{ lag: 3 }]);
    const again = await member(log);
    await vi.waitFor(() => expect(again.seen).toEqual(['j', 'k', 'l']));
    expect(again.lost.map(({ from, to, count }) => [from, to, count])).toEqual([
      [offset(1), offset(2), 1],
      [offset(5), offset(6), 1],
      [offset(8), offset(9), 1],
    ]);
  });

  it('tells a group the exact range that retention took, and goes on behind it', async () => {
    const log = await opened({ path, retention: { bytes: 1, unread: 'drop' } });
    await (await member(log)).subscription.stop();
    await publish(log, 'a', 'b', 'c');
    await log.sweep();
    const { start, end } = (await log.positions({ topic: 'course' }))[0]!;
    expect(start).toBe(end);

    const again = await member(log);
    await vi.waitFor(() =>
      expect(again.lost).toMatchObject([{ partition: 0, from: end!.replace(/\d+$/, '0'), to: end, count: 3 }]),
    );
    await publish(log, 'd');
    await vi.waitFor(() => expect(again.seen).toEqual(['d']));
  });

  it('keeps to the retention of whoever made the topic, whatever others that open the log want', async () => {
    const log = await opened({ path, retention: { ageMs: Infinity } });
    await publish(log, 'a');
    const other = await opened({ path, retention: { bytes: 1, unread: 'drop' } });
    await other.sweep();
    expect((await log.positions({ topic: 'course' }))[0]!.start).toMatch(/\.0$/);
  });

  it('changes the retention of a topic that is named, and says so when two who name it differ', async () => {
    const warnings: string[] = [];
    const hear = (warning: Error) => void warnings.push(warning.message);
    process.on('warning', hear);
    const named = (bytes: number) => opened({ path, topics: { course: { retention: { bytes, unread: 'drop' } } } });
    const log = await opened();
    await publish(log, 'a');
    await named(1_000_000);
    await log.sweep();
    expect((await log.positions({ topic: 'course' }))[0]!.start).toMatch(/\.0$/);
    await named(1);
    await named(1);
    await log.sweep();
    process.off('warning', hear);
    expect((await log.positions({ topic: 'course' }))[0]!.start).toMatch(/\.1$/);
    expect(warnings).toEqual([expect.stringMatching(/"course" was .*1000000.* and is .*"bytes":1,/)]);
  });

  it('stores nothing in a log whose directory was deleted under it', async () => {
    const log = await opened();
    expect(await publish(log, 'a')).toMatchObject([{ status: 'stored' }]);
    rmSync(path, { recursive: true });
    for (let i = 0; i < 2; i++)
      expect(await publish(log, 'b')).toMatchObject([{ status: 'not-stored', error: { code: 'BUS_DATA_LOSS' } }]);
  });

  it('refuses positions of another log', async () => {
    const log = await opened();
    await publish(log, 'a');
    const to = { offset: 'zzzzzzzz.0' };
    await expect(log.seek({ topic: 'course', group: 'g', to })).rejects.toMatchObject({ code: 'BUS_DATA_LOSS' });
    await expect(
      log.read({ topic: 'course', partition: 0, from: to })[Symbol.asyncIterator]().next(),
    ).rejects.toMatchObject({ code: 'BUS_DATA_LOSS' });
  });

  it('reads on while retention takes what was read, and says so when it takes what was not', async () => {
    const log = await opened();
    await publish(log, ...Array.from({ length: 1_500 }, (_, n) => String(n)));
    const reading = log.read({ topic: 'course', to: 'follow' })[Symbol.asyncIterator]();
    expect(textOf((await reading.next()).value!)).toBe('0');
    const { end } = (await log.positions({ topic: 'course' }))[0]!;
    await log.deleteBefore('course', 0, end!.replace(/\d+$/, '1200'));
    const rest = async () => {
      for (;;) await reading.next();
    };
    await expect(rest()).rejects.toMatchObject({
      code: 'BUS_DATA_LOSS',
      details: { from: end!.replace(/\d+$/, '1000'), to: end!.replace(/\d+$/, '1200'), count: 200 },
    });
  });

  it('wants to know the partition of a position', async () => {
    const log = await opened();
    await log.ensureTopic('wide', { partitions: 3 });
    await expect(log.seek({ topic: 'wide', group: 'g', to: { offset: 'zzzzzzzz.0' } })).rejects.toMatchObject({
      code: 'BUS_CONFIG_INVALID',
      message: expect.stringContaining('partition'),
    });
    const offset = (await log.positions({ topic: 'wide' }))[0]!.end!;
    const missing = { code: 'BUS_TOPIC_MISSING' };
    await expect(log.seek({ topic: 'wide', group: 'g', to: 'start', partition: 3 })).rejects.toMatchObject(missing);
    await expect(log.deleteBefore('wide', 3, offset)).rejects.toMatchObject(missing);
  });

  it.each([NaN, '2026-01-01', new Date(NaN), undefined])('refuses time %s', async (wrong) => {
    const log = await opened();
    const to = { time: wrong as number };
    const refused = { code: 'BUS_CONFIG_INVALID', message: expect.stringContaining('milliseconds since 1970') };
    await expect(log.seek({ topic: 'course', group: 'g', to })).rejects.toMatchObject(refused);
    await expect(log.read({ topic: 'course', from: to })[Symbol.asyncIterator]().next()).rejects.toMatchObject(refused);
    await expect(member(log, { from: to })).rejects.toMatchObject(refused);
  });

  it.each(['', 'a\nb', 'x'.repeat(256)])('refuses group name %j', async (group) => {
    const log = await opened();
    await expect(member(log, { group })).rejects.toMatchObject({ code: 'BUS_CONFIG_INVALID' });
    await expect(log.positions({ topic: 'course', group })).rejects.toMatchObject({ code: 'BUS_CONFIG_INVALID' });
  });

  it('says what it is doing', async () => {
    const log = await opened();
    await publish(log, 'a');
    expect(log.stats()).toMatchObject({ bytes: expect.any(Number), oldestReaderMs: 0, wakeUp: 'off' });
    await member(log);
    await vi.waitFor(() => expect(log.stats().wakeUp).toBe('bell'));
  });

  it('keeps records of one call together or stores none', async () => {
    const log = await opened({ path, maxBytes: 1_000 });
    const outcomes = await publish(log, ...Array.from({ length: 100 }, () => 'x'));
    expect(new Set(outcomes.map(({ status }) => status))).toEqual(new Set(['not-stored']));
    expect((await log.positions({ topic: 'course' }))[0]).toMatchObject({ end: expect.stringMatching(/\.0$/) });
  });
});
