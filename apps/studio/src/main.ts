import 'reflect-metadata';
import { Logger } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { isBusError } from '@event-bus/core';
import { AppModule } from './app.module.js';
import { answerToOwnNames } from './own-names.js';
import { servePages } from './pages.js';
import { ServiceLogger } from './service-logger.js';
import { readSettings, type Settings } from './settings.js';
import { makeTransport } from './transport.js';

try {
  await start(readSettings(process.env));
} catch (error) {
  console.error(`Studio did not start. ${reason(error)}`);
  process.exit(1);
}

async function start(settings: Settings): Promise<void> {
  const app = await NestFactory.create<NestExpressApplication>(
    AppModule.forRoot(settings, await makeTransport(settings.bus)),
    { logger: new ServiceLogger('studio'), abortOnError: false },
  );
  answerToOwnNames(app, settings.host);
  servePages(app);
  app.enableShutdownHooks();
  stopWithParent();
  await app.listen(settings.port, settings.host).catch(async (error: NodeJS.ErrnoException) => {
    await app.close();
    throw error.code === 'EADDRINUSE' ? portTaken(settings.port) : error;
  });
  Logger.log('listening', { url: await app.getUrl(), bus: settings.bus.kind }, 'Studio');
}

/** An error that was not written for whoever starts us comes with its place. */
function reason(error: unknown): string | undefined {
  if (!(error instanceof Error)) return String(error);
  return error.constructor === Error || isBusError(error) ? error.message : error.stack;
}

/** Whoever started us with a line to itself, as scripts/start.mjs does, takes us along, also when it is killed. */
function stopWithParent(): void {
  if (process.connected) process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'));
}

function portTaken(port: number): Error {
  return new Error(`Port ${port} is in use. Stop the program that has it, or choose another port with STUDIO_PORT.`);
}
