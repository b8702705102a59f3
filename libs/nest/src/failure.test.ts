import {
  BadRequestException,
  ForbiddenException,
  HttpException,
  InternalServerErrorException,
  UnauthorizedException,
  UnprocessableEntityException,
} from '@nestjs/common';
import { RpcException } from '@nestjs/microservices';
import { BusError, NonRetryable, RetryAfter } from '@event-bus/core';
import { describe, expect, it } from 'vitest';
import { failureOf, filterErrorOf } from './failure.js';

const failed = (original: unknown, error: unknown = original) => ({ ok: false as const, error, original });

describe('failureOf', () => {
  it.each([
    [new BadRequestException('no'), 'BUS_EVENT_INVALID'],
    [new UnprocessableEntityException('no'), 'BUS_EVENT_INVALID'],
    [new UnauthorizedException('no'), 'BUS_HANDLER_REFUSED'],
    [new ForbiddenException('no'), 'BUS_HANDLER_REFUSED'],
  ])('makes a dead letter of %s at once', (exception, code) => {
    const failure = failureOf(failed(exception));
    expect(failure).toBeInstanceOf(NonRetryable);
    expect(failure).toMatchObject({ code, message: 'no', cause: exception });
  });

  it('says what a ValidationPipe found', () => {
    const exception = new BadRequestException({
      statusCode: 400,
      message: ['name must be a string', 'start must be a date'],
      error: 'Bad Request',
    });
    expect(failureOf(failed(exception)).message).toBe('name must be a string; start must be a date');
  });

  it('knows exceptions of a second copy of @nestjs/common', () => {
    class HttpException extends Error {
      getStatus = () => 403;
      getResponse = () => 'Forbidden resource';
    }
    expect(failureOf(failed(new HttpException()))).toMatchObject({
      name: 'NonRetryable',
      code: 'BUS_HANDLER_REFUSED',
      message: 'Forbidden resource',
    });
  });

  it.each([
    [new InternalServerErrorException()],
    [new HttpException('slow down', 429)],
    [new RpcException('away')],
    [new Error('boom')],
    [new BusError('BUS_TRANSPORT_UNAVAILABLE', 'away')],
  ])('leaves %s to the retry policy', (error) => expect(failureOf(failed(error))).toBe(error));

  it.each([[new NonRetryable('useless')], [new RetryAfter(50)]])('lets the handler steer with %s', (steering) => {
    expect(failureOf(failed(steering))).toBe(steering);
    expect(failureOf(failed(steering, { status: 'error', message: 'Internal server error' }))).toBe(steering);
  });

  it('lets a filter steer before the handler', () => {
    const steering = new RetryAfter(50);
    expect(failureOf(failed(new NonRetryable('useless'), steering))).toBe(steering);
    expect(failureOf(failed(new BadRequestException(), steering))).toBe(steering);
  });

  it('classifies by the original what a filter has rewritten, and keeps both', () => {
    const original = new Error('boom');
    const crash = new TypeError('response.status is not a function');
    const failure = failureOf(failed(original, crash));
    expect(failure).toBe(original);
    expect(filterErrorOf(failure)).toBe(crash);
    expect(filterErrorOf(new Error('another'))).toBeUndefined();
  });

  it.each([
    ['a text', 'a text'],
    [{ message: 'in an object' }, 'in an object'],
    [42, 'A handler threw a value that is no error (number); throw an Error.'],
    [null, 'A handler threw a value that is no error (null); throw an Error.'],
    [undefined, 'A handler threw a value that is no error (undefined); throw an Error.'],
  ])('makes an error of the thrown value %j', (thrown, message) => {
    const failure = failureOf(failed(thrown));
    expect(failure).toBeInstanceOf(Error);
    expect(failure.message).toBe(message);
    expect(filterErrorOf(failure)).toBeUndefined();
  });
});
