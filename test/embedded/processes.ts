/** Real processes on built libraries, and the histories they write. */
import { execFileSync, fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Builds what the processes run. */
export function build(): void {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  execFileSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-b', 'libs/embedded'], {
    cwd: root,
    stdio: 'inherit',
  });
}

/** A process that writes a history. */
type Kind = 'sender' | 'consumer' | 'handler';

/** A directory for one test and the processes in it; `end` kills what still runs and removes it. */
export class Stage {
  readonly directory = mkdtempSync(join(tmpdir(), 'event-bus-stage-'));
  readonly path = join(this.directory, 'log');
  readonly #children = new Set<ChildProcess>();
  #histories = 0;
  readonly #files: { readonly kind: string; readonly file: string }[] = [];

  /** Starts `fixtures/<name>.mjs` with the log's path, a history file of its own, and these arguments; resolves once it is ready. */
  async start(kind: Kind, ...args: string[]): Promise<ChildProcess> {
    return this.startIn([], kind, ...args);
  }

  /** The same, by way of a command that starts another. */
  async startIn(command: readonly string[], kind: Kind, ...args: string[]): Promise<ChildProcess> {
    const file = join(this.directory, `${kind}-${this.#histories++}.jsonl`);
    this.#files.push({ kind, file });
    return this.#run(command, this.path, kind, file, ...args);
  }

  run(name: string, ...args: string[]): Promise<ChildProcess> {
    return this.runOn(this.path, name, ...args);
  }

  /** The same on a log elsewhere. */
  runOn(path: string, name: string, ...args: string[]): Promise<ChildProcess> {
    return this.#run([], path, name, ...args);
  }

  async #run(command: readonly string[], path: string, name: string, ...args: string[]): Promise<ChildProcess> {
    const [execPath, ...execArgv] = [...command, process.execPath];
    const child = fork(fileURLToPath(new URL(`./fixtures/${name}.mjs`, import.meta.url)), [path, ...args], {
      execPath: execPath!,
      execArgv,
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.#children.add(child);
    child.once('exit', () => this.#children.delete(child));
    const died = once(child, 'exit').then(([code]) => {
      throw new Error(`Process ${name} ended with ${code} before it was ready.`);
    });
    await Promise.race([once(child, 'message'), died]);
    died.catch(() => {});
    return child;
  }

  /** Everything that processes of a kind wrote down, each in its own order. */
  histories(kind: Kind): Line[][] {
    return this.#files
      .filter((each) => each.kind === kind && existsSync(each.file))
      .map(({ file }) => linesOf(readFileSync(file, 'utf8')));
  }

  async end(): Promise<void> {
    await Promise.all([...this.#children].map(kill));
    rmSync(this.directory, { recursive: true, force: true });
  }
}

export async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

/** Asks a process to finish what it does; resolves with its exit code. */
export async function finish(child: ChildProcess): Promise<number | null> {
  const exited = once(child, 'exit');
  child.send('finish');
  return (await exited)[0] as number | null;
}

export type Line = { readonly type: string; readonly [fact: string]: any };

// A killed process may leave half a line at the end.
function linesOf(text: string): Line[] {
  const lines = text.split('\n');
  return lines.slice(0, -1).map((line) => JSON.parse(line) as Line);
}

export async function eventually(
  check: () => boolean | Promise<boolean>,
  what: () => string,
  patienceMs = 30_000,
): Promise<void> {
  const end = performance.now() + patienceMs;
  while (!(await check())) {
    if (performance.now() > end) throw new Error(`Waited ${patienceMs} ms in vain: ${what()}.`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
