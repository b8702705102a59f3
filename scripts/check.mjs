/** `npm run check`: format, types, lint, unit tests, import rules, docs and conformance on the embedded log. Fast enough for before every commit. */
import { runParts } from './parts.mjs';
import { setUp } from './setup.mjs';

setUp();
runParts(['static', 'unit', 'conformance'], { reporter: 'dot' });
