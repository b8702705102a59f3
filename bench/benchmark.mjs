import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { arch, cpus, platform, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { UsageError, runCommand } from '../scripts/command.mjs';
import { root } from '../scripts/setup.mjs';

/**
 * Runs a benchmark as its command line says. `parts` says what each measures; `run` gets the names of those that are asked for, whether
 * a tenth of the work will do, and the values of `options`, which are parseArgs' own.
 */
export async function runBenchmark({ name, title, parts, options = {}, help = '' }, run) {
  const only = { quick: { type: 'boolean', default: false }, only: { type: 'string' } };
  await runCommand(helpOf({ name, title, parts, help }), { options: { ...only, ...options } }, async ({ values }) => {
    const asked = values.only?.split(',') ?? Object.keys(parts);
    const unknown = asked.find((part) => !Object.hasOwn(parts, part));
    if (unknown !== undefined) throw new UsageError(`${name} has no part "${unknown}".`);
    console.log(`\n── ${name}: ${title}\n${machine()}`);
    try {
      await run({ parts: asked, quick: values.quick, values });
    } finally {
      for (const folder of folders) rmSync(folder, { recursive: true, force: true });
    }
  });
}

const folders = [];

/** A folder that goes when the benchmark ends. */
export function freshFolder() {
  const folder = mkdtempSync(join(process.env.BENCH_DIR ?? tmpdir(), 'event-bus-bench-'));
  folders.push(folder);
  return folder;
}

function machine() {
  const git = spawnSync('git', ['describe', '--always', '--dirty'], { cwd: root, encoding: 'utf8' });
  const cores = `${cpus().length} × ${cpus()[0]?.model ?? 'unknown CPU'}`;
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`;
  return `${cores}, ${memory}, ${platform()} ${arch()}, Node ${process.versions.node}, commit ${git.stdout?.trim() || 'unknown'}`;
}

function helpOf({ name, title, parts, help }) {
  const lines = Object.entries(parts).map(([part, what]) => `  ${part.padEnd(10)}${what}`);
  return `npm run bench -- ${name} [options]

Measures ${title}:

${lines.join('\n')}

  --quick         a look at whether it runs: a tenth of the work
  --only <parts>  some of the above; with commas${help === '' ? '' : `\n${help}`}

BENCH_DIR: where logs are written meanwhile, by default the system's folder for temporary files.`;
}
