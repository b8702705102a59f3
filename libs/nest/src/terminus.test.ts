import { Injectable, type DynamicModule } from '@nestjs/common';
import { HealthIndicatorService, TerminusModule } from '@nestjs/terminus';
import { Test } from '@nestjs/testing';
import { BusError, NonRetryable, exponential, type SubscriptionStatus, type Transport } from '@event-bus/core';
import { simulated, simulatedBroker } from '@event-bus/testing';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { COURSE_CHANGED, DEMO } from './courses.test.fixture.js';
import { EventBusModule } from './event-bus.module.js';
import type { EventBusModuleOptions } from './event-bus-options.js';
import { EventBusProducer } from './event-bus-producer.js';
import { EventBusRunner } from './event-bus-runner.js';
import { OnEventBus } from './on-event-bus.js';
import { EventBusHealthIndicator } from './terminus.js';

// Terminus 11 has no word for it.
const DEGRADED = 'degraded' in new HealthIndicatorService().check('bus') ? 'degraded' : 'up';

const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const each of opened.splice(0)) await each.close();
});

/** A service with one handler and its health; `handle` is what the handler does. */
async function setup(
  options: Partial<EventBusModuleOptions> = {},
  handle: () => unknown = () => {},
  imports: DynamicModule[] = [],
) {
  @Injectable()
  class CourseView {
    @OnEventBus(COURSE_CHANGED)
    changed() {
      return handle();
    }
  }
  const module = await Test.createTestingModule({
    imports: [
      ...imports,
      TerminusModule,
      EventBusModule.forRoot({
        service: 'catalog',
        transport: simulated(),
        routes: { [COURSE_CHANGED.type]: { courses: {} } },
        retry: exponential({ attempts: 3, firstMs: 1, maxMs: 1 }),
        stopTimeoutMs: 100,
        ...options,
      }),
    ],
    providers: [CourseView, EventBusHealthIndicator],
  }).compile();
  const app = await module.init();
  opened.push(app);
  return {
    app,
    health: app.get(EventBusHealthIndicator),
    send: () => app.get(EventBusProducer).send(COURSE_CHANGED, DEMO),
  };
}

/** A transport whose subscription reports other facts than it has. */
function reporting(facts: Partial<SubscriptionStatus>, transport: Transport = simulated()): Transport {
  const subscribe = transport.subscribe.bind(transport);
  transport.subscribe = async (...args) => {
    const subscription = await subscribe(...args);
    return {
      commit: (commits) => subscription.commit(commits),
      holds: () => subscription.holds(),
      stop: () => subscription.stop(),
      status: () => ({ ...subscription.status(), ...facts }),
    };
  };
  return transport;
}

describe('ready', () => {
  it('is up while partitions are held', async () => {
    const { health, send } = await setup();
    await send();
    await vi.waitFor(async () => expect(await health.ready('bus')).toEqual({ bus: { status: 'up', groups: 1 } }));
  });

  it('is up for a spare member that has no partition to hold', async () => {
    const { health } = await setup({ transport: reporting({ state: 'running', partitions: [] }) });
    expect(await health.ready('bus')).toMatchObject({ bus: { status: 'up' } });
  });

  it('is down before the start and after the stop', async () => {
    const { app, health } = await setup({ autoStart: false });
    expect(await health.ready('bus')).toEqual({ bus: { status: 'down', problems: ['the bus has not started'] } });
    await app.get(EventBusRunner).start();
    await app.get(EventBusRunner).stop();
    expect(await health.ready('bus')).toEqual({ bus: { status: 'down', problems: ['the bus is stopped'] } });
  });

  it.each(['joining', 'rebalancing'] as const)('is degraded while %s', async (state) => {
    const { health } = await setup({ transport: reporting({ state }) });
    expect(await health.ready('bus')).toEqual({
      bus: { status: DEGRADED, problems: ['group "catalog" is waiting for its partitions'] },
    });
  });

  it('is down while not connected', async () => {
    const { health } = await setup({ transport: reporting({ state: 'trouble' }) });
    expect(await health.ready('bus')).toEqual({
      bus: { status: 'down', problems: ['group "catalog" is not connected'] },
    });
  });

  it('is degraded while the registry is away', async () => {
    const transport = simulated();
    const decode = transport.codec.decode.bind(transport.codec);
    let isAway = true;
    transport.codec.decode = (...args) => {
      if (isAway) throw new BusError('BUS_REGISTRY_UNAVAILABLE', 'away');
      return decode(...args);
    };
    const { health, send } = await setup({ transport });
    await send();
    await vi.waitFor(async () =>
      expect(await health.ready('bus')).toEqual({
        bus: { status: DEGRADED, problems: ['group "catalog" waits for the schema registry (records: 1)'] },
      }),
    );
    isAway = false;
  });

  it('is degraded while a dead letter cannot be written, which holds up its key alone', async () => {
    const transport = simulated();
    const publish = transport.publish.bind(transport);
    let isRefused = true;
    transport.publish = async (topic, ...args) => {
      if (isRefused && topic.includes('-dead-')) throw new BusError('BUS_RECORD_TOO_LARGE', 'too large');
      return publish(topic, ...args);
    };
    const { health, send } = await setup({ transport }, () => {
      throw new NonRetryable('never');
    });
    await send();
    const problems = ['group "catalog" cannot write dead letters (records that wait, with their keys: 1)'];
    await vi.waitFor(async () => expect(await health.ready('bus')).toEqual({ bus: { status: DEGRADED, problems } }));
    isRefused = false;
  });

  it('is degraded while a handler fails again and again', async () => {
    const { health, send } = await setup({ breakerAfter: 2 }, () => {
      throw new Error('downstream is away');
    });
    await Promise.all([send(), send(), send()]);
    await vi.waitFor(async () =>
      expect(await health.ready('bus')).toEqual({
        bus: {
          status: DEGRADED,
          problems: ['handler "CourseView.changed" fails again and again and is only probed'],
        },
      }),
    );
  });

  it('is degraded over the lag that is allowed, and asks the broker once', async () => {
    let letGo = () => {};
    const transport = simulated({ partitions: 1 });
    const positions = vi.spyOn(transport, 'positions');
    const { health, send } = await setup(
      { transport, concurrency: 1 },
      () => new Promise<void>((resolve) => (letGo = resolve)),
    );
    await Promise.all([send(), send(), send()]);
    await vi.waitFor(async () => expect(await health.ready('bus')).toMatchObject({ bus: { status: 'up' } }));
    positions.mockClear();

    expect(await health.ready('bus', { maxLag: 2 })).toEqual({
      bus: { status: DEGRADED, problems: ['the lag is 3 records, over 2'] },
    });
    expect(await health.ready('bus', { maxLag: 3 })).toMatchObject({ bus: { status: 'up' } });
    expect(positions).toHaveBeenCalledTimes(1);
    letGo();
  });

  it('is degraded when the lag is not known', async () => {
    const transport = simulated();
    const { health, send } = await setup({ transport });
    await send();
    await vi.waitFor(async () => expect(await health.ready('bus')).toMatchObject({ bus: { status: 'up' } }));
    transport.positions = () => Promise.reject(new Error('away'));

    expect(await health.ready('bus', { maxLag: 10 })).toEqual({
      bus: { status: DEGRADED, problems: ['the lag is not known'] },
    });
  });

  it('is degraded once records were lost unread', async () => {
    const broker = simulatedBroker({ partitions: 1 });
    const { app, health, send } = await setup({ transport: broker.transport(), autoStart: false });
    await Promise.all([send(), send(), send()]);
    const other = broker.transport();
    await other.open();
    const subscription = await other.subscribe(
      { topics: ['courses'], group: 'catalog' },
      { assigned() {}, receive() {}, revoking: async () => {}, lost() {}, trouble() {} },
    );
    await vi.waitFor(async () =>
      expect(await subscription.commit([{ topic: 'courses', partition: 0, position: '1', ahead: [] }])).toEqual([
        'committed',
      ]),
    );
    await subscription.stop();
    broker.deleteBefore('courses', 0, '2');

    await app.get(EventBusRunner).start();

    await vi.waitFor(async () =>
      expect(await health.ready('bus')).toEqual({
        bus: { status: DEGRADED, problems: ['group "catalog" has lost records unread in 1 range'] },
      }),
    );
    expect(health.live('bus')).toMatchObject({ bus: { status: 'up' } });
    await other.close();
  });
});

describe('live', () => {
  it('is up before, during and after the life of a consumer', async () => {
    const { app, health } = await setup({ autoStart: false });
    expect(health.live('bus')).toMatchObject({ bus: { status: 'up' } });
    await app.get(EventBusRunner).start();
    expect(health.live('bus')).toEqual({ bus: { status: 'up', groups: 1 } });
    await app.get(EventBusRunner).stop();
    expect(health.live('bus')).toMatchObject({ bus: { status: 'up' } });
  });

  it('is down when a loop stands still', async () => {
    const { health } = await setup({ transport: reporting({ state: 'running', idleMs: 61_000 }) });
    expect(health.live('bus')).toEqual({
      bus: { status: 'down', problems: ['the consumer of group "catalog" stands still'] },
    });
  });

  it('is down when a consumer has ended by itself', async () => {
    const { health } = await setup({ transport: reporting({ state: 'stopped' }) });
    expect(health.live('bus')).toEqual({
      bus: { status: 'down', problems: ['the consumer of group "catalog" has ended'] },
    });
  });

  it('is never down because a broker is away', async () => {
    const { health } = await setup({ transport: reporting({ state: 'trouble', idleMs: 3_600_000 }) });
    expect(health.live('bus')).toMatchObject({ bus: { status: 'up' } });
  });

  it('is never down because handlers take their time', async () => {
    const { health, send } = await setup(
      { transport: reporting({ state: 'running', idleMs: 61_000 }) },
      () => new Promise(() => {}),
    );
    await send();
    await vi.waitFor(() => expect(health.live('bus')).toMatchObject({ bus: { status: 'up' } }));
  });
});

describe('broker', () => {
  it('is up when the broker answers, and keeps the answer', async () => {
    const transport = simulated();
    const topics = vi.spyOn(transport, 'topics');
    const { health } = await setup({ transport });
    topics.mockClear();

    const answer = { broker: { status: 'up', transport: transport.name, topics: 2 } };
    expect(await health.broker('broker')).toEqual(answer);
    expect(await health.broker('broker')).toEqual(answer);
    expect(topics).toHaveBeenCalledTimes(1);
  });

  it('is down when the broker does not, and says why', async () => {
    const transport = simulated();
    const { health } = await setup({ transport });
    transport.topics = () => Promise.reject(new BusError('BUS_TRANSPORT_UNAVAILABLE', 'away'));
    expect(await health.broker('broker')).toEqual({
      broker: { status: 'down', transport: transport.name, problems: ['no answer: away'] },
    });
  });

  it('answers for each of two buses, also under one key', async () => {
    const away = simulated();
    const audit = EventBusModule.forRoot({ name: 'audit', service: 'auditor', transport: away });
    const { health } = await setup({}, () => {}, [audit]);
    away.topics = () => Promise.reject(new BusError('BUS_TRANSPORT_UNAVAILABLE', 'away'));

    expect(await health.broker('broker')).toMatchObject({ broker: { status: 'up' } });
    expect(await health.broker('broker', { bus: 'audit' })).toMatchObject({ broker: { status: 'down' } });
    expect(await health.ready('bus', { bus: 'audit' })).toMatchObject({ bus: { status: 'up', groups: 0 } });
  });
});
