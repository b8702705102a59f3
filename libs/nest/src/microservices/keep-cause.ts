import { Catch, type ArgumentsHost, type RpcExceptionFilter } from '@nestjs/common';
import { BaseExceptionFilter } from '@nestjs/core';
import { BaseRpcExceptionFilter } from '@nestjs/microservices';
import { throwError, type Observable } from 'rxjs';
import { isEventBusContext } from '../event-bus-context.js';

/**
 * Keeps the error of an `@EventPattern` handler as it is. Without it the RPC stack of Nest shows "Internal server error" in its place, and neither retry
 * policies nor dead letters can tell failures apart. Register it globally: `app.useGlobalFilters(new KeepCause(app.getHttpAdapter()))`, or as
 * `APP_FILTER`; in a hybrid application connect with `{ inheritAppConfig: true }`. Requests and other transports keep Nest's own filters.
 */
@Catch()
export class KeepCause extends BaseExceptionFilter implements RpcExceptionFilter {
  readonly #rpc = new BaseRpcExceptionFilter();

  override catch(error: unknown, host: ArgumentsHost): Observable<never> {
    if (isEventBusContext(host)) return throwError(() => error);
    // oxlint-disable-next-line promise/valid-params -- filters are no promises
    if (host.getType() === 'rpc') return this.#rpc.catch(error as never, host) as Observable<never>;
    // oxlint-disable-next-line promise/valid-params
    return super.catch(error, host) as never;
  }
}
