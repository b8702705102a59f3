export { embedded, type EmbeddedStats, type EmbeddedTransport } from './embedded.js';
export type { EmbeddedOptions } from './options.js';
export type { RetentionRules } from './retention.js';
