/** Judges what processes wrote down against what is in the log. */
import type { Line } from './processes.js';

export interface StoredPlace {
  readonly partition: number;
  readonly offset: string;
  readonly value: string;
  readonly key: string;
}

/** All records by `partition/offset`. */
export type StoredLog = Map<string, StoredPlace>;

export interface SenderVerdict {
  readonly violations: string[];
  readonly acknowledged: number;
  readonly unacknowledged: number;
}

/** Acknowledged means there, unchanged, at the place that was said; nothing is there that nobody sent; keys are in order; offsets have no holes. */
export function checkSenders(histories: readonly Line[][], stored: StoredLog): SenderVerdict {
  const violations: string[] = [];
  const sent = new Set<string>();
  const known = new Set<string>();
  for (const { type, values, places } of histories.flat()) {
    if (type === 'send') for (const value of values as string[]) sent.add(value);
    for (const place of (places ?? []) as { value: string; status: string; partition: number; offset: string }[]) {
      if (place.status !== 'stored') continue;
      known.add(place.value);
      const found = stored.get(`${place.partition}/${place.offset}`);
      if (found === undefined) violations.push(`lost: ${place.value} at ${place.partition}/${place.offset}`);
      else if (found.value !== place.value)
        violations.push(`two-faced: ${place.value} and ${found.value} at ${place.partition}/${place.offset}`);
    }
  }
  const seen = new Set<string>();
  const last = new Map<string, number>();
  const next = new Map<number, number>();
  for (const { partition, offset, value, key } of stored.values()) {
    if (!sent.has(value)) violations.push(`unexpected: ${value}`);
    if (seen.has(value)) violations.push(`doubled: ${value}`);
    seen.add(value);
    const seq = Number(value.slice(value.lastIndexOf(':') + 1));
    if (seq <= (last.get(key) ?? -1)) violations.push(`reordered: ${value} after ${last.get(key)}`);
    last.set(key, seq);
    if (numberOf(offset) !== (next.get(partition) ?? 0))
      violations.push(`hole: ${partition}/${offset}, expected ${next.get(partition) ?? 0}`);
    next.set(partition, numberOf(offset) + 1);
  }
  return {
    violations,
    acknowledged: known.size,
    unacknowledged: [...sent].filter((value) => !known.has(value)).length,
  };
}

export interface ConsumerVerdict {
  readonly violations: string[];
  readonly deliveries: number;
  readonly doubled: number;
  readonly commits: number;
  readonly fenced: number;
  /** Batches that a member was handed although another had been assigned the partition. */
  readonly overlaps: string[];
}

/**
 * Everything stored was handed over, unchanged and in order, by one owner at a time; a commit that was taken passed nothing that nobody was
 * handed.
 */
export function checkConsumers(histories: readonly Line[][], stored: StoredLog): ConsumerVerdict {
  const violations: string[] = [];
  const lines = histories.flat().sort((a, b) => (a.at as number) - (b.at as number));
  const handed = new Map<number, Set<number>>();
  const last = new Map<string, number>();
  const committed = new Map<number, number>();
  const owners = new Map<number, number>();
  const overlaps: string[] = [];
  let deliveries = 0;
  let commits = 0;
  let fenced = 0;
  for (const line of lines) {
    if (line.type === 'lost') violations.push(`lost: ${JSON.stringify(line.range)}`);
    if (line.type === 'assigned') {
      for (const partition of line.partitions as number[]) {
        last.delete(`${line.name}/${partition}`);
        owners.set(partition, line.name as number);
      }
    }
    if (line.type === 'delivered') {
      const partition = line.partition as number;
      if (owners.get(partition) !== line.name)
        overlaps.push(`two owners: ${line.name} was handed ${partition}, which is ${owners.get(partition)}'s`);
      for (const [offset, value] of line.records as [string, string][]) {
        deliveries++;
        const at = numberOf(offset);
        if (stored.get(`${partition}/${offset}`)?.value !== value)
          violations.push(`changed: ${partition}/${offset} is ${value}`);
        if (at <= (last.get(`${line.name}/${partition}`) ?? -1))
          violations.push(`back: ${line.name} got ${partition}/${offset} late`);
        last.set(`${line.name}/${partition}`, at);
        let set = handed.get(partition);
        if (set === undefined) handed.set(partition, (set = new Set()));
        set.add(at);
      }
    }
    for (const place of (line.places ?? []) as { partition: number; position: string; answer: string }[]) {
      if (place.answer === 'fenced') fenced++;
      if (place.answer !== 'committed') continue;
      commits++;
      const from = committed.get(place.partition) ?? 0;
      const to = Math.max(from, numberOf(place.position));
      for (let at = from; at < to; at++)
        if (handed.get(place.partition)?.has(at) !== true)
          violations.push(`gap: commit of ${place.partition} up to ${to} passed ${at}`);
      committed.set(place.partition, to);
    }
  }
  for (const { partition, offset, value } of stored.values())
    if (handed.get(partition)?.has(numberOf(offset)) !== true)
      violations.push(`never handed over: ${value} at ${partition}/${offset}`);
  const distinct = [...handed.values()].reduce((sum, set) => sum + set.size, 0);
  return { violations, deliveries, doubled: deliveries - distinct, commits, fenced, overlaps };
}

export const numberOf = (offset: string): number => Number(offset.slice(offset.indexOf('.') + 1));
