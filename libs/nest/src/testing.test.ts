import { Inject, Injectable, Module, type OnModuleInit } from '@nestjs/common';
import { NonRetryable } from '@event-bus/core';
import { simulated } from '@event-bus/testing';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { COURSE_CHANGED, DEMO, type CourseChanged } from './courses.test.fixture.js';
import { EventBusModule } from './event-bus.module.js';
import { EventBusProducer } from './event-bus-producer.js';
import { OnEventBus } from './on-event-bus.js';
import { EventBusTest, type EventBusTestOptions } from './testing.js';

/** Fails as often as it is told to. */
@Injectable()
class CourseView {
  readonly names: string[] = [];
  constructor(@Inject('FAILURES') private readonly failures: { left: number; error: Error }) {}
  @OnEventBus(COURSE_CHANGED)
  changed({ course }: CourseChanged) {
    if (this.failures.left-- > 0) throw this.failures.error;
    this.names.push(course.name);
  }
}

const unreachable = simulated();
unreachable.open = () => Promise.reject(new Error('the application would connect for real'));

@Module({
  imports: [
    EventBusModule.forRoot({
      service: 'catalog',
      transport: unreachable,
      routes: { [COURSE_CHANGED.type]: { courses: { keyField: 'course.key' } } },
    }),
  ],
  providers: [CourseView, { provide: 'FAILURES', useValue: { left: 0, error: new Error('boom') } }],
})
class AppModule {}

let bus: EventBusTest | undefined;
afterEach(() => bus?.close());

async function start(failures: { left: number; error: Error }, options: EventBusTestOptions = {}) {
  bus = await EventBusTest.create(
    { imports: [AppModule] },
    { override: (builder) => builder.overrideProvider('FAILURES').useValue({ ...failures }), ...options },
  );
  return bus;
}

describe('EventBusTest', () => {
  it('runs an application as it is, without connecting to its transport', async () => {
    const bus = await start({ left: 0, error: new Error('boom') });

    await bus.send(COURSE_CHANGED, DEMO);
    await bus.module.get(EventBusProducer).send(COURSE_CHANGED, DEMO);
    await bus.quiet();

    expect(bus.module.get(CourseView).names).toEqual(['Demo', 'Demo']);
    expect(bus.sent).toHaveLength(2);
    expect(bus.handled('CourseView.changed')).toHaveLength(2);
  });

  it('waits for retries in virtual time', async () => {
    const bus = await start({ left: 3, error: new Error('boom') });

    await bus.send(COURSE_CHANGED, DEMO);
    await bus.quiet();

    expect(bus.outcomes('CourseView.changed').map(({ type, attempt }) => `${type} ${attempt}`)).toEqual([
      'retrying 1',
      'retrying 2',
      'retrying 3',
      'handled 4',
    ]);
  });

  it('shows dead letters with their reason', async () => {
    const bus = await start({ left: 1, error: new NonRetryable('useless') });

    await bus.send(COURSE_CHANGED, DEMO);
    await bus.quiet();

    expect(bus.deadLetters()).toMatchObject([
      { handler: 'CourseView.changed', reason: 'BUS_HANDLER_REFUSED', attempt: 1 },
    ]);
    bus.clear();
    expect(bus.outcomes()).toEqual([]);
  });

  it('runs on a transport it is given, in real time', async () => {
    const bus = await start({ left: 0, error: new Error('boom') }, { transport: simulated() });

    await bus.send(COURSE_CHANGED, DEMO);
    await bus.quiet();

    expect(bus.handled()).toHaveLength(1);
  });

  it('closes an application though one of its handlers never settles', async () => {
    let hasBegun = false;
    @Injectable()
    class Stuck {
      @OnEventBus(COURSE_CHANGED)
      changed() {
        hasBegun = true;
        return new Promise(() => {});
      }
    }
    const events = await EventBusTest.create({ imports: [AppModule], providers: [Stuck] }, { handlerPatienceMs: 10 });
    await events.send(COURSE_CHANGED, DEMO);
    await vi.waitFor(() => expect(hasBegun).toBe(true));

    await events.close();

    expect(events.outcomes('Stuck.changed')).toMatchObject([{ type: 'interrupted' }]);
  });

  it('leaves nothing open when the start of the application fails', async () => {
    const transport = simulated();
    const close = vi.spyOn(transport, 'close');
    @Injectable()
    class Broken implements OnModuleInit {
      onModuleInit() {
        throw new Error('no database');
      }
    }

    const creating = EventBusTest.create({ imports: [AppModule], providers: [Broken] }, { transport });

    await expect(creating).rejects.toThrow('no database');
    expect(close).toHaveBeenCalledOnce();
  });
});
