import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';

/**
 * Watches Catalog as its page does: by its changes, and by its list when those were too many.
 *
 * @param {{ catalog: string, shows: (key: string, time: string) => void }} options
 */
export async function watchCatalog({ catalog, shows }) {
  const stopping = new AbortController();
  const response = await fetch(`${catalog}/api/changes`, { signal: stopping.signal });
  if (!response.body) throw new Error(`${catalog}/api/changes has no body`);
  const lines = createInterface({ input: Readable.fromWeb(/** @type {any} */ (response.body)) });
  let event = '';
  lines.on('line', (line) => {
    if (line.startsWith('event: ')) event = line.slice(7);
    if (line.startsWith('data: ') && event === 'changes') tell(JSON.parse(line.slice(6)));
    if (line.startsWith('data: ') && event === 'reload') void load();
  });
  lines.on('error', () => {}); // the end of the stream, at stop

  /** @param {{ course_key: string, eventTime: string }[]} entries */
  function tell(entries) {
    for (const { course_key, eventTime } of entries) shows(course_key, eventTime);
  }

  async function load() {
    tell(/** @type {any} */ (await (await fetch(`${catalog}/api/courses`)).json()));
  }

  return { load, stop: () => stopping.abort() };
}
