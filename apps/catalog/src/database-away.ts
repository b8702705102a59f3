import {
  Injectable,
  Logger,
  ServiceUnavailableException,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import { catchError, type Observable } from 'rxjs';

/** Answers 503 while the database cannot be asked: whoever gets it may try again. */
@Injectable()
export class DatabaseAway implements NestInterceptor {
  readonly #log = new Logger('Database');

  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(
      catchError((error: unknown) => {
        if (!isAway(error)) throw error;
        this.#log.warn('the database cannot be asked', { reason: String(error) });
        throw new ServiceUnavailableException('The database does not answer. Try again.');
      }),
    );
  }
}

/** Connections that broke, servers that start, stop or have no room for us, files that stay locked. */
function isAway(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return (
    ('code' in error && AWAY.test(String(error.code))) || /^Connection terminated|not queryable$/.test(error.message)
  );
}

const AWAY =
  /^(ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN|08...|53...|57P..|SQLITE_BUSY.*)$/;
