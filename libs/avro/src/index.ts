export type { SchemaStore } from './registry.js';
