import { Body, Controller, Inject, Injectable, Module, Post, type OnModuleInit } from '@nestjs/common';
import { NonRetryable, defineEvent, schema } from '@event-bus/core';
import { simulated, type SimulatedTransport } from '@event-bus/testing';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { COURSE_CHANGED, DEMO, type CourseChanged } from './courses.test.fixture.js';
import { EventBusModule } from './event-bus.module.js';
import { EventBusProducer, InjectEventBus } from './event-bus-producer.js';
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

let bus: { close(): Promise<void> } | undefined;
afterEach(() => bus?.close());

async function start(failures: { left: number; error: Error }, options: EventBusTestOptions = {}) {
  const events = await EventBusTest.create(
    { imports: [AppModule] },
    { override: (builder) => builder.overrideProvider('FAILURES').useValue({ ...failures }), ...options },
  );
  bus = events;
  return events;
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

  it('runs on transports that a function makes, in virtual time', async () => {
    const made: SimulatedTransport[] = [];
    const bus = await start(
      { left: 3, error: new Error('boom') },
      {
        startMs: Date.UTC(2001, 0, 1),
        transport: (environment) => made[made.push(simulated({ ...environment, partitions: 1 })) - 1]!,
      },
    );

    const { event } = await bus.send(COURSE_CHANGED, DEMO);
    await bus.quiet();

    expect(made).toHaveLength(1);
    expect(event.time).toMatch(/^2001-01-01T00:00:00/);
    expect(bus.outcomes().map(({ attempt }) => attempt)).toEqual([1, 2, 3, 4]);
  });

  it('starts its virtual time now, so that events are not older than what else the test makes', async () => {
    const before = Date.now();
    const { event } = await (await start({ left: 0, error: new Error() })).send(COURSE_CHANGED, DEMO);
    expect(Date.parse(event.time)).toBeGreaterThanOrEqual(before);
  });

  it('carries an event from a request to its handler, in the application that main.ts makes', async () => {
    @Controller()
    class CourseController {
      constructor(private readonly producer: EventBusProducer) {}
      @Post('/courses')
      async create(@Body() name: string) {
        await this.producer.send(COURSE_CHANGED, { course: { ...DEMO.course, name } });
      }
    }
    let inits = 0;
    @Injectable()
    class Once implements OnModuleInit {
      onModuleInit() {
        inits++;
      }
    }
    const events = await EventBusTest.create(
      { imports: [AppModule], controllers: [CourseController], providers: [Once] },
      {
        app: (module) =>
          module.createNestApplication().useGlobalPipes({
            transform: (value: { name?: string }) => value.name?.trim() ?? value,
          }),
      },
    );
    bus = events;

    await events.app.listen(0);
    const body = JSON.stringify({ name: ' Physics ' });
    const response = await fetch(`${(await events.app.getUrl()).replace('[::1]', 'localhost')}/courses`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
    });
    await events.quiet();

    expect(response.status).toBe(201);
    expect(events.app.get(CourseView).names).toEqual(['Physics']);
    expect(inits).toBe(1);
  });

  it('puts every bus of the application on one broker for tests, and waits for all', async () => {
    const AUDITED = defineEvent({ type: 'org.example.audited.v1', data: { what: schema.string() } });
    const seen: string[] = [];
    @Injectable()
    class Auditor {
      constructor(@InjectEventBus('audit') private readonly audit: EventBusProducer) {}
      @OnEventBus(COURSE_CHANGED, { group: 'audit' })
      changed({ course }: CourseChanged) {
        return this.audit.send(AUDITED, { what: course.name });
      }
      @OnEventBus(AUDITED, { bus: 'audit' })
      audited({ what }: { readonly what: string }) {
        seen.push(what);
      }
    }
    const audit = EventBusModule.forRoot({
      name: 'audit',
      service: 'auditor',
      transport: unreachable,
      routes: { [AUDITED.type]: { audit: {} } },
    });
    const events = await EventBusTest.create({ imports: [AppModule, audit], providers: [Auditor] });
    bus = events;

    await events.send(COURSE_CHANGED, DEMO);
    await events.quiet();

    expect(seen).toEqual(['Demo']);
    expect(events.sent.map(({ bus: name }) => name)).toEqual(['default', 'audit']);
    await expect(EventBusTest.create({ imports: [AppModule, audit] }, { transport: simulated() })).rejects.toThrow(
      /belongs to one bus.*give a function/,
    );
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
