import { ConsoleLogger } from '@nestjs/common';

/**
 * Nest's logger without a line for each of its own modules and routes, and without the error of a start that fails, which
 * main.ts says; JSON where no person is reading, or with LOG_FORMAT=json.
 */
export class ServiceLogger extends ConsoleLogger {
  constructor(service: string, env: Readonly<Record<string, string | undefined>> = process.env) {
    super({ prefix: service, json: (env['LOG_FORMAT'] || (process.stdout.isTTY ? 'text' : 'json')) === 'json' });
  }

  override log(...line: Parameters<ConsoleLogger['log']>): void {
    if (!NESTS_OWN.has(String(line.at(-1)))) super.log(...line);
  }

  override error(...line: Parameters<ConsoleLogger['error']>): void {
    if (!NESTS_OWN.has(String(line.at(-1)))) super.error(...line);
  }
}

const NESTS_OWN = new Set([
  'ExceptionHandler',
  'InstanceLoader',
  'RoutesResolver',
  'RouterExplorer',
  'NestFactory',
  'NestApplication',
]);
