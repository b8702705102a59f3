import { defineConfig } from 'vitest/config';

export default defineConfig({
  // Tests are in no library's own tsconfig; without one, decorators would be left as they are.
  tsconfig: 'tsconfig.test.json',
  // The libraries are tested from their sources: no build stands between a change and its test.
  resolve: { conditions: ['source', 'module', 'node', 'import', 'default'] },
  ssr: { resolve: { conditions: ['source', 'module', 'node', 'import', 'default'] } },
  test: {
    include: ['libs/*/src/**/*.test.ts', 'apps/*/src/**/*.test.ts'],
  },
});
