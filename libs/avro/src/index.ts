export { avroCodec, type AvroCodecOptions } from './codec.js';
export type { SchemaStore } from './registry.js';
