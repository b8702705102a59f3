import { Ctx, Payload } from '@nestjs/microservices';
import { describe, expect, it } from 'vitest';
import { COURSE_CHANGED, COURSE_DELETED, type CourseChanged, type CourseDeleted } from './courses.test.fixture.js';
import type { EventBusContext } from './event-bus-context.js';
import { ENTRY_PROVIDER } from './nest-internals.js';
import { OnEventBus, declarationsOf } from './on-event-bus.js';

class CourseView {
  @OnEventBus(COURSE_CHANGED, { group: 'catalog' })
  @OnEventBus(COURSE_DELETED, { id: 'view' })
  either(@Payload() data: CourseChanged | CourseDeleted) {
    return data;
  }

  @OnEventBus(COURSE_CHANGED)
  bare(data: CourseChanged, context: EventBusContext) {
    return [data, context];
  }

  @OnEventBus(COURSE_CHANGED)
  field(@Ctx() _context: EventBusContext, @Payload('course') course: CourseChanged['course']) {
    return course;
  }

  @OnEventBus(COURSE_CHANGED)
  contextFirst(@Ctx() context: EventBusContext, @Payload() _data: CourseChanged) {
    return context;
  }

  @OnEventBus(COURSE_CHANGED)
  async nothing() {}

  @OnEventBus(COURSE_CHANGED)
  anything(data: unknown) {
    return data;
  }

  // @ts-expect-error -- a course has no number
  @OnEventBus(COURSE_CHANGED)
  wrongField(data: { readonly course: { readonly key: number } }) {
    return data;
  }

  // @ts-expect-error -- the data of another event
  @OnEventBus(COURSE_CHANGED)
  wrongEvent(data: CourseDeleted) {
    return data;
  }

  // @ts-expect-error -- only one of the two events is accepted
  @OnEventBus(COURSE_CHANGED)
  @OnEventBus(COURSE_DELETED)
  halfOfBoth(data: CourseDeleted) {
    return data;
  }

  unmarked() {}
}

const method = (name: keyof CourseView) => Object.getOwnPropertyDescriptor(CourseView.prototype, name)!.value as object;

describe('@OnEventBus', () => {
  it('is repeatable and keeps the order of the source', () => {
    expect(declarationsOf(method('either'))).toEqual([
      { definition: COURSE_CHANGED, options: { group: 'catalog' } },
      { definition: COURSE_DELETED, options: { id: 'view' } },
    ]);
  });

  it('leaves other methods alone', () => {
    expect(declarationsOf(method('unmarked'))).toEqual([]);
  });

  it('is read by a second copy of the package, through its plain key', () => {
    expect(Reflect.getMetadata('event-bus:handlers', method('bare'))).toHaveLength(1);
  });

  it('refuses, where it stands, a method that Nest would never find', () => {
    expect(() => {
      class Static {
        @OnEventBus(COURSE_CHANGED)
        static changed() {}
      }
      return Static;
    }).toThrow(/"Static\.changed".*this one is static/);
    const changed = Symbol('changed');
    expect(() => {
      class BySymbol {
        @OnEventBus(COURSE_CHANGED)
        [changed]() {}
      }
      return BySymbol;
    }).toThrow(/"BySymbol\.Symbol\(changed\)".*named by a symbol/);
  });

  it('makes its class an entry, so that Nest wires global scoped enhancers to it', () => {
    expect(Reflect.getMetadata(ENTRY_PROVIDER, CourseView)).toBe(true);
    class Heir extends CourseView {}
    expect(Reflect.getMetadata(ENTRY_PROVIDER, Heir)).toBe(true);
  });
});
