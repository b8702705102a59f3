export { compact, type CompactOptions } from './compact.js';
export { embedded, type EmbeddedStats, type EmbeddedTransport } from './embedded.js';
export type { EmbeddedOptions } from './options.js';
export type { RetentionRules } from './retention.js';
