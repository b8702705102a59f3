/**
 * Local receivers: the in-process half of an event. Whatever this service sends is told to those inside it who asked, once it is in line,
 * robustly: one that throws stops neither the others nor the send. What arrives from the bus is not told here; handlers are for that.
 */
import type { EventMetadata } from './envelope.js';
import type { EventDefinition } from './event.js';

export type LocalReceiver = (data: any, metadata: EventMetadata) => unknown;

export class LocalReceivers {
  readonly #byType = new Map<string, Set<{ readonly receiver: LocalReceiver }>>();

  constructor(private readonly failed: (metadata: EventMetadata, error: unknown) => void) {}

  /** Answers how to disconnect. */
  connect(definition: EventDefinition, receiver: LocalReceiver): () => void {
    const receivers = this.#byType.get(definition.type) ?? new Set();
    // Each connection is one of its own, also of a function that connects twice.
    const connection = { receiver };
    this.#byType.set(definition.type, receivers.add(connection));
    return () => void receivers.delete(connection);
  }

  /** Calls them in the order in which they connected. Does not wait for promises; a rejected one is a failure like a throw. */
  tell(data: unknown, metadata: EventMetadata): void {
    for (const { receiver } of this.#byType.get(metadata.type) ?? []) void this.#call(receiver, data, metadata);
  }

  async #call(receiver: LocalReceiver, data: unknown, metadata: EventMetadata): Promise<void> {
    try {
      await receiver(data, metadata);
    } catch (error) {
      this.failed(metadata, error);
    }
  }
}
