import {
  Catch,
  Controller,
  Injectable,
  Logger,
  Scope,
  UseFilters,
  UseGuards,
  type CanActivate,
  type ExceptionFilter,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  Ctx,
  EventPattern,
  MessagePattern,
  Payload,
  Transport,
  type AsyncMicroserviceOptions,
  type ClientProxy,
} from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import { NonRetryable, exponential, signals } from '@event-bus/core';
import { simulatedBroker } from '@event-bus/testing';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { COURSE_CHANGED, COURSE_DELETED, DEMO, type CourseChanged } from './courses.test.fixture.js';
import type { EventBusContext } from './event-bus-context.js';
import { EventBusModule } from './event-bus.module.js';
import { EventBusProducer } from './event-bus-producer.js';
import { EventBusRunner } from './event-bus-runner.js';
import { EventBusClient, EventBusStrategy } from './microservices.js';
import { OnEventBus } from './on-event-bus.js';

const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const each of opened.splice(0)) await each.close();
  Logger.overrideLogger(true as never);
});

/** A hybrid application: controllers with @EventPattern on the bus. */
async function hybrid(controllers: (new (...args: never[]) => object)[], providers: object[] = []) {
  const broker = simulatedBroker();
  const bus = EventBusModule.forRoot({
    service: 'catalog',
    transport: broker.transport(),
    routes: { [COURSE_CHANGED.type]: { courses: { keyField: 'course.key' } } },
    events: [COURSE_CHANGED],
    retry: exponential({ attempts: 2, firstMs: 1, maxMs: 1 }),
  });
  const module = await Test.createTestingModule({
    imports: [bus],
    controllers,
    providers: [EventBusClient.provider('EVENTS'), ...(providers as [])],
  }).compile();
  const app = module.createNestApplication();
  opened.push(app);
  const connect = () => app.connectMicroservice({ strategy: new EventBusStrategy(app.get(EventBusRunner)) });
  return {
    app,
    broker,
    connect,
    async start() {
      connect();
      await app.startAllMicroservices();
      await app.init();
    },
    send: () => app.get(EventBusProducer).send(COURSE_CHANGED, DEMO),
    client: () => app.get<ClientProxy>('EVENTS'),
    deadLetters: () =>
      broker
        .records('courses-dead-catalog')
        .map(({ headers }) =>
          Object.fromEntries(headers.map(([name, value]) => [name, Buffer.from(value).toString()])),
        ),
  };
}

describe('EventBusStrategy', () => {
  it('runs each @EventPattern as a handler of its own, beside @OnEventBus', async () => {
    const calls: string[] = [];
    @Controller()
    class CourseController {
      @EventPattern<string>(COURSE_CHANGED.type, { id: 'view' })
      view(@Payload() { course }: CourseChanged, @Ctx() { handler, attempt }: EventBusContext) {
        calls.push(`${handler} ${attempt} ${course.name}`);
      }
      @EventPattern<string>(COURSE_CHANGED.type, { id: 'search' })
      search(@Payload() _data: CourseChanged, @Ctx() { handler, attempt }: EventBusContext) {
        calls.push(`${handler} ${attempt}`);
        if (attempt === 1) throw new Error('boom');
      }
      @OnEventBus(COURSE_CHANGED)
      mail() {
        calls.push('mail');
      }
    }
    const app = await hybrid([CourseController]);
    await app.start();

    await app.send();

    await vi.waitFor(() => expect(calls.toSorted()).toEqual(['mail', 'search 1', 'search 2', 'view 1 Demo']));
    expect(app.deadLetters()).toEqual([]);
  });

  it('tells failures apart: a guard, a steering handler, an exhausted one', async () => {
    @Injectable()
    class NobodyGuard implements CanActivate {
      canActivate() {
        return false;
      }
    }
    @Controller()
    class CourseController {
      @UseGuards(NobodyGuard)
      @EventPattern<string>(COURSE_CHANGED.type, { id: 'guarded' })
      guarded() {}
      @EventPattern<string>(COURSE_CHANGED.type, { id: 'steering' })
      steering() {
        throw new NonRetryable('useless', { code: 'BUS_EVENT_INVALID' });
      }
      @EventPattern<string>(COURSE_CHANGED.type, { id: 'exhausted' })
      exhausted() {
        throw new TypeError('boom');
      }
    }
    const app = await hybrid([CourseController]);
    await app.start();

    await app.send();

    await vi.waitFor(() => expect(app.deadLetters()).toHaveLength(3));
    expect(app.deadLetters().toSorted((a, b) => (a['dead-handler']! < b['dead-handler']! ? -1 : 1))).toMatchObject([
      { 'dead-handler': 'exhausted', 'dead-error': 'TypeError', 'dead-message': 'boom', 'dead-attempts': '2' },
      { 'dead-handler': 'guarded', 'dead-reason': 'BUS_HANDLER_REFUSED', 'dead-attempts': '1' },
      {
        'dead-handler': 'steering',
        'dead-reason': 'BUS_EVENT_INVALID',
        'dead-message': 'useless',
        'dead-attempts': '1',
      },
    ]);
  });

  it('makes a request scope for each attempt', async () => {
    const made: object[] = [];
    @Controller({ scope: Scope.REQUEST })
    class CourseController {
      constructor() {
        made.push(this);
      }
      @EventPattern<string>(COURSE_CHANGED.type)
      changed(@Ctx() { attempt }: EventBusContext) {
        if (attempt === 1) throw new Error('boom');
      }
    }
    const app = await hybrid([CourseController]);
    await app.start();

    await app.send();

    await vi.waitFor(() => expect(made).toHaveLength(2));
  });

  // Nest's own way of running it takes the promise of such a filter for "handled".
  it('does not take an event for handled because a filter logs its failure asynchronously', async () => {
    @Catch()
    class LoggingFilter implements ExceptionFilter {
      async catch() {}
    }
    @Controller()
    class CourseController {
      @UseFilters(LoggingFilter)
      @EventPattern<string>(COURSE_CHANGED.type)
      changed() {
        throw new TypeError('boom');
      }
    }
    const app = await hybrid([CourseController]);
    await app.start();

    await app.send();

    await vi.waitFor(() =>
      expect(app.deadLetters()).toMatchObject([{ 'dead-handler': 'CourseController.changed', 'dead-message': 'boom' }]),
    );
  });

  it('runs the global pipes of the application, also when its configuration is not inherited', async () => {
    const seen: unknown[] = [];
    @Controller()
    class CourseController {
      @EventPattern<string>(COURSE_CHANGED.type)
      changed(@Payload() data: unknown) {
        seen.push(data);
      }
    }
    const app = await hybrid([CourseController]);
    app.app.useGlobalPipes({ transform: (value: CourseChanged) => value.course?.name ?? value });
    await app.start();

    await app.send();

    await vi.waitFor(() => expect(seen).toEqual(['Demo']));
  });

  it('is called Class.method and takes the options of a handler as extras', async () => {
    const seen: string[] = [];
    @Controller()
    class CourseController {
      @EventPattern<string>(COURSE_CHANGED.type, { group: 'pages', servers: ['those of another transport'] })
      changed(@Ctx() { handler, group }: EventBusContext) {
        seen.push(handler, group);
      }
    }
    const app = await hybrid([CourseController]);
    await app.start();
    await app.send();
    await vi.waitFor(() => expect(seen).toEqual(['CourseController.changed', 'pages']));
  });

  it('refuses at start what it cannot serve, all at once', async () => {
    @Controller()
    class CourseController {
      @EventPattern<string>(COURSE_CHANGED.type, { id: 'twice' })
      one() {}
      @EventPattern<string>(COURSE_CHANGED.type, { id: 'twice' })
      two() {}
      @EventPattern<string>(COURSE_DELETED.type)
      unknown() {}
      @MessagePattern('course')
      asked() {}
      @EventPattern({ cmd: 'course' })
      object() {}
    }
    const app = await hybrid([CourseController]);

    await expect(app.start()).rejects.toMatchObject({
      code: 'BUS_CONFIG_INVALID',
      details: {
        problems: [
          expect.stringMatching(/@EventPattern\("org\.example\.course\.deleted\.v1"\) has no event definition/),
          expect.stringMatching(/@MessagePattern\("course"\) is not served.*name that one as the second argument/),
          expect.stringMatching(/@EventPattern\(\{"cmd":"course"\}\) must be the event type/),
          expect.stringMatching(/two handlers of "org\.example\.course\.changed\.v1".*have the id "twice"/),
        ],
      },
    });
  });

  it('leaves to another microservice of the application what is bound to its transport', async () => {
    const seen: string[] = [];
    @Controller()
    class CourseController {
      @MessagePattern('sum', Transport.TCP)
      sum(_data: unknown) {}
      @EventPattern('ticked', Transport.TCP)
      ticked(_data: unknown) {}
      @EventPattern<string>(COURSE_CHANGED.type, Symbol.for('event-bus'))
      changed(_data: unknown) {
        seen.push('changed');
      }
    }
    const app = await hybrid([CourseController]);
    app.app.connectMicroservice({ transport: Transport.TCP, options: { port: 0 } });
    await app.start();

    await app.send();

    await vi.waitFor(() => expect(seen).toEqual(['changed']));
  });

  it('refuses to join a bus that is open, and says when to connect', async () => {
    const app = await hybrid([]);
    await app.app.init();
    expect(app.connect).toThrow(/call connectMicroservice before app\.init\(\)/);
  });

  it('serves a pure microservice', async () => {
    const seen: unknown[] = [];
    @Controller()
    class CourseController {
      @EventPattern<string>(COURSE_CHANGED.type)
      changed(@Payload() data: CourseChanged) {
        seen.push(data);
      }
    }
    const broker = simulatedBroker();
    class AppModule {}
    const bus = EventBusModule.forRoot({
      service: 'catalog',
      transport: broker.transport(),
      routes: { [COURSE_CHANGED.type]: { courses: {} } },
      events: [COURSE_CHANGED],
    });
    const app = await NestFactory.createMicroservice<AsyncMicroserviceOptions>(
      {
        module: AppModule,
        imports: [bus],
        controllers: [CourseController],
      },
      {
        logger: false,
        inject: [EventBusRunner],
        useFactory: (runner: EventBusRunner) => ({ strategy: new EventBusStrategy(runner) }),
      },
    );
    opened.push(app);
    await app.listen();

    await app.get(EventBusProducer).send(COURSE_CHANGED, DEMO);

    await vi.waitFor(() => expect(seen).toEqual([DEMO]));
  });
});

describe('EventBusClient', () => {
  it('sends what is emitted, subscribed or not', async () => {
    const app = await hybrid([]);
    await app.app.init();

    app.client().emit(COURSE_CHANGED.type, DEMO);
    await lastValueFrom(app.client().emit(COURSE_CHANGED.type, DEMO));

    await vi.waitFor(() => expect(app.broker.records('courses')).toHaveLength(2));
  });

  it('rejects, counts and logs what could not be sent', async () => {
    const app = await hybrid([]);
    await app.app.init();
    const failed: string[] = [];
    const end = signals.sendFailed.subscribe(({ eventType }) => void failed.push(eventType));
    onTestFinished(end);
    const lines: unknown[][] = [];
    const level =
      (name: string) =>
      (...args: unknown[]) =>
        void lines.push([name, ...args]);
    Logger.overrideLogger({ log: level('log'), warn: level('warn'), error: level('error') });

    await expect(lastValueFrom(app.client().emit(COURSE_CHANGED.type, { course: 7 }))).rejects.toMatchObject({
      code: 'BUS_EVENT_INVALID',
    });
    app.client().emit(COURSE_DELETED.type, {});

    await vi.waitFor(() =>
      expect(lines).toMatchObject([
        [
          'error',
          'Emitted event was not sent',
          { event_type: COURSE_CHANGED.type, reason: 'BUS_EVENT_INVALID' },
          'EventBus',
        ],
        [
          'error',
          'Emitted event was not sent',
          { event_type: COURSE_DELETED.type, reason: 'BUS_EVENT_TYPE_UNKNOWN' },
          'EventBus',
        ],
      ]),
    );
    expect(failed).toEqual([COURSE_CHANGED.type, COURSE_DELETED.type]);
  });

  it('has no request and reply', async () => {
    const app = await hybrid([]);
    await app.app.init();
    await expect(firstValueFrom(app.client().send('course', {}))).rejects.toMatchObject({ code: 'BUS_UNSUPPORTED' });
  });
});
