import { randomBytes } from 'node:crypto';
import { BusError } from '@event-bus/core';
import type { Databases } from './databases.js';
import { bootId, machineTime, processNamespace } from './machine.js';

/** Inside the first write: makes the log's identity or checks it. Answers the epoch. */
export function identify({ meta, members }: Databases): string {
  const format = meta.get('format');
  if (format !== undefined && format !== FORMAT) {
    throw new BusError(
      'BUS_TRANSPORT_REFUSED',
      `The log has format ${String(format)}, this library reads ${FORMAT}. Use the version of the library that wrote it, or another directory.`,
      { details: { format } },
    );
  }
  const boot = bootId();
  const namespace = processNamespace();
  const isSameBoot = meta.get('boot') === boot;
  // Deadlines of an earlier boot mean nothing, and its processes are gone.
  if (!isSameBoot) for (const key of Array.from(members.getKeys())) void members.remove(key);
  const now = machineTime();
  if (meta.get('namespace') !== namespace) {
    for (const { value } of members.getRange()) {
      if (value.until > now) {
        throw new BusError(
          'BUS_TRANSPORT_REFUSED',
          `Processes of another process-id namespace (${String(meta.get('namespace'))}) use this log, this one is in ${namespace}. Let the containers share the namespace, or stop the others.`,
        );
      }
    }
  }
  const epoch = (meta.get('epoch') as string | undefined) ?? newEpoch();
  if (format === undefined) void meta.put('format', FORMAT);
  if (format === undefined) void meta.put('epoch', epoch);
  if (!isSameBoot) void meta.put('boot', boot);
  if (meta.get('namespace') !== namespace) void meta.put('namespace', namespace);
  return epoch;
}

function newEpoch(): string {
  return randomBytes(8).readBigUInt64BE().toString(36).padStart(8, '0').slice(-8);
}

const FORMAT = 2;
