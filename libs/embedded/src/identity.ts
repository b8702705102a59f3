import { randomBytes } from 'node:crypto';
import { BusError } from '@event-bus/core';
import type { Databases } from './databases.js';
import { LEASE_MS } from './group-table.js';
import { bootId, machineTime, processNamespace } from './machine.js';

/**
 * Inside the first write: makes the log's identity or checks it. Answers the epoch. Refuses with `details.until`, on the machine's clock,
 * while processes of another namespace may be using the log.
 */
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
  const isSameBoot = meta.get('boot') === boot;
  const isSameNamespace = meta.get('namespace') === namespace;
  if (isSameBoot && !isSameNamespace) {
    const until = Math.max(Number(meta.get('until') ?? 0), ...[...members.getRange()].map(({ value }) => value.until));
    if (until > machineTime()) throw otherNamespace(String(meta.get('namespace')), until);
  }
  // Deadlines of an earlier boot mean nothing, and those of another namespace are over.
  if (!isSameBoot || !isSameNamespace) for (const key of Array.from(members.getKeys())) void members.remove(key);
  const epoch = (meta.get('epoch') as string | undefined) ?? newEpoch();
  if (format === undefined) void meta.put('format', FORMAT);
  if (format === undefined) void meta.put('epoch', epoch);
  if (!isSameBoot) void meta.put('boot', boot);
  if (!isSameNamespace) void meta.put('namespace', namespace);
  return epoch;
}

/**
 * What begins each write of a process that has the log open: throws when processes of another namespace use it by now, and notes once a
 * second that this one does. LMDB tells processes apart by their ids; two with the same would take each other's snapshots.
 */
export function presence({ meta }: Databases): () => void {
  let notedAt = -Infinity;
  return () => {
    const found = meta.get('namespace');
    if (found !== namespace) throw otherNamespace(String(found));
    if (machineTime() - notedAt < NOTED_EVERY_MS) return;
    notedAt = machineTime();
    void meta.put('until', notedAt + LEASE_MS);
  };
}

function otherNamespace(found: string, until?: number): BusError {
  return new BusError(
    'BUS_TRANSPORT_REFUSED',
    `Processes of another process-id namespace (${found}) use this log, this one is in ${namespace}. Let the containers share the namespace, or stop the others.`,
    { details: { found, namespace, until } },
  );
}

const namespace = processNamespace();

function newEpoch(): string {
  return randomBytes(8).readBigUInt64BE().toString(36).padStart(8, '0').slice(-8);
}

const FORMAT = 2;
const NOTED_EVERY_MS = 1_000;
