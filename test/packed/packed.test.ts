import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compile, packed, run, scratchApp, type Ended, type Library } from './scratch-app.js';

let packages = { folder: '', libraries: [] as readonly Library[] };
let folder: string;
let compiled: Ended;

beforeAll(async () => {
  packages = await packed();
  folder = await scratchApp(packages, 'app');
  console.log('Compiling an application …');
  compiled = await compile(folder);
}, 300_000);

afterAll(async () => {
  if (packages.folder !== '') await rm(packages.folder, { recursive: true, force: true });
});

const node = (...args: string[]) => run(folder, process.execPath, args);

// Node can since 20.19 and 22.12; before, the flag --experimental-require-module is needed.
const canRequire = (process.features as { require_module?: boolean }).require_module === true;
if (!canRequire)
  console.log(
    `skipped: Node ${process.version} cannot require() ES modules, so the libraries are not required from CommonJS`,
  );

describe('a packed library', () => {
  it('holds what is built and nothing else', () => {
    const { libraries } = packages;
    const strangers = libraries.flatMap(({ name, files }) =>
      files
        .filter(
          (file) =>
            !/^(dist\/.+\.(js|js\.map|d\.ts|d\.ts\.map)|package\.json|README\.md|LICENSE|CHANGELOG\.md)$/.test(file) ||
            file.includes('.test.'),
        )
        .map((file) => `${name}: ${file}`),
    );
    expect(strangers).toEqual([]);
    expect(libraries.map(({ name }) => name)).toContain('@event-bus/nest');
  });

  it('is imported through every door', async () => {
    const doors = packages.libraries.flatMap((library) => library.doors);
    const { output } = await node('load.mjs', ...doors);
    expect(output.trim().split('\n')).toEqual(doors.map((door) => `${door} true`));
  });

  it.runIf(canRequire)('is required from CommonJS through every door', async () => {
    const doors = packages.libraries.flatMap((library) => library.doors);
    const { output } = await node('load.cjs', ...doors);
    expect(
      output
        .trim()
        .split('\n')
        .filter((line) => line.startsWith('@event-bus/')),
    ).toEqual(doors.map((door) => `${door} true`));
  });
});

describe('an application that installs the packed libraries', () => {
  it('compiles with strict TypeScript', () => {
    expect(compiled).toMatchObject({ output: '', code: 0 });
  });

  it('does not compile with a wrong field in send', async () => {
    const main = join(folder, 'main.ts');
    const text = await readFile(main, 'utf8');
    await writeFile(main, text.replace(/^.*@ts-expect-error.*\n/m, ''));
    try {
      const { output } = await compile(folder);
      expect(output).toMatch(
        /main\.ts.* error TS2353: Object literal may only specify known properties, and 'title' does not exist/,
      );
    } finally {
      await writeFile(main, text);
    }
  });

  it('sends and handles with guard, pipe, interceptor, filter and request scope, and refuses wrong values', async () => {
    const { code, output } = await node('dist/main.js', await log());
    expect(code, output).toBe(0);
    const said = JSON.parse(
      output
        .trim()
        .split('\n')
        .findLast((line) => line.startsWith('{'))!,
    ) as Record<string, unknown>;
    expect(said).toEqual({
      id: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-1[0-9a-f]{3}-/),
      source: 'openedx/catalog/web',
      places: 1,
      lines: [
        'filter Bad Request Exception',
        'filter after all',
        'guard true',
        'guard true',
        'handler Demo true',
        'interceptor',
        'interceptor',
        'strict Demo',
      ],
      ended: [
        'dead CourseView.closed BUS_HANDLER_REFUSED',
        'dead CourseView.closed BUS_HANDLER_REFUSED',
        'dead CourseView.strict BUS_EVENT_INVALID',
        'handled CourseView.renamed',
        'handled CourseView.renamed',
        'handled CourseView.strict',
      ],
      wrongField: 'BUS_EVENT_INVALID',
      wrongValue: 'BUS_EVENT_INVALID',
    });
  });

  it('finishes a running handler on SIGTERM', async () => {
    let isSent = false;
    const { code, signal, output } = await run(
      folder,
      process.execPath,
      ['dist/drain.js', await log(), '700'],
      (said, kill) => {
        if (isSent || !said.includes('working')) return;
        isSent = true;
        kill('SIGTERM');
      },
    );
    expect(output).toContain('worked on Demo');
    // Nest ends by the signal itself, once all hooks are done.
    expect([code, signal]).toEqual([null, 'SIGTERM']);
  });

  it('leaves at once on a second SIGTERM', async () => {
    let timer: ReturnType<typeof setInterval> | undefined;
    const { code, output } = await run(
      folder,
      process.execPath,
      ['dist/drain.js', await log(), '60000'],
      (said, kill) => {
        if (timer !== undefined || !said.includes('working')) return;
        kill('SIGTERM');
        timer = setInterval(() => kill('SIGTERM'), 100);
      },
    );
    clearInterval(timer);
    expect(output).not.toContain('worked on');
    expect(output).toContain('Second signal while draining: leaving at once');
    expect(code).toBe(143);
  });
});

describe('an application of Nest 11 in CommonJS', () => {
  let app: string;

  beforeAll(async () => {
    app = await scratchApp(packages, 'app-commonjs');
  }, 300_000);

  it.runIf(canRequire)('compiles as `nest new` sets it up, and runs', async () => {
    expect(await compile(app)).toMatchObject({ output: '', code: 0 });

    const { code, output } = await run(app, process.execPath, ['dist/main.js', await log(app)]);
    expect(output.trim()).toBe('{"lines":["course-renamed Demo true"],"health":"up"}');
    expect(code).toBe(0);
  });

  it('is tested with Jest', async () => {
    const { code, output } = await run(app, process.execPath, [
      'node_modules/jest/bin/jest.js',
      '--config',
      'jest.config.json',
    ]);
    expect(output).toContain('1 passed');
    expect(code).toBe(0);
  });
});

const log = (app = folder) => mkdtemp(join(app, 'log-'));
