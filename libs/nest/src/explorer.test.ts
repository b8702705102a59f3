import {
  Controller,
  Get,
  Inject,
  Injectable,
  Module,
  Scope,
  UseGuards,
  UsePipes,
  type CanActivate,
  type PipeTransform,
} from '@nestjs/common';
import { APP_GUARD, REQUEST } from '@nestjs/core';
import { Payload } from '@nestjs/microservices';
import { describe, expect, it } from 'vitest';
import { COURSE_CHANGED, COURSE_DELETED, nestOf, type CourseChanged } from './courses.test.fixture.js';
import type { EventBusContext } from './event-bus-context.js';
import { OnEventBus } from './on-event-bus.js';

@Injectable()
class StaffGuard implements CanActivate {
  canActivate() {
    return true;
  }
}

@Injectable()
class TrimPipe implements PipeTransform {
  transform(value: unknown) {
    return value;
  }
}

@Injectable()
class GuardedView {
  @UseGuards(StaffGuard)
  @OnEventBus(COURSE_CHANGED)
  changed() {}
}

@Injectable()
class OpenView {
  @OnEventBus(COURSE_CHANGED)
  changed() {}
}

describe('findHandlers', () => {
  it('finds methods of providers and controllers, with the id Class.method', async () => {
    @Controller()
    class CourseController {
      @Get()
      list() {}
      @OnEventBus(COURSE_DELETED, { group: 'search' })
      deleted() {}
    }
    const { handlers } = await nestOf({ providers: [OpenView], controllers: [CourseController] });

    expect(handlers.map(({ id, definition, options, problem }) => [id, definition, options, problem])).toEqual([
      ['OpenView.changed', COURSE_CHANGED, {}, undefined],
      ['CourseController.deleted', COURSE_DELETED, { group: 'search' }, undefined],
    ]);
  });

  it('takes a pinned id', async () => {
    @Injectable()
    class Renamed {
      @OnEventBus(COURSE_CHANGED, { id: 'CourseView.changed' })
      somethingElse() {}
    }
    const { handlers } = await nestOf({ providers: [Renamed] });
    expect(handlers.map(({ id }) => id)).toEqual(['CourseView.changed']);
  });

  it('makes one handler of two event types from two decorators', async () => {
    @Injectable()
    class CourseView {
      @OnEventBus(COURSE_CHANGED)
      @OnEventBus(COURSE_DELETED)
      either() {}
    }
    const { handlers } = await nestOf({ providers: [CourseView] });
    expect(handlers.map(({ id, definition }) => [id, definition])).toEqual([
      ['CourseView.either', COURSE_CHANGED],
      ['CourseView.either', COURSE_DELETED],
    ]);
  });

  it('finds handlers of request-scoped hosts without making one', async () => {
    let made = 0;
    @Injectable({ scope: Scope.REQUEST })
    class CourseView {
      constructor() {
        made++;
      }
      @OnEventBus(COURSE_CHANGED)
      changed() {}
    }
    const { handlers } = await nestOf({ providers: [CourseView] });
    expect([handlers.length, made]).toEqual([1, 0]);
  });

  it('does not count an alias, or a factory that hands an instance on', async () => {
    const { handlers } = await nestOf({
      providers: [
        OpenView,
        { provide: 'ALIAS', useExisting: OpenView },
        { provide: 'HANDED_ON', useFactory: (view: OpenView) => view, inject: [OpenView] },
      ],
    });
    expect(handlers.map(({ problem }) => problem)).toEqual([undefined]);
  });

  it('takes hosts of factories and values when no enhancer would be lost', async () => {
    const { handlers, deliver } = await nestOf({ providers: [{ provide: 'VIEW', useFactory: () => new OpenView() }] });
    expect(handlers.map(({ problem }) => problem)).toEqual([undefined]);
    expect(await deliver('OpenView.changed')).toEqual({ ok: true });
  });

  it.each([
    ['factory', { provide: GuardedView, useFactory: () => new GuardedView() }],
    ['value', { provide: GuardedView, useValue: new GuardedView() }],
  ])('refuses a %s whose guard Nest does not wire, and says what to write', async (_name, provider) => {
    const { handlers } = await nestOf({ providers: [provider] });
    expect(handlers.map(({ problem }) => problem)).toEqual([
      expect.stringMatching(
        /"GuardedView\.changed" would run without @UseGuards\(StaffGuard\).*providers: \[GuardedView\]/,
      ),
    ]);
  });

  it('runs or refuses the guard of a class under another token, as this version of Nest wires it, but never skips it', async () => {
    @Injectable()
    class NobodyGuard implements CanActivate {
      canActivate = () => false;
    }
    @Injectable()
    class CourseView {
      @UseGuards(NobodyGuard)
      @OnEventBus(COURSE_CHANGED)
      changed() {}
    }
    const { handlers, deliver } = await nestOf({ providers: [{ provide: 'VIEW', useClass: CourseView }] });
    if (handlers[0]!.problem === undefined) expect(await deliver('CourseView.changed')).toMatchObject({ ok: false });
    else expect(handlers[0]!.problem).toContain('@UseGuards(NobodyGuard)');
  });

  it('refuses lost pipes of class, method and parameter', async () => {
    @UsePipes(TrimPipe)
    class CourseView {
      @UsePipes(TrimPipe)
      @OnEventBus(COURSE_CHANGED)
      changed(@Payload(TrimPipe) data: CourseChanged) {
        return data;
      }
    }
    const { handlers } = await nestOf({ providers: [{ provide: 'VIEW', useFactory: () => new CourseView() }] });
    expect(handlers[0]!.problem).toContain('@UsePipes(TrimPipe), @UsePipes(TrimPipe), the parameter pipe TrimPipe');
  });

  it('refuses a factory that a global, request-scoped guard would be lost for', async () => {
    @Injectable({ scope: Scope.REQUEST })
    class UnitGuard implements CanActivate {
      canActivate = () => true;
    }
    const { handlers } = await nestOf({
      providers: [
        { provide: 'VIEW', useFactory: () => new OpenView() },
        { provide: APP_GUARD, useClass: UnitGuard },
      ],
    });
    expect(handlers[0]!.problem).toMatch(/would run without the global, scoped/);
  });

  it('keeps enhancers given as instances everywhere', async () => {
    class CourseView {
      @UseGuards({ canActivate: () => false })
      @OnEventBus(COURSE_CHANGED)
      changed() {}
    }
    const { deliver } = await nestOf({ providers: [{ provide: 'VIEW', useValue: new CourseView() }] });
    expect(await deliver('CourseView.changed')).toMatchObject({ ok: false, original: { status: 403 } });
  });

  it('refuses a method whose function another decorator has replaced', async () => {
    const Traced =
      (): MethodDecorator =>
      (_target, _name, descriptor: TypedPropertyDescriptor<any>): void => {
        const { value } = descriptor;
        descriptor.value = function (this: unknown, ...args: unknown[]) {
          return value.apply(this, args);
        };
      };
    @Injectable()
    class CourseView {
      @Traced()
      @OnEventBus(COURSE_CHANGED, { bus: 'audit' })
      lost() {}
      @OnEventBus(COURSE_CHANGED)
      @Traced()
      kept() {}
    }
    @Injectable()
    class Heir extends CourseView {
      override lost() {}
    }
    const { handlers } = await nestOf({ providers: [CourseView, Heir] });
    expect(handlers.map(({ id, options, problem }) => [id, options, problem])).toEqual([
      ['CourseView.lost', { bus: 'audit' }, expect.stringMatching(/would never run.*write @OnEventBus above it/)],
      ['CourseView.kept', {}, undefined],
      ['Heir.kept', {}, undefined],
    ]);
  });

  it.each([
    ['request-scoped', { scope: Scope.REQUEST, inject: [] }],
    ['transient', { scope: Scope.TRANSIENT, inject: [] }],
    ['request-scoped through what it injects', { inject: [REQUEST] }],
  ])('finds the handlers of a %s factory under the class it stands for', async (_name, options) => {
    const made: OpenView[] = [];
    const useFactory = () => made[made.push(new OpenView()) - 1]!;
    const { handlers, deliver } = await nestOf({ providers: [{ provide: OpenView, useFactory, ...options }] });
    expect(handlers.map(({ problem }) => problem)).toEqual([undefined]);
    const before = made.length;
    expect(await deliver('OpenView.changed')).toEqual({ ok: true });
    expect(made).toHaveLength(before + 1);
  });

  it('refuses a class that two modules provide', async () => {
    @Module({ providers: [OpenView] })
    class CatalogModule {}
    @Module({ providers: [OpenView] })
    class SearchModule {}
    const { handlers } = await nestOf({ imports: [CatalogModule, SearchModule] });
    expect(handlers.map(({ problem }) => problem)).toEqual([
      undefined,
      expect.stringMatching(/would run twice: CatalogModule and SearchModule both provide its class/),
    ]);
  });

  it('refuses a class under two tokens of one module, and says which way is right', async () => {
    const { handlers } = await nestOf({ providers: [OpenView, { provide: 'VIEW', useClass: OpenView }] });
    expect(handlers.map(({ problem }) => problem)).toEqual([
      undefined,
      expect.stringMatching(/would run twice: \w+ provides its class under two tokens.*useExisting: OpenView }/),
    ]);
  });

  it('refuses a bare parameter beside decorated ones, which Nest would leave undefined', async () => {
    @Injectable()
    class CourseView {
      @OnEventBus(COURSE_CHANGED)
      forgotten(@Payload() _data: CourseChanged, _context: EventBusContext) {}
      @OnEventBus(COURSE_CHANGED)
      optional(@Payload() _data: CourseChanged, _more = false) {}
      @OnEventBus(COURSE_CHANGED)
      bare(_data: CourseChanged, _context: EventBusContext) {}
    }
    const { handlers } = await nestOf({ providers: [CourseView] });
    expect(handlers.map(({ problem }) => problem)).toEqual([
      expect.stringMatching(/"CourseView\.forgotten" would get undefined as parameter 2:.*decorate it too/),
      undefined,
      undefined,
    ]);
  });

  it('refuses a decorator that was given no definition', async () => {
    @Injectable()
    class CourseView {
      @OnEventBus(undefined as never)
      changed() {}
    }
    const { handlers } = await nestOf({ providers: [CourseView] });
    expect(handlers[0]!.problem).toMatch(/"CourseView\.changed" has no event definition.*import each other/);
  });

  it('does not disturb a method that also serves HTTP with bare parameters', async () => {
    @Controller()
    class CourseController {
      constructor(@Inject('LOG') readonly log: unknown[]) {}
      @Get()
      @OnEventBus(COURSE_CHANGED)
      changed(first: unknown) {
        this.log.push(first);
      }
    }
    await nestOf({ controllers: [CourseController], providers: [{ provide: 'LOG', useValue: [] }] });
    expect(Reflect.getMetadata('__routeArguments__', CourseController, 'changed')).toBeUndefined();
  });
});
