import { defineConfig } from 'vitest/config';

// The libraries are tested from their sources: no build stands between a change and its test.
const conditions = ['source', 'module', 'node'];
const fromSources = {
  // Tests are in no library's own tsconfig; without one, their decorators would be left as they are.
  tsconfig: 'tsconfig.test.json',
  resolve: { conditions },
  ssr: { resolve: { conditions } },
};

/** Tests that start processes and servers of their own run one file after the other: two of them would measure each other. */
const alone = {
  // A shared machine may stall a server for longer than a test waits: a second try is allowed there, and the report names it.
  retry: process.env['CI'] ? 1 : 0,
  fileParallelism: false,
  testTimeout: 120_000,
  hookTimeout: 180_000,
};

export default defineConfig({
  test: {
    projects: [
      {
        ...fromSources,
        test: {
          name: 'unit',
          include: [
            'libs/*/src/**/*.test.ts',
            'apps/*/src/**/*.test.ts',
            'test/imports/**/*.test.ts',
            'test/docs/**/*.test.ts',
            'scripts/**/*.test.mjs',
          ],
          retry: alone.retry,
          testTimeout: 20_000,
        },
      },
      { ...fromSources, test: { name: 'simulation', include: ['test/simulation/**/*.test.ts'], testTimeout: 300_000 } },
      {
        ...fromSources,
        test: {
          name: 'conformance',
          retry: alone.retry,
          include: ['test/conformance/{simulated,embedded}.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 60_000,
        },
      },
      { ...fromSources, test: { name: 'embedded', include: ['test/embedded/**/*.test.ts'], ...alone } },
      { ...fromSources, test: { name: 'end-to-end', include: ['test/end-to-end/**/*.test.ts'], ...alone } },
      {
        ...fromSources,
        test: { name: 'packages', include: ['test/nest-compat/**/*.test.ts', 'test/packed/**/*.test.ts'], ...alone },
      },
      {
        ...fromSources,
        test: {
          name: 'kafka',
          include: ['test/conformance/kafka*.test.ts', 'test/kafka/**/*.test.ts', 'test/interop/**/*.test.ts'],
          globalSetup: 'test/servers.ts',
          ...alone,
        },
      },
    ],
  },
});
