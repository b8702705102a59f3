/**
 * Where schemas live. A codec asks for ids when it is prepared and for texts when a record names an id it has not seen; everything else
 * (network, files, caches, credentials) is the store's own affair. Ids and texts never change once given, so both may be kept for ever.
 */
export interface SchemaStore {
  /**
   * The text of a schema, or `undefined` when there is no such id. A store that has it at hand answers without a promise, and decoding
   * stays synchronous. Throws or rejects with `BUS_REGISTRY_UNAVAILABLE` when it cannot know now, `BUS_DECODE_FAILED` for what is no Avro schema.
   */
  byId(id: number): string | undefined | Promise<string | undefined>;
  /**
   * The id to write with under a subject, a positive 32-bit integer: of exactly this text, or of another schema that the store was told to
   * use instead (the codec then checks that it can carry the event). Throws or rejects with `BUS_REGISTRY_UNAVAILABLE`, or with what
   * stops a start: `BUS_TRANSPORT_REFUSED`, `BUS_SCHEMA_UNKNOWN`.
   */
  id(subject: string, text: string): number | Promise<number>;
  /** Lets go of everything; requests in flight are given up. Idempotent. */
  close(): void | Promise<void>;
}

/** A store in memory: ids from 1, one per text, whatever the subject. For one process that talks to itself. */
export function memoryStore(): SchemaStore {
  const texts: string[] = [];
  const ids = new Map<string, number>();
  return {
    byId: (id) => texts[id - 1],
    id(_subject, text) {
      const known = ids.get(text);
      if (known !== undefined) return known;
      ids.set(text, texts.push(text));
      return texts.length;
    },
    close() {},
  };
}
