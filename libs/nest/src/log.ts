/**
 * Every log line of this library. What happens in a bus arrives as facts on diagnostics channels; a line has a constant text and one object, never an
 * event's data and never a key. A line per outcome that is not "handled"; what repeats within ten seconds is counted and said once.
 */
import { Logger } from '@nestjs/common';
import type { BusIdentity, Clock, EventMetadata, Signal } from '@event-bus/core';
import { signals } from '@event-bus/core';
import { filterErrorOf } from './failure.js';

type Level = 'debug' | 'log' | 'warn' | 'error';
type Fields = Readonly<Record<string, unknown>>;

/** Writes the lines of one bus. It hears the facts of the bus from `hear` until it is closed. */
export class EventBusLog {
  readonly #logger: Logger;
  readonly #repeats: Repeats;
  readonly #identity: BusIdentity;
  #stops: readonly (() => void)[] = [];

  constructor(identity: BusIdentity, clock: Clock) {
    this.#logger = new Logger(identity.bus === 'default' ? 'EventBus' : `EventBus(${identity.bus})`);
    this.#repeats = new Repeats(clock, (level, text, fields) => this.#write(level, text, fields));
    this.#identity = identity;
  }

  hear(): void {
    if (this.#stops.length === 0) this.#stops = this.#facts(this.#identity);
  }

  handlerFound(fields: { handler: string; event_type: string; topic: string; group: string }): void {
    this.#write('log', 'Handler found', fields);
  }

  handlesElsewhere(fields: { handler: string; topic: string; routes: string }): void {
    this.#write('warn', 'Handler reads a topic that no route of this service sends its events to', fields);
  }

  started(fields: { handlers: number }): void {
    this.#write('log', 'Event bus started', fields);
  }

  draining(): void {
    this.#write('log', 'Event bus is draining', {
      hint: 'running handlers finish; the second signal from now on leaves at once',
    });
  }

  stopped(): void {
    this.#write('log', 'Event bus stopped taking events', {});
  }

  leavingAtOnce(fields: { signal: string }): void {
    this.#write('warn', 'Second signal while draining: leaving at once', fields);
  }

  emitFailed({ pattern, error }: { pattern: unknown; error: unknown }): void {
    this.#repeats.line('error', 'Emitted event was not sent', { event_type: String(pattern), ...failure(error) });
  }

  hooksMissing(): void {
    this.#write('warn', 'Nobody listens for SIGTERM: the process would die without draining', {
      cure: 'call app.enableShutdownHooks() in main.ts',
    });
  }

  startsTooEarly(fields: { modules: string }): void {
    this.#write('warn', 'Handlers start before their modules and stop after them', {
      ...fields,
      cure: 'import EventBusModule.forRoot last in the root module',
    });
  }

  close(): void {
    for (const stop of this.#stops) stop();
    this.#stops = [];
    this.#repeats.close();
  }

  #facts({ instance }: BusIdentity): (() => void)[] {
    const on = <Fact extends BusIdentity>(signal: Signal<Fact>, line: (fact: Fact) => void) =>
      signal.subscribe((fact) => {
        if (fact.instance === instance) line(fact);
      });
    return [
      on(signals.retrying, (fact) =>
        this.#repeats.line('warn', 'Delivery failed, will be tried again', {
          ...delivery(fact),
          after_ms: Math.round(fact.afterMs),
          ...failure(fact.error),
        }),
      ),
      on(signals.dead, (fact) =>
        this.#write('error', 'Delivery became a dead letter', {
          ...delivery(fact),
          ...failure(fact.error),
          attempts: fact.attempts,
          reason: fact.reason,
          dead_letters: fact.deadLetters,
        }),
      ),
      on(signals.skipped, (fact) =>
        this.#repeats.line('debug', 'Delivery skipped', {
          ...place(fact),
          group: fact.group,
          handler: fact.handler,
          event_type: fact.eventType,
          reason: fact.rule,
        }),
      ),
      on(signals.interrupted, (fact) =>
        this.#repeats.line('log', 'Delivery interrupted', {
          ...place(fact),
          group: fact.group,
          handler: fact.handler,
          attempt: fact.attempt,
        }),
      ),
      on(signals.receiverFailed, (fact) =>
        this.#repeats.line('error', 'Local receiver failed', { ...event(fact.event), ...failure(fact.error) }),
      ),
      on(signals.paused, (fact) =>
        this.#write('warn', 'Consumption paused', {
          ...failure(fact.error),
          group: fact.group,
          handler: fact.handler,
          reason: fact.reason,
        }),
      ),
      on(signals.resumed, (fact) =>
        this.#write('log', 'Consumption resumed', { group: fact.group, handler: fact.handler, reason: fact.reason }),
      ),
      on(signals.dataLoss, (fact) =>
        this.#write('error', 'Records are lost', {
          topic: fact.topic,
          partition: fact.partition,
          from: fact.from,
          to: fact.to,
          count: fact.count,
          group: fact.group,
          reason: fact.reason,
        }),
      ),
      on(signals.trouble, ({ group, error }) => {
        if (error === undefined) this.#write('log', 'Transport reads again', { group });
        // Of no group: it is said when the bus opens, of the schemas of its routes.
        else if (group === '')
          this.#repeats.line('warn', 'Schema registry is away, sends are refused until it answers', failure(error));
        else this.#repeats.line('warn', 'Transport cannot read', { group, ...failure(error) });
      }),
    ];
  }

  #write(level: Level, text: string, fields: Fields): void {
    this.#logger[level](text, printable(fields));
  }
}

/** Counts what repeats: the first line of a kind is written at once, the others of the next ten seconds as one, with their number. */
class Repeats {
  readonly #kinds = new Map<string, { fields: Fields; repeats: number; cancel: () => void }>();
  readonly #clock: Clock;
  readonly #write: (level: Level, text: string, fields: Fields) => void;

  constructor(clock: Clock, write: (level: Level, text: string, fields: Fields) => void) {
    this.#clock = clock;
    this.#write = write;
  }

  line(level: Level, text: string, fields: Fields): void {
    const kind = [text, fields.group, fields.handler, fields.reason, fields.error].join(' ');
    const known = this.#kinds.get(kind);
    if (known !== undefined) {
      known.repeats++;
      known.fields = fields;
      return;
    }
    this.#write(level, text, fields);
    if (this.#kinds.size >= KINDS_LIMIT) return;
    const cancel = this.#clock.timer(REPEATS_MS, () => this.#end(kind, level, text));
    this.#kinds.set(kind, { fields, repeats: 0, cancel });
  }

  close(): void {
    for (const { cancel } of this.#kinds.values()) cancel();
    this.#kinds.clear();
  }

  #end(kind: string, level: Level, text: string): void {
    const { fields, repeats } = this.#kinds.get(kind)!;
    this.#kinds.delete(kind);
    if (repeats > 0) this.#write(level, text, { ...fields, repeats });
  }
}

const REPEATS_MS = 10_000;
const KINDS_LIMIT = 1_000;

type DeliveryLike = {
  topic: string;
  partition: number;
  offset: string;
  group: string;
  handler: string | undefined;
  event: EventMetadata | undefined;
  attempt?: number;
};

function delivery(fact: DeliveryLike): Fields {
  return { ...event(fact.event), ...place(fact), group: fact.group, handler: fact.handler, attempt: fact.attempt };
}

function event(metadata: EventMetadata | undefined): Fields {
  return { event_id: metadata?.id, event_type: metadata?.type };
}

function place({ topic, partition, offset }: { topic: string; partition: number; offset: string }): Fields {
  return { topic, partition, offset };
}

function failure(error: unknown): Fields {
  if (error === undefined) return {};
  const replaced = filterErrorOf(error);
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
  return {
    reason: code,
    error: describe(error),
    ...(replaced === undefined ? {} : { filter_error: describe(replaced) }),
  };
}

function describe(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : `a thrown ${typeof error}`;
}

// What others wrote (error texts, header names) may hold line breaks and escape sequences; a log line stays one line.
function printable(fields: Fields): Fields {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries.map(([name, value]) => [name, typeof value === 'string' ? escaped(value) : value]));
}

function escaped(text: string): string {
  const bounded = text.length > TEXT_LIMIT ? `${text.slice(0, TEXT_LIMIT)}…` : text;
  return bounded.replace(
    /[\p{Cc}\u2028\u2029]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

const TEXT_LIMIT = 1_000;
