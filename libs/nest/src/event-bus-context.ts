import type { ArgumentsHost } from '@nestjs/common';
import { BaseRpcContext } from '@nestjs/microservices';
import type { DeliveryContext, EventMetadata } from '@event-bus/core';

// Looked for instead of `instanceof`, which fails across two copies of this package.
const MARK = Symbol.for('event-bus:context');

/** What a handler may know of its delivery: the value behind `@Ctx()`. */
export class EventBusContext extends BaseRpcContext<[DeliveryContext]> {
  readonly [MARK] = true;

  constructor(delivery: DeliveryContext) {
    super([delivery]);
  }

  /** The event's metadata: id, type, source, time and the rest. */
  get event(): EventMetadata {
    return this.args[0].event;
  }

  get topic(): string {
    return this.args[0].topic;
  }

  get partition(): number {
    return this.args[0].partition;
  }

  /** Opaque: only the transport compares offsets. */
  get offset(): string {
    return this.args[0].offset;
  }

  /** When the record was stored, in milliseconds since 1970. */
  get timestamp(): number {
    return this.args[0].timestamp;
  }

  get key(): Uint8Array | null {
    return this.args[0].key;
  }

  /** Headers that are not metadata, as text. */
  get headers(): Readonly<Record<string, string>> {
    return this.args[0].headers;
  }

  get group(): string {
    return this.args[0].group;
  }

  /** The id of the handler. */
  get handler(): string {
    return this.args[0].handler;
  }

  /** From 1. */
  get attempt(): number {
    return this.args[0].attempt;
  }

  /** Whether this is an old record being read again on purpose. */
  get replay(): boolean {
    return this.args[0].replay;
  }

  /** Aborted when the attempt's time is over, its partition was taken away, or the process stops. Hand it to whatever can be cancelled. */
  get signal(): AbortSignal {
    return this.args[0].signal;
  }
}

/** Whether a guard, interceptor or filter runs for a delivery of the event bus. Global ones that are made for HTTP ask this first. */
export function isEventBusContext(host: ArgumentsHost): boolean {
  if (host.getType() !== 'rpc') return false;
  const context: unknown = host.switchToRpc().getContext();
  return typeof context === 'object' && context !== null && MARK in context;
}
