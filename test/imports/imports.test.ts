import { readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { join, normalize } from 'node:path';
import { describe, expect, test } from 'vitest';
import ts from 'typescript';
import { AT_DOOR, MAY_IMPORT } from './table.js';
import { ROOT, parse, workspaces, type SourceFile, type Workspace } from './sources.js';

/** Tests run in the workspace: they may use the harness, the runner and what their package has for development. */
const IN_TESTS = ['vitest', 'fast-check', '@event-bus/testing', '@event-bus/openedx', '@event-bus/embedded'];

/** Only sister libraries come in by the second door. */
const SISTERS_ONLY = '/internal';

/** Each sample is to be read and copied alone: what both need is there twice. */
const TWINS = [
  'src/database-away.ts',
  'src/last-answers.ts',
  'src/list-query.ts',
  'src/own-names.ts',
  'src/pages.ts',
  'src/service-logger.ts',
  'src/transport.ts',
];

const libs = workspaces.filter(({ folder }) => folder.startsWith('libs/'));
const apps = workspaces.filter(({ folder }) => folder.startsWith('apps/'));
const byName = new Map(workspaces.map((one) => [one.manifest.name, one]));

describe('who may import whom', () => {
  test.each(libs)('$folder imports what it may', (workspace) => {
    const allowed = MAY_IMPORT[workspace.short];
    expect(allowed, `libs/${workspace.short} is not in the table`).toBeDefined();
    const wrong = importsOf(workspace).filter(({ file, name }) => {
      if (isNode(name) || allowed!.includes(name)) return false;
      if (file.isTest) return !IN_TESTS.includes(name) && !(name in { ...workspace.manifest.devDependencies });
      return !AT_DOOR[file.path]?.includes(name);
    });
    expect(wrong.map(said)).toEqual([]);
  });

  test.each(apps)('$folder imports libraries by their public doors, and no other app', (workspace) => {
    const wrong = importsOf(workspace).filter(
      ({ name, specifier }) => byName.get(name)?.folder.startsWith('apps/') || specifier.endsWith(SISTERS_ONLY),
    );
    expect(wrong.map(said)).toEqual([]);
  });

  test.each(TWINS)('%s is the same in both samples', (path) => {
    const [first, second] = apps.map(({ folder }) => readFileSync(join(ROOT, folder, path), 'utf8'));
    expect(first).toBe(second);
  });

  test('the table names no library that is gone', () => {
    expect(Object.keys(MAY_IMPORT).toSorted()).toEqual(libs.map(({ short }) => short).toSorted());
    const paths = new Set(workspaces.flatMap(({ files }) => files.map(({ path }) => path)));
    expect(Object.keys(AT_DOOR).filter((path) => !paths.has(path))).toEqual([]);
  });
});

describe('doors', () => {
  test.each(workspaces)('$folder reaches past no door', (workspace) => {
    const wrong = importsOf(workspace).filter(({ name, specifier }) => {
      const target = byName.get(name);
      return target !== undefined && !doorsOf(target).has(`.${specifier.slice(name.length)}`);
    });
    expect(wrong.map(said)).toEqual([]);
  });

  test.each(workspaces)('$folder stays inside its own folder', ({ folder, files }) => {
    const wrong = files.flatMap((file) =>
      file.imports
        .filter((specifier) => specifier.startsWith('.'))
        .filter((specifier) => !normalize(join(file.path, '..', specifier)).startsWith(`${folder}/src/`))
        .map((specifier) => `${file.path} imports ${specifier}`),
    );
    expect(wrong).toEqual([]);
  });

  test.each(libs)('$folder names what it exports: no "export *" at a door', (workspace) => {
    const doors = workspace.files.filter(({ path }) => sourcesOf(workspace).has(join(ROOT, path)));
    expect(doors).toHaveLength(sourcesOf(workspace).size);
    for (const door of doors) {
      const stars = parse(door).statements.filter(
        (statement) => ts.isExportDeclaration(statement) && statement.exportClause === undefined,
      );
      expect(stars, door.path).toEqual([]);
    }
  });

  test.each(workspaces)('$folder declares what it imports', (workspace) => {
    const { manifest, short } = workspace;
    const shipped = { ...manifest.dependencies, ...manifest.peerDependencies };
    const wrong = importsOf(workspace).filter(
      ({ file, name }) => !file.isTest && !isNode(name) && !(name in shipped) && name !== manifest.name,
    );
    expect(wrong.map(said), short).toEqual([]);
  });
});

interface Import {
  readonly file: SourceFile;
  readonly specifier: string;
  /** The package: `@event-bus/core` of `@event-bus/core/internal`. */
  readonly name: string;
}

function importsOf({ files }: Workspace): readonly Import[] {
  return files.flatMap((file) =>
    file.imports
      .filter((specifier) => !specifier.startsWith('.'))
      .map((specifier) => ({ file, specifier, name: packageOf(specifier) })),
  );
}

function packageOf(specifier: string): string {
  return specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
}

function isNode(name: string): boolean {
  return name.startsWith('node:') || builtinModules.includes(name);
}

function said({ file, specifier }: Import): string {
  return `${file.path} imports ${specifier}`;
}

function doorsOf({ manifest }: Workspace): ReadonlySet<string> {
  return new Set(Object.keys(manifest.exports ?? {}));
}

function sourcesOf({ folder, manifest }: Workspace): ReadonlySet<string> {
  const targets = Object.values(manifest.exports ?? {});
  return new Set(
    targets.flatMap((target) =>
      typeof target === 'object' && target.source ? [join(ROOT, folder, target.source)] : [],
    ),
  );
}
