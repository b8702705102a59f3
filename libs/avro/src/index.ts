export { avroCodec, type AvroCodecOptions } from './codec.js';
export { httpRegistry, type HttpRegistryOptions } from './http-registry.js';
export type { SchemaStore } from './registry.js';
export { Secret, type SecretText } from './secret.js';
