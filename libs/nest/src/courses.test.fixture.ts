import type { Provider, Type } from '@nestjs/common';
import { DiscoveryModule, DiscoveryService, ExternalContextCreator, ModuleRef } from '@nestjs/core';
import { Test } from '@nestjs/testing';
import { defineEvent, schema, type DeliveryContext, type EventData } from '@event-bus/core';
import { EventBusContext } from './event-bus-context.js';
import { findHandlers } from './explorer.js';
import { invoker, type Outcome } from './invoker.js';

export const COURSE_CHANGED = defineEvent({
  type: 'org.example.course.changed.v1',
  data: { course: schema.record('Course', { key: schema.courseKey(), name: schema.string() }) },
});
export type CourseChanged = EventData<typeof COURSE_CHANGED>;

export const COURSE_DELETED = defineEvent({ type: 'org.example.course.deleted.v1', data: { key: schema.courseKey() } });
export type CourseDeleted = EventData<typeof COURSE_DELETED>;

export const DEMO: CourseChanged = { course: { key: 'course-v1:edX+Demo+2026', name: 'Demo' } };

/** Nest alone, without a bus: what the explorer finds in it, and how a handler answers to one delivery. */
export async function nestOf(parts: { providers?: Provider[]; controllers?: Type[]; imports?: (Type | object)[] }) {
  const module = await Test.createTestingModule({
    ...parts,
    imports: [DiscoveryModule, ...((parts.imports ?? []) as Type[])],
  }).compile();
  await module.init();
  const external = module.get(ExternalContextCreator, { strict: false });
  const moduleRef = module.get(ModuleRef);
  const handlers = findHandlers(module.get(DiscoveryService, { strict: false }), external);
  const byId = new Map(
    handlers.map(({ id, wrapper, method, eventType, problem }) => [
      id,
      {
        problem,
        invoke: problem === undefined ? invoker(external, moduleRef, wrapper, method, eventType) : undefined,
      },
    ]),
  );
  return {
    module,
    handlers,
    /** One delivery of `data` to the handler with this id. */
    deliver: (id: string, data: unknown = DEMO, context: EventBusContext = contextOf()): Promise<Outcome> => {
      const { invoke, problem } = byId.get(id) ?? {};
      if (invoke === undefined) throw new Error(problem ?? `no handler ${id} among ${[...byId.keys()].join(', ')}`);
      return invoke(data, context);
    },
  };
}

export function contextOf(facts: Partial<Record<keyof DeliveryContext, unknown>> = {}): EventBusContext {
  return new EventBusContext({
    attempt: 1,
    topic: 'courses',
    headers: {},
    signal: new AbortController().signal,
    ...facts,
  } as unknown as DeliveryContext);
}
