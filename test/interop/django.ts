/** Open edX on the other end: Django processes with edx-event-bus-kafka, run by the scripts in `python/`. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** Of a Django service; see `python/settings.py`. */
export interface DjangoSettings {
  readonly KAFKA_BROKERS: string;
  readonly SCHEMA_REGISTRY_URL: string;
  readonly EVENT_BUS_TOPIC_PREFIX?: string;
  readonly EVENTS_SERVICE_NAME?: string;
  /** JSON. */
  readonly EVENT_BUS_PRODUCER_CONFIG?: string;
}

/** An event that `produce.py` is to send; without topic it is sent as a signal, and goes where the settings say. */
export interface Order {
  readonly type: string;
  readonly topic?: string;
  readonly key_field?: string;
  readonly data: object;
  readonly metadata?: object;
}

/** A signal that a receiver in Django got. */
export interface Received {
  readonly type: string;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly data: Readonly<Record<string, unknown>>;
  readonly from_event_bus: boolean;
}

export interface DjangoConsumer {
  readonly received: readonly Received[];
  /** What the packages logged as errors: they raise none. */
  readonly errors: readonly string[];
  readonly isReady: boolean;
  /** Lets it commit and leave its group. */
  stop(): Promise<void>;
}

export interface Django {
  /** The Avro schema of every event type, in the text that is registered; `error` where openedx-events has none. */
  schemas(): Promise<Readonly<Record<string, { readonly schema?: string; readonly error?: string }>>>;
  keySchema(type: string, keyField: string): Promise<string>;
  /** Sends all, and answers the metadata of each. Rejects when the packages logged an error. */
  produce(orders: readonly Order[]): Promise<readonly Readonly<Record<string, unknown>>[]>;
  consume(options: {
    readonly topic: string;
    readonly group: string;
    readonly from?: 'earliest' | 'latest';
  }): DjangoConsumer;
  /** Ends what still runs. */
  close(): Promise<void>;
}

export function django(python: string, settings: DjangoSettings): Django {
  const running = new Set<ChildProcess>();

  function run(script: string, ...args: string[]): ChildProcess {
    const child = spawn(python, [`${script}.py`, ...args], {
      cwd: fileURLToPath(new URL('./python', import.meta.url)),
      env: { ...process.env, ...settings, PYTHONDONTWRITEBYTECODE: '1' },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    running.add(child);
    child.once('close', () => running.delete(child));
    return child;
  }

  async function output(child: ChildProcess, input: string): Promise<string> {
    let text = '';
    let errors = '';
    child.stdout!.setEncoding('utf8').on('data', (part: string) => (text += part));
    child.stderr!.setEncoding('utf8').on('data', (part: string) => (errors += part));
    child.stdin!.end(input);
    const [code] = (await once(child, 'close')) as [number | null];
    if (code !== 0) throw new Error(`${child.spawnargs.join(' ')} ended with ${code}:\n${errors.slice(-4_000)}`);
    return text;
  }

  return {
    schemas: async () => JSON.parse(await output(run('schema', '--all'), '')) as Awaited<ReturnType<Django['schemas']>>,
    keySchema: (type, keyField) => output(run('schema', type, '--key-field', keyField), ''),

    async produce(orders) {
      const input = orders.map((order) => `${JSON.stringify(order)}\n`).join('');
      const lines = (await output(run('produce'), input)).trim().split('\n');
      return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    },

    consume({ topic, group, from = 'earliest' }) {
      const child = run('consume', '--topic', topic, '--group', group, '--from', from);
      const consumer = { received: [] as Received[], errors: [] as string[], isReady: false };
      createInterface({ input: child.stdout! }).on('line', (text) => {
        const line = JSON.parse(text) as Received | { readonly error: string } | { readonly ready: true };
        if ('ready' in line) consumer.isReady = true;
        else if ('error' in line) consumer.errors.push(line.error);
        else consumer.received.push(line);
      });
      child.stderr!.pipe(process.stderr, { end: false });
      child.once('exit', (code) => code && consumer.errors.push(`It ended with code ${code}.`));
      return Object.assign(consumer, { stop: () => end(child, 'SIGTERM') });
    },

    async close() {
      await Promise.all([...running].map((child) => end(child, 'SIGKILL')));
    },
  };
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = once(child, 'close');
  child.kill(signal);
  await closed;
}
