/**
 * `npm run bench [-- <name> … [options]]`: runnable comparisons. Each prints a table of ratios within one run; machine, versions and
 * commit stand above it. Options are handed to each; `--help` beside one name is that one's own.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { arch, cpus, platform, totalmem } from 'node:os';
import { join } from 'node:path';
import { root, setUp } from './setup.mjs';

const names = readdirSync(join(root, 'bench'))
  .filter((file) => file.endsWith('.mjs'))
  .map((file) => file.slice(0, -4));
const firstOption = process.argv.findIndex((arg) => arg.startsWith('-'));
const [asked, options] =
  firstOption < 0 ? [process.argv.slice(2), []] : [process.argv.slice(2, firstOption), process.argv.slice(firstOption)];
const unknown = asked.find((name) => !names.includes(name));
if ((options.includes('--help') && asked.length !== 1) || unknown !== undefined) {
  if (unknown !== undefined) console.error(`There is no benchmark "${unknown}".`);
  console.log(`npm run bench [-- <name> … [options]]\n\n  ${names.join('\n  ')}`);
  process.exit(unknown === undefined ? 0 : 2);
}

setUp();
const commit =
  spawnSync('git', ['describe', '--always', '--dirty'], { cwd: root, encoding: 'utf8' }).stdout?.trim() || 'unknown';
console.log(
  `${cpus().length} × ${cpus()[0]?.model ?? 'unknown CPU'}, ${Math.round(totalmem() / 2 ** 30)} GiB, ${platform()} ${arch()}, Node ${process.versions.node}, commit ${commit}`,
);
for (const name of asked.length > 0 ? asked : names) {
  console.log(`\n── ${name}`);
  if (
    spawnSync(process.execPath, [join(root, 'bench', `${name}.mjs`), ...options], { cwd: root, stdio: 'inherit' })
      .status !== 0
  )
    process.exitCode = 1;
}
