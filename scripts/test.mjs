/**
 * `npm test [-- <part> …]`: all tests, each part doing its own set-up. Prints what was skipped and why, and ends with one line of counts.
 */
import { PARTS, runParts } from './parts.mjs';
import { setUp } from './setup.mjs';

const asked = process.argv.slice(2);
if (asked.includes('--help') || asked.some((part) => !Object.hasOwn(PARTS, part))) {
  const unknown = asked.find((part) => !Object.hasOwn(PARTS, part) && part !== '--help');
  if (unknown !== undefined) console.error(`There is no part "${unknown}".`);
  console.log(
    `npm test [-- <part> …]\n\n${Object.entries(PARTS)
      .map(([part, what]) => `  ${part.padEnd(13)}${what}`)
      .join('\n')}`,
  );
  process.exit(unknown === undefined ? 0 : 2);
}

setUp();
runParts(/** @type {import('./parts.mjs').Part[]} */ (asked.length > 0 ? asked : Object.keys(PARTS)));
