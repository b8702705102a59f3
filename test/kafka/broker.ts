/** The start scripts of `scripts/servers`, with types. What this machine lacks is printed once, and is `undefined`. */

interface ServerGroup {
  readonly env: Readonly<Record<string, string>>;
  /** Counted from 1. `kill` is SIGKILL; port and data stay. `restart` ends it with SIGTERM if it runs, and resolves when it is ready. */
  pid(server?: number): number | undefined;
  kill(server?: number): Promise<void>;
  restart(server?: number): Promise<void>;
  pause(server?: number): Promise<void>;
  resume(server?: number): Promise<void>;
  stop(): Promise<void>;
}

export interface KafkaServers extends ServerGroup {
  readonly env: { readonly KAFKA_BROKERS: string };
  readonly brokers: readonly { readonly id: number; readonly host: string; readonly port: number }[];
  readonly security?: {
    readonly ssl: string;
    readonly saslPlaintext: string;
    readonly saslSsl: string;
    /** PEM file of the authority that signed the brokers' certificate. */
    readonly authority: string;
    /** PEM file with the key and the certificate of a client. */
    readonly client: string;
    readonly username: string;
    readonly password: string;
  };
}

export interface RegistryServer extends ServerGroup {
  readonly env: { readonly SCHEMA_REGISTRY_URL: string };
}

interface KafkaOptions {
  readonly brokers?: number;
  /** For tests that kill, pause and stop brokers; without it, those of the whole run. */
  readonly own?: boolean;
  readonly security?: boolean;
  readonly extraConfig?: readonly string[];
}

export const startServers = (options: KafkaOptions = {}): Promise<KafkaServers | undefined> =>
  start('kafka', 'startKafka', options);

export const startRegistry = (options: { readonly own?: boolean } = {}): Promise<RegistryServer | undefined> =>
  start('registry', 'startRegistry', options);

/** A Python with Open edX's packages. */
export const preparePython = (): Promise<{ readonly python: string } | undefined> =>
  start('python', 'preparePython', {});

export const addressesOf = (servers: KafkaServers | undefined): string[] =>
  servers?.brokers.map(({ host, port }) => `${host}:${port}`) ?? [];

/** Ports of this machine that nobody listens on now. */
export async function freePorts(count: number): Promise<number[]> {
  const ports = (await import(new URL('../../scripts/servers/ports.mjs', import.meta.url).href)) as {
    freePorts(count: number): Promise<number[]>;
  };
  return ports.freePorts(count);
}

async function start<T>(script: string, name: string, options: object): Promise<T | undefined> {
  const scripts = (await import(new URL(`../../scripts/servers/${script}.mjs`, import.meta.url).href)) as Readonly<
    Record<string, (options: object) => Promise<T & { readonly missing?: string }>>
  >;
  const started = await scripts[name]!(options);
  if (started.missing === undefined) return started;
  console.warn(`skipped: ${started.missing}`);
  return undefined;
}
