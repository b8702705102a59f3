import { describe } from 'vitest';
import { pageSuite } from './page-suite.js';
import { embeddedBus } from './samples.js';

describe('pages on the embedded log', () => pageSuite(embeddedBus));
