/**
 * A position as users see it: `<epoch>.<offset>`. The epoch is made once with the log. A position of another epoch belongs to other
 * data (the directory was deleted and made again) and is refused, never applied.
 */
import { BusError } from '@event-bus/core';

export function positionText(epoch: string, offset: number): string {
  return `${epoch}.${offset}`;
}

/** The offset of a position. Throws `BUS_DATA_LOSS` for another epoch, `BUS_CONFIG_INVALID` for what is no position. */
export function offsetOf(epoch: string, position: string): number {
  const match = POSITION.exec(position);
  if (match === null)
    throw new BusError(
      'BUS_CONFIG_INVALID',
      `"${position}" is no position of the embedded log. Use one that the log gave, such as "${epoch}.0".`,
    );
  if (match[1] !== epoch) {
    throw new BusError(
      'BUS_DATA_LOSS',
      `Position "${position}" belongs to another log than this one (${epoch}.…): its directory was made anew. Start from "start", "end" or a time.`,
      {
        details: { position, epoch },
      },
    );
  }
  return Number(match[2]);
}

const POSITION = /^([0-9a-z]{8})\.(0|[1-9][0-9]{0,14})$/;
