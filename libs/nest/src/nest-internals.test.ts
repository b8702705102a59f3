import { UseFilters, UseGuards, UseInterceptors, UsePipes } from '@nestjs/common';
import * as constants from '@nestjs/common/constants.js';
import { Ctx, EventPattern, MessagePattern, Payload, Transport } from '@nestjs/microservices';
import { expect, it } from 'vitest';
import { CONTEXT, ENHANCERS, ENTRY_PROVIDER, PARAMETERS, PAYLOAD, parametersOf, patternOf } from './nest-internals.js';

it('knows the words that the decorators of this version of Nest write', () => {
  @UseGuards({ canActivate: () => true })
  @UsePipes({ transform: () => 1 })
  @UseInterceptors({ intercept: (_context, next) => next.handle() })
  @UseFilters({ catch: () => undefined })
  class View {
    changed(@Payload('course') _course: unknown, @Ctx() _context: unknown) {}
    @EventPattern<string>('changed', Transport.TCP, { group: 'catalog' })
    event() {}
    @MessagePattern('course')
    asked() {}
  }
  for (const key of Object.values(ENHANCERS)) expect(Reflect.getMetadata(key, View)).toHaveLength(1);
  expect(Reflect.getMetadata(PARAMETERS, View, 'changed')).toMatchObject({
    [`${PAYLOAD}:0`]: { index: 0, data: 'course' },
    [`${CONTEXT}:1`]: { index: 1 },
  });
  expect(Object.keys(parametersOf(View, 'changed'))).toHaveLength(2);
  expect(patternOf(View.prototype.event)).toEqual({
    patterns: ['changed'],
    isEvent: true,
    transport: Transport.TCP,
    extras: { group: 'catalog' },
  });
  expect(patternOf(View.prototype.asked)).toMatchObject({ patterns: ['course'], isEvent: false, transport: undefined });
  expect(patternOf(View.prototype.changed)).toBeUndefined();
  expect(ENTRY_PROVIDER).toBe(constants.ENTRY_PROVIDER_WATERMARK);
});
