/** Shared with the sister libraries, not promised to anyone else. */
export { memoryStore } from './registry.js';
export { schemaText } from './schema-text.js';
export { revealed } from './secret.js';
