export { memoryStore } from './registry.js';
