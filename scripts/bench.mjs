import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { UsageError, runCommand } from './command.mjs';
import { root, setUp } from './setup.mjs';

/** In the order in which they run: from the smallest part to the whole. */
const BENCHES = {
  avro: 'what it costs to write and read one event',
  embedded: 'the embedded log beside raw LMDB',
  bus: 'the whole bus on the embedded log, beside the log by itself',
  samples: 'Studio and Catalog: how soon a change is seen, what waiting costs, how soon they are there',
  kafka: 'the bus on Kafka beside kafkajs, Nest and the Python package',
};

const HELP = `npm run bench [-- <name> … [--quick]]

Runnable comparisons. Each prints what it ran on, then tables of figures that were taken in turns within one run, with
what is wanted beside them. Other programs on the machine move rates and waits; processor time and ratios less so.

${Object.entries(BENCHES)
  .map(([name, what]) => `  ${name.padEnd(10)}${what}`)
  .join('\n')}

  --quick         a look at whether it runs: a tenth of the work
  --only <parts>  of the one that is named, some of its parts; with commas
  --rounds <n>    of the one that is named, how often everybody has a turn
  --help          this text; beside a name, what that one measures`;

const [name = '', ...options] = process.argv.slice(2);
if (Object.hasOwn(BENCHES, name) && options.join() === '--help') run(name, options);
else {
  await runCommand(
    HELP,
    {
      allowPositionals: true,
      options: { quick: { type: 'boolean' }, only: { type: 'string' }, rounds: { type: 'string' } },
    },
    async ({ values, positionals }) => {
      const unknown = positionals.find((name) => !Object.hasOwn(BENCHES, name));
      if (unknown !== undefined) throw new UsageError(`There is no benchmark "${unknown}".`);
      const { quick, ...ofOne } = values;
      if (Object.keys(ofOne).length > 0 && positionals.length !== 1)
        throw new UsageError(`--${Object.keys(ofOne)[0]} is for one benchmark that is named.`);
      await setUp();
      const options = Object.entries(ofOne).map(([option, value]) => `--${option}=${value}`);
      for (const name of positionals.length > 0 ? positionals : Object.keys(BENCHES))
        run(name, quick ? [...options, '--quick'] : options);
    },
  );
}

/** @param {string} name @param {string[]} options */
function run(name, options) {
  const args = [join(root, 'bench', `${name}.mjs`), ...options];
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exitCode = status ?? 1;
}
