/**
 * Records finished beyond the committed position, kept in the metadata string that Kafka stores beside it: `eb1:` and run lengths in
 * base64url, unfinished and finished in turn, each a varint. A restart then does not run them again. Any subset is right, so what does
 * not fit in the broker's limit is left out from the far end, and any string that is not ours is ignored.
 */
import { rangesOf, runsOf, type Range } from '@event-bus/core/internal';

export function aheadMetadata(position: number, ranges: readonly Range[]): string {
  const bytes: number[] = [];
  let kept = 0;
  for (const [i, run] of runsOf(position, ranges).entries()) {
    writeVarint(bytes, run);
    if (bytes.length > MAX_BYTES) break;
    if (i % 2 === 1) kept = bytes.length;
  }
  return kept === 0 ? '' : PREFIX + Buffer.from(bytes.slice(0, kept)).toString('base64url');
}

export function rangesAhead(position: number, metadata: string): Range[] {
  if (!metadata.startsWith(PREFIX)) return [];
  const runs = readVarints(Buffer.from(metadata.slice(PREFIX.length), 'base64url'));
  return runs === undefined ? [] : rangesOf(position, runs);
}

const PREFIX = 'eb1:';
// The broker's default limit (offset.metadata.max.bytes) is 4 096 characters; base64 takes four for three bytes.
const MAX_BYTES = Math.floor(((4_096 - PREFIX.length) * 3) / 4);

function writeVarint(bytes: number[], value: number): void {
  let rest = value;
  while (rest > 127) {
    bytes.push((rest % 128) | 128);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
}

/** `undefined` when the bytes are no such list: a number over 2^53, or one that is cut off. */
function readVarints(bytes: Buffer): number[] | undefined {
  const values: number[] = [];
  let value = 0;
  let scale = 1;
  for (const byte of bytes) {
    value += (byte & 127) * scale;
    if (!Number.isSafeInteger(value)) return undefined;
    if (byte > 127) {
      scale *= 128;
    } else {
      values.push(value);
      value = 0;
      scale = 1;
    }
  }
  return scale === 1 ? values : undefined;
}
