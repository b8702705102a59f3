import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';
import { BaseRpcContext } from '@nestjs/microservices';
import { describe, expect, it } from 'vitest';
import { contextOf } from './courses.test.fixture.js';
import { isEventBusContext } from './event-bus-context.js';

function hostOf(type: string, ...args: unknown[]) {
  const host = new ExecutionContextHost(args);
  host.setType(type);
  return host;
}

describe('EventBusContext', () => {
  it('shows what is known of the delivery', () => {
    const event = { type: 'org.example.course.changed.v1' };
    const { signal } = new AbortController();
    const context = contextOf({
      event,
      topic: 'courses',
      partition: 3,
      offset: '41',
      key: null,
      headers: { a: 'b' },
      group: 'catalog',
      handler: 'CourseView.changed',
      attempt: 2,
      replay: false,
      timestamp: 5,
      signal,
    });
    expect(context).toBeInstanceOf(BaseRpcContext);
    expect(context).toMatchObject({
      event,
      topic: 'courses',
      partition: 3,
      offset: '41',
      key: null,
      headers: { a: 'b' },
      group: 'catalog',
      handler: 'CourseView.changed',
      attempt: 2,
      replay: false,
      timestamp: 5,
    });
    expect(context.signal).toBe(signal);
  });

  it('is told from other contexts', () => {
    expect(isEventBusContext(hostOf('rpc', {}, contextOf()))).toBe(true);
    expect(isEventBusContext(hostOf('rpc', {}, new BaseRpcContext([])))).toBe(false);
    expect(isEventBusContext(hostOf('rpc', {}))).toBe(false);
    expect(isEventBusContext(hostOf('http', {}, contextOf()))).toBe(false);
  });

  it('is known across two copies of the package', () => {
    const copied = { [Symbol.for('event-bus:context')]: true };
    expect(isEventBusContext(hostOf('rpc', {}, copied))).toBe(true);
  });
});
