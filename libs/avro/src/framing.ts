/**
 * The frame of a value or key that was written with a registered schema: byte 0, then the id of the schema as a big-endian 32-bit integer
 * (https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format).
 */
import { unreadable } from './reasons.js';

export const FRAME_BYTES = 5;

/** The frame of a schema, made once per schema. */
export function frameOf(id: number): Buffer {
  const frame = Buffer.alloc(FRAME_BYTES);
  frame.writeInt32BE(id, 1);
  return frame;
}

/** The id of the schema that a value was written with. Throws `BUS_DECODE_FAILED` with the reason `not-framed`. */
export function schemaIdOf(value: Buffer): number {
  if (value.length < FRAME_BYTES || value[0] !== 0) throw unreadable('not-framed');
  const id = value.readInt32BE(1);
  if (id <= 0) throw unreadable('not-framed');
  return id;
}
