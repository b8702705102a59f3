import { ConsoleLogger, Logger } from '@nestjs/common';
import { BusError, NonRetryable, signals, type EventMetadata } from '@event-bus/core';
import { virtualClock } from '@event-bus/testing';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { failureOf } from './failure.js';
import { EventBusLog } from './log.js';

const IDENTITY = { bus: 'default', service: 'catalog', instance: Symbol('bus') };
const EVENT = { id: '0b2c', type: 'org.example.course.changed.v1' } as EventMetadata;
const DELIVERY = {
  ...IDENTITY,
  topic: 'courses',
  partition: 3,
  offset: '41',
  group: 'catalog',
  handler: 'CourseView.changed',
  event: EVENT,
  attempt: 2,
  durationMs: 1,
};

let lines: unknown[][];
let clock: ReturnType<typeof virtualClock>;
let log: EventBusLog;

beforeEach(() => {
  lines = [];
  clock = virtualClock(1);
  const level =
    (name: string) =>
    (...args: unknown[]) =>
      void lines.push([name, ...args]);
  Logger.overrideLogger({ log: level('log'), warn: level('warn'), error: level('error'), debug: level('debug') });
  log = new EventBusLog(IDENTITY, clock);
  log.hear();
});

afterEach(() => {
  log.close();
  Logger.overrideLogger(true as never);
});

const retrying = (error: unknown = new Error('boom')) =>
  signals.retrying.publish({ ...DELIVERY, error, afterMs: 41.7 });

describe('EventBusLog', () => {
  it('writes a constant text and one object', () => {
    retrying();
    expect(lines).toEqual([
      [
        'warn',
        'Delivery failed, will be tried again',
        {
          event_id: '0b2c',
          event_type: EVENT.type,
          topic: 'courses',
          partition: 3,
          offset: '41',
          group: 'catalog',
          handler: 'CourseView.changed',
          attempt: 2,
          after_ms: 42,
          error: 'Error: boom',
        },
        'EventBus',
      ],
    ]);
  });

  it('has one line for each outcome that is not "handled"', () => {
    const place = { topic: 'courses', partition: 3, offset: '41' };
    signals.handled.publish(DELIVERY);
    signals.dead.publish({
      ...DELIVERY,
      attempts: 5,
      reason: 'BUS_HANDLER_FAILED',
      error: new Error('boom'),
      deadLetters: 'courses-dead-catalog',
    });
    signals.skipped.publish({
      ...IDENTITY,
      ...place,
      group: 'catalog',
      handler: undefined,
      eventType: undefined,
      rule: 'no-handler',
    });
    signals.interrupted.publish({ ...IDENTITY, ...place, group: 'catalog', handler: 'CourseView.changed', attempt: 1 });
    signals.receiverFailed.publish({ ...IDENTITY, event: EVENT, error: new Error('boom') });
    signals.paused.publish({ ...IDENTITY, group: 'catalog', handler: 'CourseView.changed', reason: 'breaker' });
    signals.resumed.publish({ ...IDENTITY, group: 'catalog', handler: 'CourseView.changed', reason: 'breaker' });
    signals.dataLoss.publish({
      ...IDENTITY,
      topic: 'courses',
      partition: 3,
      from: '1',
      to: '9',
      count: 8,
      reason: 'retention',
      group: 'catalog',
    });
    signals.trouble.publish({ ...IDENTITY, group: 'catalog', error: new Error('away') });
    signals.trouble.publish({ ...IDENTITY, group: 'catalog', error: undefined });
    signals.trouble.publish({ ...IDENTITY, group: '', error: new BusError('BUS_REGISTRY_UNAVAILABLE', 'away') });

    expect(lines.map(([level, text]) => `${String(level)} ${String(text)}`)).toEqual([
      'error Delivery became a dead letter',
      'debug Delivery skipped',
      'log Delivery interrupted',
      'error Local receiver failed',
      'warn Consumption paused',
      'log Consumption resumed',
      'error Records are lost',
      'warn Transport cannot read',
      'log Transport reads again',
      'warn Schema registry is away, sends are refused until it answers',
    ]);
  });

  it('counts what repeats and says it once', async () => {
    for (let n = 0; n < 1_000; n++) retrying();
    retrying(new Error('another'));
    expect(lines).toHaveLength(2);

    await clock.advance(10_000);
    expect(lines).toHaveLength(3);
    expect(lines[2]).toMatchObject([
      'warn',
      'Delivery failed, will be tried again',
      { error: 'Error: boom', repeats: 999 },
      'EventBus',
    ]);

    retrying();
    expect(lines).toHaveLength(4);
  });

  it('speaks of its own bus only', () => {
    signals.retrying.publish({ ...DELIVERY, instance: Symbol('bus'), error: new Error('boom'), afterMs: 1 });
    expect(lines).toEqual([]);
  });

  it('keeps the error of the handler and the one a filter made of it', () => {
    retrying(failureOf({ ok: false, original: new Error('boom'), error: new TypeError('status is not a function') }));
    expect(lines[0]![2]).toMatchObject({ error: 'Error: boom', filter_error: 'TypeError: status is not a function' });
  });

  it('names the code of an error as its reason', () => {
    retrying(new NonRetryable('no'));
    expect(lines[0]![2]).toMatchObject({ reason: 'BUS_HANDLER_REFUSED', error: 'NonRetryable: no' });
  });

  it('stays one line, whatever an error says', () => {
    retrying(new Error(`first\nsecond\u001b[31m${'x'.repeat(5_000)}`));
    const { error } = lines[0]![2] as { error: string };
    expect(error).toMatch(/^Error: first\\u000asecond\\u001b\[31mx+…$/);
    expect(error.length).toBeLessThan(1_100);
  });

  it('is silent once closed', () => {
    log.close();
    retrying();
    expect(lines).toEqual([]);
  });

  it('comes out of Nest as JSON: one object, and with Nest 11 one more for the text', () => {
    const written: string[] = [];
    for (const stream of [process.stdout, process.stderr])
      vi.spyOn(stream, 'write').mockImplementation((chunk) => (written.push(String(chunk)), true));
    try {
      Logger.overrideLogger(new ConsoleLogger({ json: true, colors: false }));
      retrying();
    } finally {
      vi.restoreAllMocks();
    }
    const objects = written.map((line) => JSON.parse(line) as object);
    expect(objects[0]).toMatchObject({ message: 'Delivery failed, will be tried again', context: 'EventBus' });
    expect(JSON.stringify(objects.at(-1))).toContain('"event_id":"0b2c"');
  });
});
