/** The source files of the workspaces, parsed once, for tests that look at them from outside. */
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../..');

export interface Workspace {
  /** `libs/core` */
  readonly folder: string;
  /** `core` */
  readonly short: string;
  readonly manifest: Manifest;
  readonly files: readonly SourceFile[];
}

interface Manifest {
  readonly name: string;
  readonly exports?: Readonly<Record<string, string | { readonly source?: string }>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
}

export interface SourceFile {
  /** From the root: `libs/core/src/bus.ts`. */
  readonly path: string;
  readonly text: string;
  readonly isTest: boolean;
  /** What it imports, as written. */
  readonly imports: readonly string[];
}

export const workspaces: readonly Workspace[] = ['libs', 'apps'].flatMap((kind) =>
  readdirSync(join(ROOT, kind), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => workspace(`${kind}/${name}`, name)),
);

function workspace(folder: string, short: string): Workspace {
  const manifest = JSON.parse(readFileSync(join(ROOT, folder, 'package.json'), 'utf8')) as Manifest;
  const files = filesBelow(join(ROOT, folder, 'src')).filter((path) => /\.[cm]?tsx?$/.test(path));
  return { folder, short, manifest, files: files.map(sourceFile) };
}

function sourceFile(full: string): SourceFile {
  const text = readFileSync(full, 'utf8');
  const path = relative(ROOT, full);
  return {
    path,
    text,
    isTest: /\.test\./.test(path),
    imports: ts.preProcessFile(text, true, true).importedFiles.map(({ fileName }) => fileName),
  };
}

export function filesBelow(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

export function parse({ path, text }: Pick<SourceFile, 'path' | 'text'>): ts.SourceFile {
  return ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
}
