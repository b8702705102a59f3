import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { VITEST, buildNest, nestFolder, run } from './nest-folder.js';
import { VERSIONS, type Version } from './versions.js';

beforeAll(buildNest, 300_000);

describe.each(Object.keys(VERSIONS) as Version[])('libs/nest on Nest %s', (version) => {
  let folder: string;

  beforeAll(async () => {
    folder = await nestFolder(version);
  }, 300_000);

  it('passes every case that it passes on the newest Nest', async () => {
    const { code, output } = await run(folder, process.execPath, [
      VITEST,
      'run',
      '--root',
      folder,
      '--config',
      join(folder, 'vitest.config.mjs'),
      '--reporter=json',
      '--outputFile=results.json',
    ]);

    const results = JSON.parse(await readFile(join(folder, 'results.json'), 'utf8')) as Results;
    const failed = results.testResults.flatMap(({ message, assertionResults }) => [
      ...(assertionResults.length === 0 ? [message] : []),
      ...assertionResults
        .filter(({ status }) => status === 'failed')
        .map((result) => `${result.fullName}\n${result.failureMessages.join('\n')}`),
    ]);
    expect(failed, output.slice(-2_000)).toEqual([]);
    expect(code).toBe(0);
    console.log(`Nest ${version}: ${results.numPassedTests} cases passed, ${results.numPendingTests} skipped`);
    expect(results.numPassedTests).toBeGreaterThan(150);
  });

  it('loads as built, in plain Node', async () => {
    const { code, output } = await run(folder, process.execPath, ['--input-type=module', '--eval', LOAD]);
    expect(output.trim()).toBe('EventBusModule OnEventBus EventBusHealthIndicator EventBusTest EventBusStrategy');
    expect(code).toBe(0);
  });
});

interface Results {
  readonly numPassedTests: number;
  readonly numPendingTests: number;
  readonly testResults: readonly {
    readonly message: string;
    readonly assertionResults: readonly {
      readonly status: string;
      readonly fullName: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
}

const LOAD = `
const { EventBusModule, OnEventBus } = await import('@event-bus/nest');
const { EventBusHealthIndicator } = await import('@event-bus/nest/terminus');
const { EventBusTest } = await import('@event-bus/nest/testing');
const { EventBusStrategy } = await import('@event-bus/nest/microservices');
console.log([EventBusModule, OnEventBus, EventBusHealthIndicator, EventBusTest, EventBusStrategy].map(({ name }) => name).join(' '));
`;
