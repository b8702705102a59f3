import { Injectable, type OnModuleDestroy } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';

/**
 * Lets the service stop although clients keep their connections: each answer from now on is the last one of its
 * connection, and what is open after a while is cut. A server that closes waits for clients that go on asking.
 */
@Injectable()
export class LastAnswers implements OnModuleDestroy {
  constructor(private readonly host: HttpAdapterHost) {}

  onModuleDestroy(): void {
    const server: Server = this.host.httpAdapter.getHttpServer();
    server.prependListener('request', (_request: IncomingMessage, response: ServerResponse) => {
      response.setHeader('connection', 'close');
    });
    // For answers that were under way and had promised more.
    server.keepAliveTimeout = 1;
    setTimeout(() => server.closeAllConnections(), CUT_AFTER_MS).unref();
  }
}

/** Longer than an answer may take. */
const CUT_AFTER_MS = 6_000;
