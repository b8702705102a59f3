import { runCommand } from './command.mjs';
import { runParts } from './parts.mjs';
import { setUp } from './setup.mjs';

const HELP = `npm run check

Format, types, lint, unit tests, import rules, docs, and conformance on the simulated and the embedded transport: fast
enough for before every commit.

  --help  this text`;

await runCommand(HELP, {}, async () => {
  await setUp();
  runParts(['static', 'unit', 'conformance'], { reporter: 'dot' });
});
