import { UsageError, runCommand } from './command.mjs';
import { PARTS, runParts } from './parts.mjs';
import { setUp } from './setup.mjs';

const HELP = `npm test [-- <part> …]

All tests, or the parts that are named. Prints what was skipped and why, and ends with one line of counts.

${Object.entries(PARTS)
  .map(([part, what]) => `  ${part.padEnd(13)}${what}`)
  .join('\n')}`;

await runCommand(HELP, { allowPositionals: true }, async ({ positionals }) => {
  const unknown = positionals.find((part) => !Object.hasOwn(PARTS, part));
  if (unknown !== undefined) throw new UsageError(`There is no part "${unknown}".`);
  await setUp();
  runParts(/** @type {import('./parts.mjs').Part[]} */ (positionals.length > 0 ? positionals : Object.keys(PARTS)));
});
