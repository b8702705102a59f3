import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { PARTS } from './parts.mjs';
import { root } from './setup.mjs';

test('npm test checks format, types and lint, and runs every project of vitest.config.ts', () => {
  const projects = [...readFileSync(join(root, 'vitest.config.ts'), 'utf8').matchAll(/\bname: '([\w-]+)'/g)];

  expect(Object.keys(PARTS)).toEqual(['static', ...projects.map(([, name]) => name)]);
});
