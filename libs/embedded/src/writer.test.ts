import { describe, expect, it } from 'vitest';
import { BusError } from '@event-bus/core';
import { Writer, type WriterSetup } from './writer.js';

/** A writer on transactions that end when the test says so. */
function setup(options: Partial<WriterSetup> = {}) {
  const transactions: { run: () => void; end: () => void; fail: (error: unknown) => void }[] = [];
  let woken = 0;
  const writer = new Writer({
    transaction: (run) =>
      new Promise((resolve, reject) => transactions.push({ run, end: () => resolve(undefined), fail: reject })),
    begin() {},
    end() {},
    wake: () => woken++,
    lockHolder: () => 4_711,
    failure: (error) => ({ error: new BusError('BUS_FULL', String(error)), isFinal: false }),
    ...options,
  });
  const next = async () => {
    while (transactions.length === 0) await new Promise((resolve) => setImmediate(resolve));
    return transactions.shift()!;
  };
  return { writer, next, woken: () => woken };
}

const soon = { deadlineMs: 5_000 };

describe('the writer', () => {
  it('puts everything that came until the lock was had into one transaction, in order', async () => {
    const { writer, next } = setup();
    const order: number[] = [];
    const first = writer.write(() => order.push(1), soon);
    const transaction = await next();
    const second = writer.write(() => order.push(2), soon);
    transaction.run();
    const third = writer.write(() => order.push(3), soon);
    transaction.end();
    await Promise.all([first, second]);
    expect(order).toEqual([1, 2]);
    const other = await next();
    other.run();
    other.end();
    await third;
    expect(order).toEqual([1, 2, 3]);
  });

  it('answers only after the flush, and wakes others once', async () => {
    const { writer, next, woken } = setup();
    let isAnswered = false;
    const writing = writer.write(() => (writer.wake(), 'answer'), soon).then((answer) => ((isAnswered = true), answer));
    const transaction = await next();
    transaction.run();
    await new Promise((resolve) => setImmediate(resolve));
    expect([isAnswered, woken()]).toEqual([false, 0]);
    transaction.end();
    expect(await writing).toBe('answer');
    expect(woken()).toBe(1);
  });

  it('lets the others be when one write throws', async () => {
    const { writer, next } = setup();
    const bad = writer.write(() => {
      throw new BusError('BUS_FULL', 'over the limit');
    }, soon);
    const good = writer.write(() => 'good', soon);
    const transaction = await next();
    transaction.run();
    transaction.end();
    await expect(bad).rejects.toMatchObject({ code: 'BUS_FULL' });
    expect(await good).toBe('good');
  });

  it('says what it knows when the flush fails', async () => {
    const { writer, next } = setup();
    const undone = writer.write(() => {}, { ...soon, isUndone: () => true });
    const unknown = writer.write(() => {}, soon);
    const transaction = await next();
    transaction.run();
    const second = Promise.reject(new Error('no space'));
    transaction.fail(Object.assign(new Error('commit failed'), { commitError: second }));
    await expect(undone).rejects.toMatchObject({
      code: 'BUS_FULL',
      message: expect.stringContaining('no space'),
      details: { outcome: 'not-stored' },
    });
    await expect(unknown).rejects.toMatchObject({ details: { outcome: 'unknown' } });
  });

  it('does not fall over when nobody can say what became of a write', async () => {
    const { writer, next } = setup();
    const isUndone = () => {
      throw new Error('cannot be read');
    };
    const writing = writer.write(() => {}, { ...soon, isUndone });
    const transaction = await next();
    transaction.run();
    transaction.fail(new Error('no power'));
    await expect(writing).rejects.toMatchObject({ details: { outcome: 'unknown' } });
  });

  it('refuses everything at once when the log is broken for good', async () => {
    const { writer, next } = setup({
      failure: () => ({ error: new BusError('BUS_TRANSPORT_UNAVAILABLE', 'restart'), isFinal: true }),
    });
    const hit = writer.write(() => {}, soon);
    const transaction = await next();
    transaction.run();
    const waiting = writer.write(() => {}, soon);
    transaction.fail(new Error('no power'));
    await expect(hit).rejects.toMatchObject({ details: { outcome: 'unknown' } });
    await expect(waiting).rejects.toMatchObject({ message: 'restart', details: { outcome: 'not-stored' } });
    await expect(writer.write(() => {}, soon)).rejects.toMatchObject({ code: 'BUS_TRANSPORT_UNAVAILABLE' });
    await writer.idle();
  });

  it('gives up at the deadline and names the process that holds the lock', async () => {
    const { writer, next } = setup();
    let ran = 0;
    const waiting = writer.write(() => ran++, { deadlineMs: 30 });
    const transaction = await next();
    await expect(waiting).rejects.toMatchObject({
      code: 'BUS_BUSY',
      message: expect.stringContaining('4711'),
      details: { outcome: 'not-stored', pid: 4_711 },
    });
    transaction.run();
    transaction.end();
    await writer.idle();
    expect(ran).toBe(0);
  });

  it.each([process.pid, undefined])('blames no other process when the lock is held by %s', async (pid) => {
    const { writer } = setup({ lockHolder: () => pid });
    await expect(writer.write(() => {}, { deadlineMs: 30 })).rejects.toMatchObject({
      code: 'BUS_BUSY',
      message: expect.stringContaining('this process was too busy'),
    });
  });

  it('does not claim to know what became of a write that was in the transaction', async () => {
    const { writer, next } = setup();
    const late = writer.write(() => {}, { deadlineMs: 30 });
    (await next()).run();
    const behind = writer.write(() => {}, { deadlineMs: 30 });
    const message = expect.stringContaining('disk is slow');
    await expect(late).rejects.toMatchObject({ code: 'BUS_BUSY', message, details: { outcome: 'unknown' } });
    await expect(behind).rejects.toMatchObject({ code: 'BUS_BUSY', message, details: { outcome: 'not-stored' } });
    expect(writer.isIdle).toBe(false);
  });

  it('takes one write of any size when nothing waits', async () => {
    const { writer, next } = setup();
    const writing = writer.write(() => 'large', { ...soon, bytes: 100 * 2 ** 20 });
    await expect(writer.write(() => {}, { ...soon, bytes: 1 })).rejects.toMatchObject({ code: 'BUS_BUFFER_FULL' });
    const transaction = await next();
    transaction.run();
    transaction.end();
    expect(await writing).toBe('large');
  });

  it('puts no more into one transaction than it may hold, and loses none of the others', async () => {
    const { writer, next } = setup();
    const sizes = [
      { records: 3_000 },
      { records: 2_000 },
      { bytes: 3 * 2 ** 20 },
      { bytes: 3 * 2 ** 20 },
      { bytes: 50 * 2 ** 20 },
    ];
    const order: number[] = [];
    const writing = sizes.map((size, n) => writer.write(() => order.push(n), { ...soon, ...size }));
    const counts: number[] = [];
    while (order.length < 5) {
      const before = order.length;
      const transaction = await next();
      transaction.run();
      transaction.end();
      counts.push(order.length - before);
    }
    await Promise.all(writing);
    expect(counts).toEqual([2, 1, 1, 1]);
  });

  it('refuses what would fill the memory', async () => {
    const { writer } = setup();
    const waiting = writer.write(() => {}, { deadlineMs: 50, bytes: 60 * 2 ** 20 });
    await expect(writer.write(() => {}, { ...soon, bytes: 10 * 2 ** 20 })).rejects.toMatchObject({
      code: 'BUS_BUFFER_FULL',
      details: { outcome: 'not-stored' },
    });
    await expect(waiting).rejects.toMatchObject({ code: 'BUS_BUSY' });
    void writer.write(() => {}, { deadlineMs: 50, bytes: 60 * 2 ** 20 }).catch(() => {});
  });
});
