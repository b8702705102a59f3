import { Injectable, Logger } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { systemClock, type Bus, type Transport } from '@event-bus/core';
import { simulated } from '@event-bus/testing';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { COURSE_CHANGED, DEMO } from './courses.test.fixture.js';
import { EventBusModule } from './event-bus.module.js';
import type { EventBusModuleOptions } from './event-bus-options.js';
import { EventBusProducer } from './event-bus-producer.js';
import { EventBusRunner } from './event-bus-runner.js';
import { OnEventBus } from './on-event-bus.js';
import { EVENT_BUS, EVENT_BUS_CLOCK } from './tokens.js';

afterEach(() => {
  vi.restoreAllMocks();
  Logger.overrideLogger(true as never);
});

/** An application whose only handler waits until it is let go, on a clock that a test moves. */
async function setup(options: Partial<EventBusModuleOptions> = {}, prepare: (transport: Transport) => void = () => {}) {
  let elapsedMs = 0;
  const timers: { ms: number; fire: () => void }[] = [];
  const clock = {
    ...systemClock,
    monotonic: () => systemClock.monotonic() + elapsedMs,
    timer(ms: number, fire: () => void) {
      timers.push({ ms, fire });
      return systemClock.timer(ms, fire);
    },
  };
  let letGo = () => {};
  let hasBegun = false;
  @Injectable()
  class Slow {
    @OnEventBus(COURSE_CHANGED)
    changed() {
      hasBegun = true;
      return new Promise<void>((resolve) => (letGo = resolve));
    }
  }
  const routes = { [COURSE_CHANGED.type]: { courses: {} } };
  const transport: Transport = simulated();
  prepare(transport);
  const module = await Test.createTestingModule({
    imports: [EventBusModule.forRoot({ service: 'catalog', transport, routes, ...options })],
    providers: [Slow],
  })
    .overrideProvider(EVENT_BUS_CLOCK())
    .useValue(clock)
    .compile();
  const lines: unknown[][] = [];
  const level =
    (name: string) =>
    (...args: unknown[]) =>
      void lines.push([name, ...args]);
  Logger.overrideLogger({ log: level('log'), warn: level('warn'), error: level('error') });
  await module.init();
  return {
    module,
    lines,
    timers,
    pass: (ms: number) => void (elapsedMs += ms),
    letGo: () => letGo(),
    state: () => module.get<Bus>(EVENT_BUS()).status().state,
    async occupy() {
      await module.get(EventBusProducer).send(COURSE_CHANGED, DEMO);
      await vi.waitFor(() => expect(hasBegun).toBe(true));
    },
  };
}

describe('EventBusRunner', () => {
  it.each([
    ['SIGTERM', 143],
    ['SIGINT', 130],
  ] as const)('leaves at once on a second %s while draining', async (signal, code) => {
    const app = await setup();
    const exit = vi.spyOn(process, 'exit').mockReturnValue(undefined as never);
    const before = process.listenerCount(signal);
    await app.occupy();
    const closing = app.module.close();
    await vi.waitFor(() => expect(app.state()).toBe('stopping'));

    // The first that comes after the application began to close by itself is no second one.
    app.pass(300);
    process.emit(signal, signal);
    // What a terminal and npm both send is one signal.
    process.emit(signal, signal);
    expect(exit).not.toHaveBeenCalled();
    app.pass(300);
    process.emit(signal, signal);

    expect(exit).toHaveBeenCalledExactlyOnceWith(code);
    expect(app.lines).toContainEqual(['warn', 'Second signal while draining: leaving at once', { signal }, 'EventBus']);
    app.letGo();
    await closing;
    expect(process.listenerCount(signal)).toBe(before);
  });

  it('leaves at once on a second signal also while a group is still joining', async () => {
    let join: (() => void) | undefined;
    const app = await setup({ autoStart: false }, (transport) => {
      const subscribe = transport.subscribe.bind(transport);
      transport.subscribe = async (...args) => {
        await new Promise<void>((resolve) => (join = resolve));
        return subscribe(...args);
      };
    });
    const exit = vi.spyOn(process, 'exit').mockReturnValue(undefined as never);
    const starting = app.module.get(EventBusRunner).start();
    await vi.waitFor(() => expect(join).toBeDefined());
    const closing = app.module.close();
    await vi.waitFor(() => expect(app.lines).toContainEqual(expect.arrayContaining(['Event bus is draining'])));

    process.emit('SIGTERM', 'SIGTERM');
    app.pass(300);
    process.emit('SIGTERM', 'SIGTERM');

    expect(exit).toHaveBeenCalledExactlyOnceWith(143);
    join!();
    await starting;
    await closing;
  });

  it('warns when nobody listens for SIGTERM', async () => {
    const app = await setup();
    const count = vi.spyOn(process, 'listenerCount').mockReturnValue(0);
    app.timers.find(({ ms }) => ms === 1_000)!.fire();
    count.mockRestore();

    expect(app.lines).toContainEqual([
      'warn',
      'Nobody listens for SIGTERM: the process would die without draining',
      { cure: 'call app.enableShutdownHooks() in main.ts' },
      'EventBus',
    ]);
    await app.module.close();
  });

  it('does not warn once shutdown hooks are enabled', async () => {
    const app = await setup();
    app.module.enableShutdownHooks();
    for (const { ms, fire } of app.timers) if (ms === 1_000) fire();
    expect(app.lines.filter(([level]) => level === 'warn')).toEqual([]);
    await app.module.close();
  });
});
