import {
  Catch,
  Controller,
  ForbiddenException,
  Inject,
  Injectable,
  Scope,
  UseFilters,
  UseGuards,
  UseInterceptors,
  UsePipes,
  ValidationPipe,
  createParamDecorator,
  type ArgumentsHost,
  type CallHandler,
  type CanActivate,
  type ExceptionFilter,
  type ExecutionContext,
  type NestInterceptor,
  type PipeTransform,
  type Type,
} from '@nestjs/common';
import {
  APP_FILTER,
  APP_GUARD,
  APP_INTERCEPTOR,
  APP_PIPE,
  ContextIdFactory,
  REQUEST,
  type ContextId,
} from '@nestjs/core';
import { BaseRpcExceptionFilter, Ctx, Payload } from '@nestjs/microservices';
import { BusError } from '@event-bus/core';
import { IsString, ValidateNested } from 'class-validator';
import { Type as TypeOf } from 'class-transformer';
import { EMPTY, EmptyError, Observable, map, of, throwError } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { COURSE_CHANGED, DEMO, contextOf, nestOf, type CourseChanged } from './courses.test.fixture.js';
import { EventBusContext, isEventBusContext } from './event-bus-context.js';
import { OnEventBus } from './on-event-bus.js';

const HOSTS = ['providers', 'controllers'] as const;

/** The same class as a provider and as a controller. */
function hostIn(kind: (typeof HOSTS)[number], host: Type, ...providers: object[]) {
  return kind === 'controllers'
    ? { controllers: [host], providers: providers as Type[] }
    : { providers: [host, ...(providers as Type[])] };
}

describe.each(HOSTS)('a handler among the %s', (kind) => {
  it('gets data and context without any decorator on its parameters', async () => {
    @Controller()
    class CourseView {
      seen: unknown[] = [];
      @OnEventBus(COURSE_CHANGED)
      changed(data: CourseChanged, context: EventBusContext) {
        this.seen.push(data, context);
      }
    }
    const nest = await nestOf(hostIn(kind, CourseView));
    const context = contextOf({ attempt: 3 });

    expect(await nest.deliver('CourseView.changed', DEMO, context)).toEqual({ ok: true });
    expect(nest.module.get(CourseView).seen).toEqual([DEMO, context]);
  });

  it('gets what its parameter decorators ask for', async () => {
    const Group = createParamDecorator(
      (_data: unknown, context: ExecutionContext) => context.switchToRpc().getContext<EventBusContext>().group,
    );
    @Controller()
    class CourseView {
      seen: unknown[] = [];
      @OnEventBus(COURSE_CHANGED)
      changed(
        @Group() group: any,
        @Ctx() context: EventBusContext,
        @Payload('course') course: CourseChanged['course'],
      ) {
        this.seen.push(group, context.attempt, course);
      }
    }
    const nest = await nestOf(hostIn(kind, CourseView));

    await nest.deliver('CourseView.changed', DEMO, contextOf({ group: 'catalog', attempt: 2 }));
    expect(nest.module.get(CourseView).seen).toEqual(['catalog', 2, DEMO.course]);
  });

  it('runs guards, interceptors and pipes of application, class and method in the order of a request', async () => {
    const steps: string[] = [];
    const guard = (name: string) => ({ canActivate: () => steps.push(`guard ${name}`) > 0 });
    const interceptor = (name: string) => ({
      intercept(_context: ExecutionContext, next: CallHandler) {
        steps.push(`before ${name}`);
        return next.handle().pipe(map((value: unknown) => (steps.push(`after ${name}`), value)));
      },
    });
    const pipe = (name: string) => ({
      transform: (value: unknown) => (value instanceof EventBusContext || steps.push(`pipe ${name}`), value),
    });
    @Injectable()
    class MethodGuard implements CanActivate {
      canActivate = () => steps.push('guard method') > 0;
    }
    @Injectable()
    class MethodPipe implements PipeTransform {
      transform = pipe('method').transform;
    }
    @UseGuards(guard('class'))
    @UseInterceptors(interceptor('class'))
    @UsePipes(pipe('class'))
    @Controller()
    class CourseView {
      @UseGuards(MethodGuard)
      @UseInterceptors(interceptor('method'))
      @UsePipes(MethodPipe)
      @OnEventBus(COURSE_CHANGED)
      changed(@Payload(pipe('parameter')) _data: CourseChanged) {
        steps.push('handler');
      }
    }
    const nest = await nestOf(
      hostIn(
        kind,
        CourseView,
        { provide: APP_GUARD, useValue: guard('application') },
        { provide: APP_INTERCEPTOR, useValue: interceptor('application') },
        { provide: APP_PIPE, useValue: pipe('application') },
      ),
    );

    expect(await nest.deliver('CourseView.changed')).toEqual({ ok: true });
    expect(steps).toEqual([
      'guard application',
      'guard class',
      'guard method',
      'before application',
      'before class',
      'before method',
      'pipe application',
      'pipe class',
      'pipe method',
      'pipe parameter',
      'handler',
      'after method',
      'after class',
      'after application',
    ]);
  });

  it('is refused by a guard that is given as a class and has dependencies', async () => {
    @Injectable()
    class Roles {
      readonly allowed = ['staff'];
    }
    @Injectable()
    class RolesGuard implements CanActivate {
      constructor(private readonly roles: Roles) {}
      canActivate(context: ExecutionContext) {
        return isEventBusContext(context) && this.roles.allowed.includes('nobody');
      }
    }
    @Controller()
    class CourseView {
      @UseGuards(RolesGuard)
      @OnEventBus(COURSE_CHANGED)
      changed() {
        throw new Error('must not run');
      }
    }
    const nest = await nestOf(hostIn(kind, CourseView, Roles));

    expect(await nest.deliver('CourseView.changed')).toMatchObject({
      ok: false,
      original: expect.any(ForbiddenException),
    });
  });

  it.each([
    ['default', Scope.DEFAULT],
    ['transient', Scope.TRANSIENT],
    ['request', Scope.REQUEST],
  ])('is refused by a global guard of %s scope', async (_name, scope) => {
    @Injectable({ scope })
    class NobodyGuard implements CanActivate {
      canActivate() {
        return false;
      }
    }
    @Controller()
    class CourseView {
      @OnEventBus(COURSE_CHANGED)
      changed() {}
    }
    const nest = await nestOf(hostIn(kind, CourseView, { provide: APP_GUARD, useClass: NobodyGuard, scope }));

    expect(await nest.deliver('CourseView.changed')).toMatchObject({
      ok: false,
      original: expect.any(ForbiddenException),
    });
  });

  it('is validated by a ValidationPipe, with a class as its parameter', async () => {
    class CourseDto {
      @IsString() key!: string;
      @IsString() name!: string;
    }
    class ChangedDto {
      @ValidateNested() @TypeOf(() => CourseDto) course!: CourseDto;
    }
    @Controller()
    class CourseView {
      seen: unknown[] = [];
      @UsePipes(new ValidationPipe({ transform: true }))
      @OnEventBus(COURSE_CHANGED)
      changed(@Payload() data: ChangedDto) {
        this.seen.push(data);
      }
    }
    const nest = await nestOf(hostIn(kind, CourseView));

    expect(await nest.deliver('CourseView.changed', { course: { key: 'k', name: 7 } })).toMatchObject({
      ok: false,
      original: { status: 400 },
    });
    expect(await nest.deliver('CourseView.changed')).toEqual({ ok: true });
    expect(nest.module.get(CourseView).seen).toEqual([expect.any(ChangedDto)]);
  });

  it('has its pipes run over bare parameters as well', async () => {
    @Controller()
    class CourseView {
      seen: unknown[] = [];
      @UsePipes({ transform: (value: unknown) => (value instanceof EventBusContext ? value : [value]) })
      @OnEventBus(COURSE_CHANGED)
      changed(data: CourseChanged) {
        this.seen.push(data);
      }
    }
    const nest = await nestOf(hostIn(kind, CourseView));

    await nest.deliver('CourseView.changed');
    expect(nest.module.get(CourseView).seen).toEqual([[DEMO]]);
  });

  it('makes a new request scope for each attempt, with a REQUEST that shows the delivery', async () => {
    const made: CourseView[] = [];
    @Injectable({ scope: Scope.REQUEST })
    class Unit {
      constructor(@Inject(REQUEST) readonly request: any) {}
    }
    @Injectable()
    class UnitGuard implements CanActivate {
      constructor(readonly unit: Unit) {}
      canActivate(context: ExecutionContext) {
        return this.unit.request.getContext() === context.switchToRpc().getContext();
      }
    }
    @UseGuards(UnitGuard)
    @Controller({ scope: Scope.REQUEST })
    class CourseView {
      constructor(readonly unit: Unit) {
        made.push(this);
      }
      @OnEventBus(COURSE_CHANGED)
      changed(data: CourseChanged, context: EventBusContext) {
        const { request } = this.unit;
        expect([request.pattern, request.getPattern(), request.data, request.getData(), request.getContext()]).toEqual([
          COURSE_CHANGED.type,
          COURSE_CHANGED.type,
          data,
          data,
          context,
        ]);
      }
    }
    // A provider takes its scope from @Injectable.
    if (kind === 'providers') Injectable({ scope: Scope.REQUEST })(CourseView);
    const nest = await nestOf(hostIn(kind, CourseView, Unit));

    expect(await nest.deliver('CourseView.changed')).toEqual({ ok: true });
    expect(await nest.deliver('CourseView.changed')).toEqual({ ok: true });
    expect(new Set(made).size).toBe(2);
    expect(made[0]!.unit).not.toBe(made[1]!.unit);
  });

  it('is scoped when only a guard of it is', async () => {
    const made: object[] = [];
    @Injectable({ scope: Scope.REQUEST })
    class UnitGuard implements CanActivate {
      constructor() {
        made.push(this);
      }
      canActivate = () => true;
    }
    @Controller()
    class CourseView {
      @UseGuards(UnitGuard)
      @OnEventBus(COURSE_CHANGED)
      changed() {}
    }
    const nest = await nestOf(hostIn(kind, CourseView));

    await nest.deliver('CourseView.changed');
    await nest.deliver('CourseView.changed');
    expect(made).toHaveLength(2);
  });

  it('fails the attempt when a constructor of its scope throws', async () => {
    @Injectable({ scope: Scope.REQUEST })
    class Unit {
      constructor() {
        throw new Error('no connection');
      }
    }
    @Controller()
    class CourseView {
      constructor(readonly unit: Unit) {}
      @OnEventBus(COURSE_CHANGED)
      changed() {}
    }
    const nest = await nestOf(hostIn(kind, CourseView, Unit));

    expect(await nest.deliver('CourseView.changed')).toMatchObject({
      ok: false,
      original: { message: 'no connection' },
    });
  });
});

describe('a handler', () => {
  it('is built for each attempt when its host is transient', async () => {
    let made = 0;
    @Injectable({ scope: Scope.TRANSIENT })
    class CourseView {
      constructor() {
        made++;
      }
      @OnEventBus(COURSE_CHANGED)
      changed() {}
    }
    const nest = await nestOf({ providers: [CourseView] });
    const before = made;

    await nest.deliver('CourseView.changed');
    await nest.deliver('CourseView.changed');
    expect(made - before).toBe(2);
  });

  it('shares a durable host among the deliveries of one tenant', async () => {
    const made: object[] = [];
    @Injectable({ scope: Scope.REQUEST, durable: true })
    class Tenant {
      constructor(@Inject(REQUEST) readonly request: { tenant: string }) {
        made.push(this);
      }
    }
    @Injectable()
    class CourseView {
      constructor(readonly tenant: Tenant) {}
      @OnEventBus(COURSE_CHANGED)
      changed(_data: CourseChanged, context: EventBusContext) {
        expect(this.tenant.request.tenant).toBe(context.headers.tenant);
      }
    }
    const tenants = new Map<string, ContextId>();
    ContextIdFactory.apply({
      attach(contextId: ContextId, request: any) {
        const tenant = request.getContext().headers.tenant as string;
        if (!tenants.has(tenant)) tenants.set(tenant, ContextIdFactory.create());
        return {
          resolve: (info: { isTreeDurable: boolean }) => (info.isTreeDurable ? tenants.get(tenant)! : contextId),
          payload: { tenant },
        };
      },
    });
    try {
      const nest = await nestOf({ providers: [Tenant, CourseView] });
      for (const tenant of ['edX', 'MITx', 'edX', 'MITx'])
        expect(await nest.deliver('CourseView.changed', DEMO, contextOf({ headers: { tenant } }))).toEqual({
          ok: true,
        });
      expect(made).toHaveLength(2);
    } finally {
      ContextIdFactory.apply(undefined as never);
    }
  });

  it('keeps its own parameters beside another class of the same name', async () => {
    const seen: unknown[] = [];
    const View = (parameter: ParameterDecorator) => {
      class CourseView {
        changed(value: unknown) {
          seen.push(value);
        }
      }
      parameter(CourseView.prototype, 'changed', 0);
      return CourseView;
    };
    const [One, Two] = [View(Payload('course')), View(Ctx())];
    OnEventBus(COURSE_CHANGED, { id: 'one' })(
      One.prototype,
      'changed',
      Object.getOwnPropertyDescriptor(One.prototype, 'changed')!,
    );
    OnEventBus(COURSE_CHANGED, { id: 'two' })(
      Two.prototype,
      'changed',
      Object.getOwnPropertyDescriptor(Two.prototype, 'changed')!,
    );
    const nest = await nestOf({ providers: [One, Two] });
    const context = contextOf();

    await nest.deliver('one', DEMO, context);
    await nest.deliver('two', DEMO, context);
    expect(seen).toEqual([DEMO.course, context]);
  });

  it('may answer with an observable, also an empty one', async () => {
    @Injectable()
    class CourseView {
      @OnEventBus(COURSE_CHANGED)
      some() {
        return of(1, 2);
      }
      @OnEventBus(COURSE_CHANGED)
      none() {
        return EMPTY;
      }
      @OnEventBus(COURSE_CHANGED)
      later() {
        return Promise.resolve(EMPTY);
      }
      @OnEventBus(COURSE_CHANGED)
      failing() {
        return throwError(() => new Error('late'));
      }
      @OnEventBus(COURSE_CHANGED)
      empty() {
        throw new EmptyError();
      }
    }
    const nest = await nestOf({ providers: [CourseView] });

    for (const method of ['some', 'none', 'later'])
      expect(await nest.deliver(`CourseView.${method}`)).toEqual({ ok: true });
    expect(await nest.deliver('CourseView.failing')).toMatchObject({ ok: false, original: { message: 'late' } });
    expect(await nest.deliver('CourseView.empty')).toMatchObject({ ok: false, original: expect.any(EmptyError) });
  });

  it('has its observable unsubscribed when the signal aborts', async () => {
    let isSubscribed = false;
    @Injectable()
    class CourseView {
      @OnEventBus(COURSE_CHANGED)
      forever() {
        return new Observable(() => {
          isSubscribed = true;
          return () => void (isSubscribed = false);
        });
      }
    }
    const nest = await nestOf({ providers: [CourseView] });
    const abort = new AbortController();
    const outcome = nest.deliver('CourseView.forever', DEMO, contextOf({ signal: abort.signal }));
    await expect.poll(() => isSubscribed).toBe(true);

    abort.abort(new Error('timeout'));

    expect(await outcome).toMatchObject({ ok: false, original: { message: 'timeout' } });
    expect(isSubscribed).toBe(false);
  });

  it('may be inherited from a base class', async () => {
    const seen: string[] = [];
    abstract class View {
      @OnEventBus(COURSE_CHANGED)
      changed(@Payload() { course }: CourseChanged) {
        seen.push(course.name);
      }
    }
    @Injectable()
    class CourseView extends View {}
    const nest = await nestOf({ providers: [CourseView] });

    await nest.deliver('CourseView.changed');
    expect(seen).toEqual(['Demo']);
  });
});

describe('an exception filter', () => {
  const BOOM = new Error('boom');

  async function failWith(filter: ExceptionFilter | Type<ExceptionFilter>, ...providers: object[]) {
    @UseFilters(filter)
    @Injectable()
    class CourseView {
      @OnEventBus(COURSE_CHANGED)
      changed() {
        throw BOOM;
      }
    }
    const nest = await nestOf({ providers: [CourseView, ...(providers as Type[])] });
    return nest.deliver('CourseView.changed');
  }

  it.each([
    ['nothing', () => undefined],
    ['null', () => null],
    ['a promise of nothing', async () => {}],
    ['an observable of nothing', () => EMPTY],
  ])('that answers %s has only observed', async (_name, answer) => {
    @Catch()
    class Observing implements ExceptionFilter {
      catch = answer;
    }
    expect(await failWith(Observing)).toEqual({ ok: false, error: BOOM, original: BOOM });
  });

  it.each([
    ['a value', () => 'fine'],
    ['a promise of a value', async () => 'fine'],
    ['an observable of a value', () => of('fine')],
    ['false', () => false],
  ])('that answers %s has handled', async (_name, answer) => {
    @Catch()
    class Handling implements ExceptionFilter {
      catch = answer;
    }
    expect(await failWith(new Handling())).toEqual({ ok: true, by: 'filter' });
  });

  it.each([
    [
      'throws',
      () => {
        throw new Error('worse');
      },
    ],
    ['rejects', () => Promise.reject(new Error('worse'))],
    ['answers with throwError', () => throwError(() => new Error('worse'))],
  ])('that %s replaces the error, and the original is kept', async (_name, answer) => {
    @Catch()
    class Worse implements ExceptionFilter {
      catch = answer;
    }
    expect(await failWith(Worse)).toMatchObject({ ok: false, error: { message: 'worse' }, original: BOOM });
  });

  it('made for HTTP crashes, and the original is kept', async () => {
    @Catch()
    class HttpOnly implements ExceptionFilter {
      catch(_error: unknown, host: ArgumentsHost) {
        host.switchToHttp().getResponse().status(500).json({});
      }
    }
    expect(await failWith(HttpOnly)).toMatchObject({ ok: false, error: expect.any(TypeError), original: BOOM });
  });

  it('is not shown what was only interrupted, and is shown what took too long', async () => {
    const shown: unknown[] = [];
    @Catch()
    class AlertFilter implements ExceptionFilter {
      catch(error: Error) {
        shown.push(error.message);
      }
    }
    @UseFilters(AlertFilter)
    @Injectable()
    class CourseView {
      @OnEventBus(COURSE_CHANGED)
      changed(_data: CourseChanged, { signal }: EventBusContext) {
        throw signal.reason;
      }
    }
    const nest = await nestOf({ providers: [CourseView] });

    for (const reason of [new BusError('BUS_INTERRUPTED', 'stopped'), new BusError('BUS_HANDLER_TIMEOUT', 'late')]) {
      const outcome = await nest.deliver('CourseView.changed', DEMO, contextOf({ signal: AbortSignal.abort(reason) }));
      expect(outcome).toMatchObject({ ok: false, original: reason });
    }

    expect(shown).toEqual(['late']);
  });

  it('of Nest for RPC hides the error, and the original is kept', async () => {
    @Catch()
    class Rpc extends BaseRpcExceptionFilter {}
    expect(await failWith(Rpc)).toMatchObject({ ok: false, error: { status: 'error' }, original: BOOM });
  });

  it('of the application and its dependencies work as well', async () => {
    @Injectable()
    class Journal {
      readonly lines: string[] = [];
    }
    @Catch()
    class Global implements ExceptionFilter {
      constructor(private readonly journal: Journal) {}
      catch(error: Error) {
        this.journal.lines.push(error.message);
        return this.journal.lines;
      }
    }
    @Injectable()
    class CourseView {
      @OnEventBus(COURSE_CHANGED)
      changed() {
        throw BOOM;
      }
    }
    const nest = await nestOf({ providers: [Journal, CourseView, { provide: APP_FILTER, useClass: Global }] });

    expect(await nest.deliver('CourseView.changed')).toEqual({ ok: true, by: 'filter' });
    expect(nest.module.get(Journal).lines).toEqual(['boom']);
  });

  it('sees a context of the event bus', async () => {
    const seen: boolean[] = [];
    @Catch()
    class Looking implements ExceptionFilter {
      catch(_error: unknown, host: ArgumentsHost) {
        seen.push(isEventBusContext(host));
      }
    }
    await failWith(Looking);
    expect(seen).toEqual([true]);
  });
});

describe('an interceptor', () => {
  it('may turn a failure into an answer', async () => {
    @Injectable()
    class Soothing implements NestInterceptor {
      intercept(_context: ExecutionContext, next: CallHandler) {
        return new Observable((subscriber) => {
          const subscription = next.handle().subscribe({ error: () => subscriber.complete() });
          return () => subscription.unsubscribe();
        });
      }
    }
    @Injectable()
    class CourseView {
      @UseInterceptors(Soothing)
      @OnEventBus(COURSE_CHANGED)
      changed() {
        throw new Error('boom');
      }
    }
    const nest = await nestOf({ providers: [CourseView] });
    expect(await nest.deliver('CourseView.changed')).toEqual({ ok: true });
  });
});
