export interface KafkaServers {
  readonly brokers: readonly { readonly host: string; readonly port: number }[];
  readonly security?: {
    readonly ssl: string;
    readonly saslPlaintext: string;
    readonly saslSsl: string;
    /** PEM file of the authority that signed the brokers' certificate. */
    readonly authority: string;
    readonly username: string;
    readonly password: string;
  };
  /** Brokers are counted from 1. */
  kill(broker?: number): Promise<void>;
  restart(broker?: number): Promise<void>;
  pause(broker?: number): Promise<void>;
  resume(broker?: number): Promise<void>;
  stop(): Promise<void>;
}

interface StartOptions {
  readonly brokers?: number;
  readonly own?: boolean;
  readonly security?: boolean;
}

/** Apache Kafka, or a printed reason why this machine has none. */
export async function startServers(options: StartOptions = {}): Promise<KafkaServers | undefined> {
  const script = new URL('../../scripts/servers/kafka.mjs', import.meta.url).href;
  const { startKafka } = (await import(script)) as {
    startKafka(options: StartOptions): Promise<KafkaServers & { missing?: string }>;
  };
  const servers = await startKafka(options);
  if (servers.missing === undefined) return servers;
  console.warn(`skipped: ${servers.missing}`);
  return undefined;
}

export const addressesOf = (servers: KafkaServers | undefined) =>
  servers?.brokers.map(({ host, port }) => `${host}:${port}`) ?? [];
