/**
 * What happens in a bus, as plain facts on `node:diagnostics_channel`. Logs, metrics and tests are made of these; nothing is private.
 * A channel nobody subscribes to costs one look.
 */
import { channel, type Channel } from 'node:diagnostics_channel';
import type { EventMetadata } from './envelope.js';
import type { BusErrorCode } from './errors.js';
import type { LostRange, Place } from './transport.js';

/** Which bus of which service speaks. */
export interface BusIdentity {
  readonly bus: string;
  readonly service: string;
  /** Tells two buses of one name and service apart, in one process. */
  readonly instance: symbol;
}

export interface PublishedFact extends BusIdentity {
  readonly event: EventMetadata;
  readonly records: readonly Place[];
  readonly durationMs: number;
}

export interface SendFailedFact extends BusIdentity {
  readonly eventType: string;
  /** `undefined`: refused before it had metadata. */
  readonly event: EventMetadata | undefined;
  readonly error: unknown;
}

export interface DeliveryFact extends BusIdentity, Place {
  readonly group: string;
  readonly handler: string;
  readonly event: EventMetadata;
  readonly attempt: number;
  readonly durationMs: number;
}

export interface RetryingFact extends DeliveryFact {
  readonly error: unknown;
  readonly afterMs: number;
}

export interface DeadFact extends BusIdentity, Place {
  readonly group: string;
  /** `undefined`: the record could not be read. */
  readonly handler: string | undefined;
  readonly event: EventMetadata | undefined;
  readonly attempts: number;
  readonly reason: BusErrorCode;
  readonly error: unknown;
  /** The topic of the dead letter. */
  readonly deadLetters: string;
}

export interface SkippedFact extends BusIdentity, Place {
  readonly group: string;
  readonly handler: string | undefined;
  readonly eventType: string | undefined;
  /** `no-handler`, or what a retry policy said. */
  readonly rule: string;
}

export interface InterruptedFact extends BusIdentity, Place {
  readonly group: string;
  readonly handler: string;
  readonly attempt: number;
}

export interface PausedFact extends BusIdentity {
  readonly group: string;
  /** Whose records wait; `undefined`: records that concern all handlers of the group. */
  readonly handler: string | undefined;
  /** `switched-off` and `breaker`: all records of the handler; `registry` and `dead-letter`: some, and with each of them its key. */
  readonly reason: 'switched-off' | 'breaker' | 'registry' | 'dead-letter';
  readonly error?: unknown;
}

export interface LostFact extends BusIdentity, LostRange {
  readonly group: string;
}

export interface TroubleFact extends BusIdentity {
  readonly group: string;
  /** `undefined`: over. */
  readonly error: Error | undefined;
}

export interface AssignmentFact extends BusIdentity {
  readonly group: string;
  readonly topic: string;
  readonly partitions: readonly number[];
}

export interface CommittedFact extends BusIdentity {
  readonly group: string;
  readonly topic: string;
  readonly partition: number;
  readonly position: string;
}

export interface ReceiverFailedFact extends BusIdentity {
  readonly event: EventMetadata;
  readonly error: unknown;
}

export const signals = {
  published: signal<PublishedFact>('published'),
  sendFailed: signal<SendFailedFact>('send-failed'),
  receiverFailed: signal<ReceiverFailedFact>('receiver-failed'),
  assigned: signal<AssignmentFact>('assigned'),
  revoked: signal<AssignmentFact>('revoked'),
  delivered: signal<Omit<DeliveryFact, 'durationMs'>>('delivered'),
  handled: signal<DeliveryFact>('handled'),
  retrying: signal<RetryingFact>('retrying'),
  dead: signal<DeadFact>('dead'),
  skipped: signal<SkippedFact>('skipped'),
  interrupted: signal<InterruptedFact>('interrupted'),
  committed: signal<CommittedFact>('committed'),
  paused: signal<PausedFact>('paused'),
  resumed: signal<PausedFact>('resumed'),
  dataLoss: signal<LostFact>('data-loss'),
  trouble: signal<TroubleFact>('trouble'),
} as const;

export interface Signal<Fact> {
  readonly name: string;
  /** Ask before making a fact on a hot path. */
  readonly isHeard: boolean;
  publish(fact: Fact): void;
  /** Answers how to stop hearing. A subscriber that throws ends the process, as Node has it: catch your own. */
  subscribe(hear: (fact: Fact) => void): () => void;
}

function signal<Fact>(name: string): Signal<Fact> {
  const one: Channel<unknown> = channel(`event-bus:${name}`);
  return {
    name: one.name as string,
    get isHeard() {
      return one.hasSubscribers;
    },
    publish: (fact) => one.publish(fact),
    subscribe(hear) {
      const onFact = (fact: unknown) => hear(fact as Fact);
      one.subscribe(onFact);
      return () => {
        one.unsubscribe(onFact);
      };
    },
  };
}
