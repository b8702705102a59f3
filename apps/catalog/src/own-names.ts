import type { NestExpressApplication } from '@nestjs/platform-express';
import type { IncomingMessage, ServerResponse } from 'node:http';

/**
 * While the service listens for this machine only, it answers to this machine's names only. A page of another site may
 * have its own name lead here (DNS rebinding), and to the browser our answers would be its own.
 */
export function answerToOwnNames(app: NestExpressApplication, listensOn: string): void {
  if (!isLoopback(listensOn)) return;
  app.use((request: IncomingMessage, response: ServerResponse, next: () => void) => {
    if (isLoopback(request.headers.host?.replace(/:\d+$/, '') ?? '')) return next();
    response.writeHead(403, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ statusCode: 403, message: REFUSAL }));
  });
}

const isLoopback = (host: string) => /^(localhost|127(\.\d{1,3}){3}|\[?::1\]?)$/i.test(host);

const REFUSAL = 'This service is for this machine only. Ask for localhost, or let it listen for others with HOST.';
