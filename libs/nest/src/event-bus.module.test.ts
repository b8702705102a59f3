import {
  Controller,
  Global,
  Injectable,
  Logger,
  Module,
  Scope,
  UseGuards,
  type CanActivate,
  type LoggerService,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
  type OnModuleDestroy,
  type OnModuleInit,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Test } from '@nestjs/testing';
import { exponential, schema, defineEvent, type Bus, type Routes } from '@event-bus/core';
import { simulated, simulatedBroker } from '@event-bus/testing';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { COURSE_CHANGED, COURSE_DELETED, DEMO, type CourseChanged } from './courses.test.fixture.js';
import type { EventBusContext } from './event-bus-context.js';
import { EventBusModule } from './event-bus.module.js';
import type { EventBusModuleOptions, EventBusOptionsFactory } from './event-bus-options.js';
import { EventBusProducer, InjectEventBus } from './event-bus-producer.js';
import { EventBusRunner } from './event-bus-runner.js';
import { OnEventBus } from './on-event-bus.js';
import { EVENT_BUS, EVENT_BUS_RUNNER } from './tokens.js';

const ROUTES: Routes = { [COURSE_CHANGED.type]: { courses: { keyField: 'course.key' } } };

const options = (more: Partial<EventBusModuleOptions> = {}): EventBusModuleOptions => ({
  service: 'catalog',
  transport: simulated(),
  routes: ROUTES,
  events: [COURSE_CHANGED],
  retry: exponential({ attempts: 2, firstMs: 1, maxMs: 1 }),
  ...more,
});

@Injectable()
class CourseView {
  readonly seen: [CourseChanged, EventBusContext][] = [];
  @OnEventBus(COURSE_CHANGED)
  changed(data: CourseChanged, context: EventBusContext) {
    this.seen.push([data, context]);
  }
}

const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const each of opened.splice(0)) await each.close();
  Logger.overrideLogger(true as never);
});

/** An application without HTTP, closed after the test. */
async function start(metadata: Parameters<typeof Test.createTestingModule>[0]) {
  const app = (await Test.createTestingModule(metadata).compile()).createNestApplication();
  opened.push(app);
  return app.init();
}

async function refusal(metadata: Parameters<typeof Test.createTestingModule>[0]): Promise<any> {
  return start(metadata).then(
    () => expect.unreachable('the start should be refused'),
    (error: unknown) => error,
  );
}

describe('EventBusModule.forRoot', () => {
  it('carries a sent event to its handler, with metadata and context', async () => {
    const app = await start({ imports: [EventBusModule.forRoot(options())], providers: [CourseView] });

    const sent = await app.get(EventBusProducer).send(COURSE_CHANGED, DEMO, { headers: { origin: 'test' } });

    const { seen } = app.get(CourseView);
    await vi.waitFor(() => expect(seen).toHaveLength(1));
    expect(seen[0]![0]).toEqual(DEMO);
    expect(seen[0]![1]).toMatchObject({
      event: sent.event,
      topic: 'courses',
      group: 'catalog',
      handler: 'CourseView.changed',
      attempt: 1,
      replay: false,
      headers: { origin: 'test' },
      offset: sent.records[0]!.offset,
    });
  });

  it('refuses wrong data before anything is sent, at compile time and at run time', async () => {
    const broker = simulatedBroker();
    const app = await start({ imports: [EventBusModule.forRoot(options({ transport: broker.transport() }))] });
    const producer = app.get(EventBusProducer);

    // @ts-expect-error -- a name is text
    await expect(producer.send(COURSE_CHANGED, { course: { key: DEMO.course.key, name: 7 } })).rejects.toMatchObject({
      code: 'BUS_EVENT_INVALID',
    });
    // @ts-expect-error -- there is no such field
    await expect(producer.send(COURSE_CHANGED, { ...DEMO, title: 'Demo' })).rejects.toMatchObject({
      code: 'BUS_EVENT_INVALID',
    });
    expect(broker.records('courses')).toEqual([]);
  });

  it('runs handlers of providers and controllers, each on its own', async () => {
    const calls: string[] = [];
    @Injectable()
    class Search {
      @OnEventBus(COURSE_CHANGED)
      index(_data: CourseChanged, { attempt }: EventBusContext) {
        calls.push(`search ${attempt}`);
        throw new Error('boom');
      }
    }
    @Controller()
    class CourseController {
      @OnEventBus(COURSE_CHANGED, { group: 'pages' })
      changed() {
        calls.push('page');
      }
    }
    const app = await start({
      imports: [EventBusModule.forRoot(options())],
      providers: [Search],
      controllers: [CourseController],
    });

    await app.get(EventBusProducer).send(COURSE_CHANGED, DEMO);

    await vi.waitFor(() => expect(calls.toSorted()).toEqual(['page', 'search 1', 'search 2']));
  });

  it('makes a dead letter of what a guard refuses, at once', async () => {
    const broker = simulatedBroker();
    @Injectable()
    class NobodyGuard implements CanActivate {
      canActivate() {
        return false;
      }
    }
    @Injectable()
    class Guarded {
      @UseGuards(NobodyGuard)
      @OnEventBus(COURSE_CHANGED)
      changed() {}
    }
    const app = await start({
      imports: [EventBusModule.forRoot(options({ transport: broker.transport() }))],
      providers: [Guarded],
    });

    await app.get(EventBusProducer).send(COURSE_CHANGED, DEMO);

    await vi.waitFor(() => expect(broker.records('courses-dead-catalog')).toHaveLength(1));
    const headers = Object.fromEntries(
      broker.records('courses-dead-catalog')[0]!.headers.map(([name, value]) => [name, Buffer.from(value).toString()]),
    );
    expect(headers).toMatchObject({
      'dead-reason': 'BUS_HANDLER_REFUSED',
      'dead-handler': 'Guarded.changed',
      'dead-attempts': '1',
    });
  });

  it('gives each delivery its own request scope', async () => {
    const made: object[] = [];
    @Injectable({ scope: Scope.REQUEST })
    class Unit {
      constructor() {
        made.push(this);
      }
      @OnEventBus(COURSE_CHANGED)
      changed() {}
    }
    const app = await start({ imports: [EventBusModule.forRoot(options())], providers: [Unit] });

    for (let n = 0; n < 3; n++) await app.get(EventBusProducer).send(COURSE_CHANGED, DEMO);

    await vi.waitFor(() => expect(made).toHaveLength(3));
  });

  it('is seen by the importing module alone when it is not global', async () => {
    @Injectable()
    class Feature {
      constructor(readonly producer: EventBusProducer) {}
    }
    @Module({ providers: [Feature] })
    class FeatureModule {}
    await expect(
      start({ imports: [FeatureModule, EventBusModule.forRoot(options({ isGlobal: false }))] }),
    ).rejects.toThrow(/EventBusProducer/);

    const app = await start({ imports: [EventBusModule.forRoot(options({ isGlobal: false }))], providers: [Feature] });
    expect(app.get(Feature).producer).toBe(app.get(EventBusProducer));
  });
});

describe('EventBusModule.forRootAsync', () => {
  @Injectable()
  class Settings implements EventBusOptionsFactory {
    createEventBusOptions() {
      return options();
    }
  }
  @Module({ providers: [Settings], exports: [Settings] })
  class SettingsModule {}

  it.each([
    [
      'useFactory',
      {
        imports: [SettingsModule],
        inject: [Settings],
        useFactory: async (settings: Settings) => settings.createEventBusOptions(),
      },
    ],
    ['useClass', { useClass: Settings }],
    ['useExisting', { imports: [SettingsModule], useExisting: Settings }],
  ])('takes its options from %s', async (_name, asyncOptions) => {
    const app = await start({ imports: [EventBusModule.forRootAsync(asyncOptions)], providers: [CourseView] });

    await app.get(EventBusProducer).send(COURSE_CHANGED, DEMO);

    await vi.waitFor(() => expect(app.get(CourseView).seen).toHaveLength(1));
  });

  it('says what to write when its factory gives nothing', async () => {
    const error = await refusal({ imports: [EventBusModule.forRootAsync({ useFactory: () => undefined as never })] });
    expect(error).toMatchObject({
      code: 'BUS_CONFIG_INVALID',
      message: 'The bus "default" has no options: its factory gave undefined; return { service, transport, … }.',
    });
  });
});

describe('EventBusModule.forFeature', () => {
  it('makes definitions known that routes name', async () => {
    @Module({ imports: [EventBusModule.forFeature([COURSE_CHANGED])] })
    class CoursesModule {}
    const app = await start({ imports: [CoursesModule, EventBusModule.forRoot(options({ events: [] }))] });

    const { records } = await app.get(EventBusProducer).send(COURSE_CHANGED, DEMO);
    expect(records).toHaveLength(1);
  });
});

describe('a forgotten forRoot', () => {
  it('stops the start of an application that has features for it', async () => {
    const error = await refusal({ imports: [EventBusModule.forFeature([COURSE_CHANGED])], providers: [CourseView] });
    expect(error).toMatchObject({
      code: 'BUS_CONFIG_INVALID',
      message: 'EventBusModule.forFeature has no bus; import EventBusModule.forRoot({ … }).',
    });
  });
});

describe('a named bus', () => {
  const AUDITED = defineEvent({ type: 'org.example.audited.v1', data: { what: schema.string() } });
  const audit = (more: Partial<EventBusModuleOptions> = {}) =>
    options({
      name: 'audit',
      service: 'auditor',
      routes: { [AUDITED.type]: { audit: {} } },
      events: [AUDITED],
      ...more,
    });

  it('has its own producer, runner and handlers', async () => {
    const seen: string[] = [];
    @Injectable()
    class Auditor {
      constructor(@InjectEventBus('audit') readonly producer: EventBusProducer) {}
      @OnEventBus(AUDITED, { bus: 'audit' })
      audited(_data: { readonly what: string }, { group }: EventBusContext) {
        seen.push(group);
      }
    }
    const app = await start({
      imports: [EventBusModule.forRoot(options()), EventBusModule.forRoot(audit())],
      providers: [Auditor, CourseView],
    });

    await app.get(Auditor).producer.send(AUDITED, { what: 'login' });

    await vi.waitFor(() => expect(seen).toEqual(['auditor']));
    await expect(app.get(EventBusProducer).send(AUDITED, { what: 'login' })).rejects.toMatchObject({
      code: 'BUS_EVENT_TYPE_UNKNOWN',
    });
    expect(app.get(EVENT_BUS_RUNNER('audit'))).toBeInstanceOf(EventBusRunner);
    expect(app.get(EVENT_BUS_RUNNER('audit'))).not.toBe(app.get(EventBusRunner));
    expect(app.get<Bus>(EVENT_BUS('audit')).name).toBe('audit');
  });

  it('exists once: a second one of its name stops the start', async () => {
    const error = await refusal({ imports: [EventBusModule.forRoot(audit()), EventBusModule.forRoot(audit())] });
    expect(error).toMatchObject({
      code: 'BUS_CONFIG_INVALID',
      message: expect.stringContaining('Two buses are named "audit"'),
    });
  });

  it('must exist for a handler or a feature to use it', async () => {
    @Injectable()
    class Auditor {
      @OnEventBus(AUDITED, { bus: 'adit' })
      audited() {}
    }
    const error = await refusal({
      imports: [EventBusModule.forRoot(audit()), EventBusModule.forFeature([AUDITED], 'other')],
      providers: [Auditor],
    });
    expect(error.details.problems).toEqual([
      'Handler "Auditor.audited" is for the bus "adit", which does not exist; import EventBusModule.forRoot({ name: \'adit\', … }) or name one of: audit.',
      'EventBusModule.forFeature is for the bus "other", which does not exist; import EventBusModule.forRoot({ name: \'other\', … }) or name one of: audit.',
    ]);
  });
});

describe('a start', () => {
  it('is refused with all findings of Nest and of the bus in one error, and opens no transport', async () => {
    const transport = simulated();
    const open = vi.spyOn(transport, 'open');
    @Injectable()
    class Guarded {
      @UseGuards(Nobody)
      @OnEventBus(COURSE_CHANGED)
      changed() {}
      @OnEventBus(COURSE_DELETED)
      deleted() {}
      @OnEventBus(COURSE_CHANGED, { id: 'twice' })
      one() {}
      @OnEventBus(COURSE_CHANGED, { id: 'twice' })
      two() {}
    }
    const error = await refusal({
      imports: [
        EventBusModule.forFeature([defineEvent({ type: COURSE_CHANGED.type, data: { key: schema.string() } })]),
        EventBusModule.forRoot(options({ transport, routes: { ...ROUTES, 'org.example.unknown.v1': { other: {} } } })),
      ],
      providers: [{ provide: Guarded, useFactory: () => new Guarded() }],
    });

    expect(error.code).toBe('BUS_CONFIG_INVALID');
    expect(error.details.problems).toEqual([
      expect.stringMatching(/another definition of "org\.example\.course\.changed\.v1".*share one constant/),
      expect.stringMatching(/"Guarded\.changed" would run without @UseGuards\(Nobody\)/),
      expect.stringMatching(/"org\.example\.unknown\.v1", which has no definition/),
      expect.stringMatching(
        /"Guarded\.deleted" of "org\.example\.course\.deleted\.v1" has no topic.*write \{ topic: '…' \}/,
      ),
      expect.stringMatching(
        /two handlers of "org\.example\.course\.changed\.v1" in group "catalog" have the id "twice"/,
      ),
    ]);
    for (const problem of error.details.problems) expect(error.message).toContain(problem);
    expect(open).not.toHaveBeenCalled();
  });

  it('is refused by wrong options', async () => {
    const error = await refusal({
      imports: [EventBusModule.forRoot({ service: 'no spaces', transport: undefined as never })],
    });
    expect(error).toMatchObject({
      code: 'BUS_CONFIG_INVALID',
      message: expect.stringMatching(/"service".*[\s\S]*"transport" is missing/),
    });
  });

  it('that fails closes what it has opened', async () => {
    const transport = simulated();
    transport.subscribe = () => Promise.reject(new Error('no group for you'));
    const close = vi.spyOn(transport, 'close');

    await expect(
      refusal({ imports: [EventBusModule.forRoot(options({ transport }))], providers: [CourseView] }),
    ).resolves.toMatchObject({ message: 'no group for you' });

    expect(close).toHaveBeenCalledOnce();
  });

  it('names each handler once in the log, with topic and group', async () => {
    const lines: unknown[][] = [];
    await start({
      imports: [EventBusModule.forRoot(options())],
      providers: [CourseView, { provide: 'LOG', useFactory: () => Logger.overrideLogger(recorder(lines)) }],
    });

    expect(lines).toContainEqual([
      'log',
      'Handler found',
      { handler: 'CourseView.changed', event_type: COURSE_CHANGED.type, topic: 'courses', group: 'catalog' },
      'EventBus',
    ]);
    expect(lines).toContainEqual(['log', 'Event bus started', { handlers: 1 }, 'EventBus']);
  });

  it('is warned about when a handler reads another topic than this service sends its events to', async () => {
    const lines: unknown[][] = [];
    @Injectable()
    class Misspelt {
      @OnEventBus(COURSE_CHANGED, { topic: 'coursess' })
      changed() {}
    }
    await start({
      imports: [EventBusModule.forRoot(options())],
      providers: [Misspelt, CourseView, { provide: 'LOG', useFactory: () => Logger.overrideLogger(recorder(lines)) }],
    });

    expect(lines.filter(([level]) => level === 'warn')).toEqual([
      [
        'warn',
        'Handler reads a topic that no route of this service sends its events to',
        { handler: 'Misspelt.changed', topic: 'coursess', routes: 'courses' },
        'EventBus',
      ],
    ]);
  });
});

describe('the order of a life', () => {
  it('opens before every feature, takes events after every feature, stops before them and closes the producer last', async () => {
    const steps: string[] = [];
    const transport = simulated();
    const [subscribe, close] = [transport.subscribe.bind(transport), transport.close.bind(transport)];
    transport.subscribe = async (...args) => {
      steps.push('subscribe');
      const subscription = await subscribe(...args);
      const stop = subscription.stop.bind(subscription);
      return {
        ...subscription,
        status: () => subscription.status(),
        commit: (commits) => subscription.commit(commits),
        stop: () => (steps.push('unsubscribe'), stop()),
      };
    };
    transport.close = () => (steps.push('close'), close());

    @Injectable()
    class Feature implements OnModuleInit, OnApplicationBootstrap, OnModuleDestroy {
      constructor(readonly producer: EventBusProducer) {}
      async onModuleInit() {
        await this.producer.send(COURSE_CHANGED, DEMO);
        steps.push('feature sent at init');
      }
      onApplicationBootstrap() {
        steps.push('feature bootstrapped');
      }
      onModuleDestroy() {
        if (!steps.includes('close')) steps.push('feature destroyed');
      }
      async beforeApplicationShutdown() {
        if (steps.includes('close')) return;
        await this.producer.send(COURSE_CHANGED, DEMO);
        steps.push('feature sent late');
      }
    }
    @Module({ providers: [Feature, CourseView] })
    class FeatureModule {}
    const app = await start({ imports: [FeatureModule, EventBusModule.forRoot(options({ transport }))] });
    await app.close();

    expect(steps).toEqual([
      'feature sent at init',
      'feature bootstrapped',
      'subscribe',
      'unsubscribe',
      'feature destroyed',
      'feature sent late',
      'close',
    ]);
  });

  it.each([
    ['a global module', true, []],
    ['a module of an application whose bus is not global', false, ['bus']],
  ])('is open to %s that is imported first, from the first hook to the last', async (_name, isGlobal, imports) => {
    const broker = simulatedBroker();
    const bus = EventBusModule.forRoot(options({ transport: broker.transport(), isGlobal }));
    @Injectable()
    class Seed implements OnModuleInit, OnApplicationShutdown {
      constructor(readonly producer: EventBusProducer) {}
      async onModuleInit() {
        await this.producer.send(COURSE_CHANGED, DEMO, { deadlineMs: 1_000 });
      }
      async onApplicationShutdown() {
        await this.producer.send(COURSE_CHANGED, DEMO);
      }
    }
    @Global()
    @Module({ imports: imports.length === 0 ? [] : [bus], providers: [Seed] })
    class SeedModule {}

    const module = await Test.createTestingModule({ imports: [SeedModule, bus] }).compile();
    await module.init();
    await module.close();

    expect(broker.records('courses')).toHaveLength(2);
  });

  it.each([
    ['last in the root module', false],
    ['first', true],
    ['in a global module', true],
    ['in the module of the handlers', false],
  ])('is warned about once when forRoot stands %s: %s', async (where, isWarned) => {
    const lines: unknown[][] = [];
    const bus = EventBusModule.forRoot(options());
    @Module({ imports: where.includes('handlers') ? [bus] : [], providers: [CourseView] })
    class CatalogModule {}
    @Global()
    @Module({ imports: [bus] })
    class CoreModule {}
    const imports = {
      'last in the root module': [CatalogModule, bus],
      first: [bus, CatalogModule],
      'in a global module': [CoreModule, CatalogModule],
      'in the module of the handlers': [CatalogModule],
    }[where]!;

    await start({ imports, providers: [{ provide: 'LOG', useFactory: () => Logger.overrideLogger(recorder(lines)) }] });

    expect(lines.filter(([level]) => level === 'warn')).toEqual(
      isWarned
        ? [
            [
              'warn',
              'Handlers start before their modules and stop after them',
              { modules: 'CatalogModule', cure: 'import EventBusModule.forRoot last in the root module' },
              'EventBus',
            ],
          ]
        : [],
    );
  });

  it('lets a running handler finish before it stops', async () => {
    let isDone = false;
    let hasBegun = false;
    let finish = () => {};
    @Injectable()
    class Slow {
      @OnEventBus(COURSE_CHANGED)
      async changed() {
        hasBegun = true;
        await new Promise<void>((resolve) => (finish = resolve));
        isDone = true;
      }
    }
    const app = await start({ imports: [EventBusModule.forRoot(options())], providers: [Slow] });
    await app.get(EventBusProducer).send(COURSE_CHANGED, DEMO);
    await vi.waitFor(() => expect(hasBegun).toBe(true));

    const closing = app.close();
    await vi.waitFor(() => expect(app.get<Bus>(EVENT_BUS()).status().state).toBe('stopping'));
    expect(isDone).toBe(false);
    finish();
    await closing;

    expect(isDone).toBe(true);
  });

  it('waits for runner.start() when told so', async () => {
    const app = await start({
      imports: [EventBusModule.forRoot(options({ autoStart: false }))],
      providers: [CourseView],
    });
    await app.get(EventBusProducer).send(COURSE_CHANGED, DEMO);
    expect(app.get<Bus>(EVENT_BUS()).status()).toMatchObject({ state: 'open', consumers: [] });

    await app.get(EventBusRunner).start();
    await app.get(EventBusRunner).start();

    await vi.waitFor(() => expect(app.get(CourseView).seen).toHaveLength(1));
  });

  it('goes on sending when runner.start() fails, and starts when it is called again', async () => {
    const transport = simulated();
    const subscribe = transport.subscribe.bind(transport);
    transport.subscribe = () => Promise.reject(new Error('no group for you'));
    const app = await start({
      imports: [EventBusModule.forRoot(options({ transport, autoStart: false }))],
      providers: [CourseView],
    });

    await expect(app.get(EventBusRunner).start()).rejects.toThrow('no group for you');

    expect((await app.get(EventBusProducer).send(COURSE_CHANGED, DEMO)).records).toHaveLength(1);
    transport.subscribe = subscribe;
    await app.get(EventBusRunner).start();
    await vi.waitFor(() => expect(app.get(CourseView).seen).toHaveLength(1));
  });

  it('does not start again after runner.stop(), and says so', async () => {
    const app = await start({ imports: [EventBusModule.forRoot(options())], providers: [CourseView] });
    const runner = app.get(EventBusRunner);
    await runner.stop();

    await expect(runner.start()).rejects.toMatchObject({ code: 'BUS_CLOSED' });
  });

  it('rejects a send after the end by code', async () => {
    const app = await start({ imports: [EventBusModule.forRoot(options())] });
    const producer = app.get(EventBusProducer);
    await app.close();
    await expect(producer.send(COURSE_CHANGED, DEMO)).rejects.toMatchObject({ code: 'BUS_CLOSED' });
  });

  it('lets a send wait that comes before the start, and no longer than its deadline', async () => {
    const module = await Test.createTestingModule({
      imports: [EventBusModule.forRoot(options())],
      providers: [CourseView],
    }).compile();
    const producer = module.get(EventBusProducer);

    await expect(producer.send(COURSE_CHANGED, DEMO, { deadlineMs: 5 })).rejects.toMatchObject({
      code: 'BUS_CONFIG_INVALID',
      message: expect.stringContaining('call app.init()'),
    });
    const sending = producer.send(COURSE_CHANGED, DEMO);
    opened.push(await module.init());

    expect((await sending).records).toHaveLength(1);
    await vi.waitFor(() => expect(module.get(CourseView).seen).toHaveLength(1));
  });

  it('takes a send before the start as it is: its data, its turn, its signal', async () => {
    const broker = simulatedBroker({ partitions: 1 });
    const named = (name: string) => ({ course: { ...DEMO.course, name } });
    @Injectable()
    class Early implements OnModuleInit {
      constructor(private readonly producer: EventBusProducer) {
        const data = named('first');
        void producer.send(COURSE_CHANGED, data);
        data.course.name = 'changed later';
        void producer.send(COURSE_CHANGED, named('second'));
      }
      onModuleInit() {
        void this.producer.send(COURSE_CHANGED, named('third'));
      }
    }
    const transport = broker.transport();
    const module = await Test.createTestingModule({
      imports: [EventBusModule.forRoot(options({ transport }))],
      providers: [Early],
    }).compile();
    const abort = new AbortController();
    const abandoned = module.get(EventBusProducer).send(COURSE_CHANGED, named('given up'), { signal: abort.signal });
    abort.abort();
    await expect(abandoned).rejects.toMatchObject({ code: 'BUS_INTERRUPTED', details: { outcome: 'not-stored' } });

    opened.push(await module.init());

    await vi.waitFor(() => expect(broker.records('courses')).toHaveLength(3));
    const names = broker.records('courses').map(({ value }) => JSON.parse(Buffer.from(value!).toString()).course.name);
    expect(names).toEqual(['first', 'second', 'third']);
  });

  it('runs without HTTP, as an application context', async () => {
    @Module({ imports: [EventBusModule.forRoot(options())], providers: [CourseView] })
    class AppModule {}
    const app = await NestFactory.createApplicationContext(AppModule, { logger: false });
    opened.push(app);

    await app.get(EventBusProducer).send(COURSE_CHANGED, DEMO);

    await vi.waitFor(() => expect(app.get(CourseView).seen).toHaveLength(1));
  });
});

@Injectable()
class Nobody implements CanActivate {
  canActivate() {
    return false;
  }
}

/** A logger that keeps what it is given. */
function recorder(lines: unknown[][]): LoggerService {
  const level =
    (name: string) =>
    (...args: unknown[]) =>
      void lines.push([name, ...args]);
  return { log: level('log'), warn: level('warn'), error: level('error'), debug: level('debug') };
}
