import { createRequire } from 'node:module';

// Loaded through `require`: imported as an ES module, kafkajs stays invisible to OpenTelemetry's instrumentation.
const load = createRequire(import.meta.url);

/** The one copy of kafkajs that this library uses and mends. */
export const kafkajs = load('kafkajs') as typeof import('kafkajs');

export const kafkajsVersion = (load('kafkajs/package.json') as { version: string }).version;

/** The version whose internals are known here. */
export const KNOWN_VERSION = '2.2.4';

/** A module inside kafkajs, without its type. Only for `KNOWN_VERSION`. */
export const internal = <T>(path: string): T => load(`kafkajs/src/${path}`) as T;

/** The loaded modules of kafkajs, by file name. */
export const loadedModules = load.cache;

export const fileOf = (path: string) => load.resolve(`kafkajs/src/${path}`);
