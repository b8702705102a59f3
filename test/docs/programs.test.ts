import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import ts from 'typescript';
import { ROOT } from '../imports/sources.js';
import { blocks, page, pages, type Block } from './pages.js';

describe('programs on the pages run as they are', () => {
  // Users run what is built; a build that is fresh takes a moment.
  beforeAll(() => {
    const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
    execFileSync(process.execPath, [tsc, '-b', 'libs/embedded', 'libs/openedx'], { cwd: ROOT, stdio: 'inherit' });
  }, 180_000);

  test('the first program of the README', { timeout: 60_000 }, async () => {
    const folder = emptyFolder();
    const [program] = blocks(page('README.md'));
    expect(program!.code.split('\n').length).toBeLessThanOrEqual(22);
    writeFileSync(join(folder, 'demo.mjs'), program!.code);
    const demo = run(folder, 'demo.mjs');
    await demo.says('course-v1:edX+Demo+2026 is called "Demonstration" now\n');
    // In a checkout git ignores this one.
    expect(readdirSync(folder).filter((name) => name !== 'node_modules' && name !== 'demo.mjs')).toEqual(['.data']);
    expect(await demo.interrupt()).toBe(0);
  });

  test('the tutorial', { timeout: 120_000 }, async () => {
    const folder = emptyFolder();
    for (const { code } of blocks(page('docs/start.md')).filter(({ language }) => language === 'js')) {
      const [, file] = /^\/\/ (\S+)\n/.exec(code)!;
      writeFileSync(join(folder, file!), code);
    }
    const sender = run(folder, 'send.mjs', 'Physics');
    await finished(sender);
    expect(withoutPlaces(sender.said())).toBe(withoutPlaces(shownFor('node send.mjs Physics')));
    writeFileSync(
      join(folder, 'wrong.mjs'),
      readFileSync(join(folder, 'send.mjs'), 'utf8').replace("pacing: 'self'", 'pacing: 5'),
    );
    const wrong = spawnSync(process.execPath, ['wrong.mjs'], { cwd: folder, encoding: 'utf8' });
    expect(wrong.stderr).toContain(shownFor('node send.mjs'));
    const listener = run(folder, 'listen.mjs');
    await listener.says('"Physics", attempt 1\n');
    await finished(run(folder, 'send.mjs', 'Chaos'));
    await finished(run(folder, 'send.mjs', 'Order'));
    await listener.says('"Order", attempt 1\n');
    expect(await listener.interrupt()).toBe(0);
    // Courses of one key, in order, the failed one three times, kept before the next.
    expect(listener.said().replaceAll(/^.*"(.*)", attempt (\d)$/gm, '$1 $2')).toBe(
      'listening; Ctrl-C ends it\nPhysics 1\nChaos 1\nChaos 2\nChaos 3\nkept in course-catalog-info-changed-dead-tutorial: BUS_HANDLER_FAILED\nOrder 1\n',
    );
    const dead = run(folder, 'dead.mjs');
    await finished(dead);
    expect(namesIn(dead.said())).toEqual(namesIn(shownFor('node dead.mjs')));
    expect(dead.said()).toContain("'dead-message': 'there is no place for chaos'");
  });
});

/** What the tutorial shows below a command. */
function shownFor(command: string): string {
  const { code } = blocks(page('docs/start.md')).find(({ code }) => code.startsWith(`$ ${command}\n`))!;
  return code.slice(code.indexOf('\n') + 1);
}

const withoutPlaces = (text: string) =>
  text
    .replace(/^[\da-f-]{36} /, 'id ')
    .replace(/\d+,/, 'n,')
    .replace(/'\w+[.]\d+'/, "'offset'");

const namesIn = (text: string) => [...text.matchAll(/'(dead-\w+)':/g)].map(([, name]) => name);

test('every piece of TypeScript on the pages compiles, strictly', { timeout: 120_000 }, () => {
  const pieces = pages.flatMap(blocks).filter(({ language }) => language === 'ts');
  expect(pieces.length).toBeGreaterThan(5);
  const folder = emptyFolder(ROOT);
  for (const piece of pieces) writeFileSync(join(folder, fileOf(piece)), piece.code);
  const program = ts.createProgram({
    rootNames: pieces.map((piece) => join(folder, fileOf(piece))),
    options: {
      target: ts.ScriptTarget.ES2023,
      module: ts.ModuleKind.NodeNext,
      moduleResolution: ts.ModuleResolutionKind.NodeNext,
      customConditions: ['source'],
      strict: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      experimentalDecorators: true,
      emitDecoratorMetadata: true,
      skipLibCheck: true,
      noEmit: true,
      types: ['node'],
    },
  });
  // Only the pieces: the libraries have been checked by their own builds.
  const faults = pieces
    .map((piece) => program.getSourceFile(join(folder, fileOf(piece)))!)
    .flatMap((file) => [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)])
    .map(({ file, start = 0, messageText }) => {
      const piece = pieces.find((one) => join(folder, fileOf(one)) === file!.fileName)!;
      const line = piece.line + file!.getLineAndCharacterOfPosition(start).line;
      return `${piece.page}:${line} ${ts.flattenDiagnosticMessageText(messageText, '\n')}`;
    });
  expect(faults).toEqual([]);
});

const fileOf = ({ page, line }: Block) => `${page.replaceAll(/\W/g, '-')}-${line}.mts`;

/** A folder that finds the packages of this checkout, gone after the test. */
function emptyFolder(below = tmpdir()): string {
  const home = below === tmpdir() ? below : join(below, 'node_modules/.cache');
  if (!existsSync(home)) mkdirSync(home, { recursive: true });
  const folder = mkdtempSync(join(home, 'event-bus-docs-'));
  if (!existsSync(join(dirname(folder), 'node_modules')))
    symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

interface Running {
  readonly said: () => string;
  /** Resolves once the text was printed; rejects when the program ends before. */
  readonly says: (text: string) => Promise<void>;
  readonly interrupt: () => Promise<number | null>;
  readonly ended: Promise<number | null>;
}

function run(folder: string, ...args: string[]): Running {
  const child: ChildProcess = spawn(process.execPath, args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  let said = '';
  let trouble = '';
  const hears = new Set<() => void>();
  child.stdout!.on('data', (part: Buffer) => {
    said += part.toString();
    for (const hear of hears) hear();
  });
  child.stderr!.on('data', (part: Buffer) => (trouble += part.toString()));
  const ended = once(child, 'exit').then(([code]) => code as number | null);
  return {
    said: () => said,
    ended,
    says: (text) =>
      new Promise((resolve, reject) => {
        const hear = () => said.includes(text) && resolve();
        hears.add(hear);
        hear();
        void ended.then((code) => reject(new Error(`${args.join(' ')} ended with ${code}: ${said}${trouble}`)));
      }),
    async interrupt() {
      child.kill('SIGINT');
      return ended;
    },
  };
}

async function finished(program: Running): Promise<void> {
  expect(await program.ended, program.said()).toBe(0);
}
