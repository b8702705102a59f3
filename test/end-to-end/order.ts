import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Env, Stage } from './samples.js';

interface Handled {
  readonly course_key: string;
  readonly eventTime: string;
  readonly eventId: string;
}

/** For Catalogs started with `env`: what their handlers did, over restarts and in several processes. */
export function watchOrder({ path }: Stage) {
  const file = join(path, 'handled');
  const env: Env = { HANDLED: file, NODE_OPTIONS: `--import ${fileURLToPath(WITNESS)}` };
  const handled = () =>
    (existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : []).map((line) => JSON.parse(line) as Handled);
  return { env, overtaken: () => overtaken(handled()), count: () => handled().length };
}

const WITNESS = new URL('./fixtures/slow-entries.mjs', import.meta.url);

/**
 * Events that were handled after a later one of their course. What a crash makes come again does not count: it was
 * handled before the later one, and once more behind it.
 */
function overtaken(handled: readonly Handled[]): string[] {
  const seen = new Set<string>();
  const latest = new Map<string, string>();
  return handled.flatMap(({ course_key, eventTime, eventId }) => {
    if (seen.has(eventId)) return [];
    seen.add(eventId);
    const before = latest.get(course_key) ?? '';
    if (eventTime < before) return [`${course_key}: ${eventTime} after ${before}`];
    latest.set(course_key, eventTime);
    return [];
  });
}
