import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { onTestFinished } from 'vitest';
import type { Sample } from './samples.js';

/** Listens to Catalog's changes over restarts, and finds courses that went back in time. */
export async function watchOrder(catalog: Sample) {
  const last = new Map<string, string>();
  const reversed: string[] = [];
  const stopping = new AbortController();
  onTestFinished(() => stopping.abort());
  const told = ({ course_key, eventTime }: { course_key: string; eventTime: string }) => {
    const before = last.get(course_key) ?? '';
    if (eventTime < before) reversed.push(`${course_key}: ${eventTime} after ${before}`);
    last.set(course_key, eventTime);
  };
  const watch = async (one: Sample) => {
    const { body } = await fetch(`${one.url}/api/changes`, { signal: stopping.signal });
    const lines = createInterface({ input: Readable.fromWeb(body as any).on('error', () => {}) });
    lines.on('error', () => {});
    lines.on('line', (line) => {
      const data = /^data: (\[.*)$/.exec(line)?.[1];
      if (data) (JSON.parse(data) as Parameters<typeof told>[0][]).forEach(told);
    });
  };
  await watch(catalog);
  return { watch, reversed: () => reversed };
}
