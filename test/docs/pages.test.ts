import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { describe, expect, test } from 'vitest';
import { AT_DOOR, MAY_IMPORT } from '../imports/table.js';
import { ROOT } from '../imports/sources.js';
import { blocks, page, pages, prose, quoted, section, table } from './pages.js';

describe('links', () => {
  test.each(pages)('of $path lead somewhere', (one) => {
    const broken = linksOf(prose(one)).filter((link) => !resolves(one.path, link));
    expect(broken).toEqual([]);
  });

  test('every page is linked from another', () => {
    const linked = new Set(
      pages.flatMap(({ path, text }) =>
        linksOf(text).map((link) => normalize(join(dirname(path), link.split('#')[0]!))),
      ),
    );
    // One decision is linked, the others lie beside it.
    const lonely = pages.map(({ path }) => path).filter((path) => !linked.has(path) && path !== 'README.md');
    expect(lonely.filter((path) => !path.startsWith('docs/decisions/'))).toEqual([]);
  });
});

test('every command on the pages is one of package.json', () => {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>;
  };
  const known = new Set([...Object.keys(scripts), 'ci', 'install', 'pack']);
  const unknown = pages.flatMap(({ path, text }) =>
    [...text.matchAll(/\bnpm (?:run )?([a-z][\w:-]*)/g)]
      .map(([, name]) => name!)
      .filter((name) => !known.has(name) && name !== 'workspaces')
      .map((name) => `${path}: npm ${name}`),
  );
  expect(unknown).toEqual([]);
});

test('every file that the pages name exists', () => {
  const unknown = pages.flatMap(({ path, text }) =>
    quoted(prose({ path, text }))
      .filter((name) => /^(libs|apps|test|docs|scripts|bench)\/[\w./-]*$/.test(name))
      .filter((name) => !existsSync(join(ROOT, name)))
      .map((name) => `${path}: ${name}`),
  );
  expect(unknown).toEqual([]);
});

describe('ARCHITECTURE.md', () => {
  const architecture = page('ARCHITECTURE.md');

  test('has the table that the import test enforces', () => {
    const written = table(section(architecture, 'Who may import whom')).map(([folder, may]) => [folder, quoted(may!)]);
    expect(written).toEqual(Object.entries(MAY_IMPORT).map(([folder, may]) => [folder, may]));
    for (const needs of Object.values(AT_DOOR)) {
      for (const name of needs) expect(section(architecture, 'Who may import whom')).toContain(`\`${name}\``);
    }
  });

  test('shows every folder of the workspace, and none that is gone', () => {
    const [layout] = blocks({ path: architecture.path, text: section(architecture, 'Layout') });
    const folders = layout!.code.split('\n').flatMap((line) => /^([\w/]+?)\/?\s/.exec(line)?.[1] ?? []);
    for (const folder of folders) expect(existsSync(join(ROOT, folder)), folder).toBe(true);
    expect(
      folders
        .filter((folder) => folder.startsWith('libs/'))
        .map((folder) => folder.slice(5))
        .toSorted(),
    ).toEqual(Object.keys(MAY_IMPORT).toSorted());
  });

  test('names the seven files of the journey with about their lines', () => {
    const journey = table(section(architecture, 'The journey of one event'));
    expect(journey).toHaveLength(7);
    for (const [file, lines] of journey) {
      const real = readFileSync(join(ROOT, 'libs/core/src', quoted(file!)[0]!), 'utf8').split('\n').length;
      expect(Math.abs(real - Number(lines)) / real, `${file} has ${real} lines`).toBeLessThan(0.15);
    }
  });
});

describe('the glossary', () => {
  const glossary = page('docs/glossary.md');

  test('has each word once', () => {
    const words = [table(glossary.text), table(section(glossary, 'Verbs'))].map((rows) => rows.map(([word]) => word!));
    for (const kind of words) expect(new Set(kind).size).toBe(kind.length);
    expect(words.flat().length).toBeGreaterThan(40);
  });

  test('its words are the ones the pages use', () => {
    const others =
      /\b(DLQs?|payloads?|listeners?|message (?:bus|broker|queue)|dead.letter queue|topic subscribers?)\b/i;
    const used = pages
      .filter(({ path }) => path !== glossary.path)
      .flatMap((one) =>
        prose(one)
          .split('\n')
          .filter((line) => others.test(line.replaceAll('@Payload', '').replaceAll(/`[^`]*`/g, '')))
          .map((line) => `${one.path}: ${line}`),
      );
    expect(used).toEqual([]);
  });
});

test('the settings that Kafka reads are those of the page, both ways', () => {
  const source = readFileSync(join(ROOT, 'libs/kafka/src/openedx-settings.ts'), 'utf8');
  const names = (text: string) =>
    new Set([...text.matchAll(/\b(?:EVENT_BUS|EVENTS_SERVICE|SERVICE_VARIANT)\w*/g)].map(([name]) => name));
  const page_ = names(section(page('docs/how-to/join-open-edx.md'), 'Which settings are read'));
  const code = names(source);
  for (const name of page_) {
    const [, stem] = /^(.*?)(_KEY|_SECRET)?$/.exec(name)!;
    expect(code.has(name) || code.has(stem!), `${name} is on the page only`).toBe(true);
  }
  for (const name of code) {
    if (name.endsWith('_UNSET')) continue;
    expect(
      [...page_].some((one) => one.startsWith(name)),
      `${name} is in the code only`,
    ).toBe(true);
  }
});

test('decisions are numbered without a gap, and each has its four parts', () => {
  const decisions = pages
    .filter(({ path }) => path.startsWith('docs/decisions/'))
    .toSorted((a, b) => (a.path < b.path ? -1 : 1));
  for (const [i, { path, text }] of decisions.entries()) {
    expect(path).toContain(`/${String(i + 1).padStart(4, '0')}-`);
    expect(text, path).toMatch(new RegExp(`^# ${i + 1}[.] `));
    expect(text.match(/^## .*$/gm), path).toEqual([
      '## What forced it',
      '## What we chose',
      '## What we gave up',
      '## What would change our mind',
    ]);
  }
});

function linksOf(text: string): readonly string[] {
  return [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link!).filter((link) => !/^https?:/.test(link));
}

function resolves(from: string, link: string): boolean {
  const [file, anchor] = link.split('#') as [string, string | undefined];
  const path = file === '' ? from : normalize(join(dirname(from), file));
  const full = join(ROOT, path);
  if (!existsSync(full)) return false;
  if (anchor === undefined || !statSync(full).isFile()) return true;
  return headingsOf(readFileSync(full, 'utf8')).includes(anchor);
}

/** As GitHub makes them. */
function headingsOf(text: string): readonly string[] {
  return [...text.matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
    title!
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-'),
  );
}
