/** The Markdown pages of the project, and what they are made of. */
import { readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { ROOT, filesBelow } from '../imports/sources.js';
import { readdirSync } from 'node:fs';

export interface Page {
  /** From the root: `docs/start.md`. */
  readonly path: string;
  readonly text: string;
}

export const pages: readonly Page[] = [
  ...readdirSync(ROOT).filter((name) => name.endsWith('.md')),
  ...filesBelow(join(ROOT, 'docs')).map((full) => relative(ROOT, full)),
]
  .filter((path) => path.endsWith('.md'))
  .map((path) => ({ path, text: readFileSync(join(ROOT, path), 'utf8') }));

export function page(path: string): Page {
  const found = pages.find((one) => one.path === path);
  if (found === undefined) throw new Error(`There is no page ${path}.`);
  return found;
}

export interface Block {
  readonly page: string;
  /** Of its first line of code, from 1. */
  readonly line: number;
  /** What stands behind the fence: `ts`, `sh`, or nothing. */
  readonly language: string;
  readonly code: string;
}

export function blocks({ path, text }: Page): readonly Block[] {
  const found: Block[] = [];
  let open: { readonly language: string; readonly line: number; readonly code: string[] } | undefined;
  for (const [i, line] of text.split('\n').entries()) {
    const fence = /^```(.*)$/.exec(line);
    if (open !== undefined && fence !== null) {
      found.push({ page: path, line: open.line, language: open.language, code: `${open.code.join('\n')}\n` });
      open = undefined;
    } else if (fence !== null) open = { language: fence[1]!.trim(), line: i + 2, code: [] };
    else open?.code.push(line);
  }
  return found;
}

/** The text without its code blocks. */
export function prose({ text }: Page): string {
  return text.replaceAll(/^```[^]*?^```$/gm, '');
}

/** The part of a page below one heading, up to the next of the same height. */
export function section({ path, text }: Page, title: string): string {
  const lines = text.split('\n');
  const at = lines.findIndex((line) => /^#+ /.test(line) && line.replace(/^#+ /, '') === title);
  if (at < 0) throw new Error(`${path} has no section "${title}".`);
  const height = /^#+/.exec(lines[at]!)![0].length;
  const end = lines.findIndex((line, i) => i > at && /^#+ /.test(line) && /^#+/.exec(line)![0].length <= height);
  return lines.slice(at + 1, end < 0 ? undefined : end).join('\n');
}

/** The cells of the first table in a text, without its head. */
export function table(text: string): readonly (readonly string[])[] {
  const lines = text.split('\n');
  const first = lines.findIndex((line) => line.startsWith('|'));
  if (first < 0) return [];
  const rows: string[][] = [];
  for (const line of lines.slice(first)) {
    if (!line.startsWith('|')) break;
    const cells = line.slice(1, line.lastIndexOf('|')).split(/(?<!\\)\|/);
    rows.push(cells.map((cell) => cell.trim().replaceAll('\\|', '|')));
  }
  return rows.slice(2);
}

/** The names in back-quotes. */
export function quoted(text: string): readonly string[] {
  return [...text.matchAll(/`([^`]+)`/g)].map(([, name]) => name!);
}
