import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Sqlite from 'libsql';

/** @typedef {{ course_key: string, updated_at: string }} Course */

/**
 * A catalogue of the kind that events replace: every `intervalMs` it loads all courses over HTTP and writes them into
 * its own database, in one transaction. A share of the runs fails half-way, as such jobs do.
 *
 * @param {{ studio: string, intervalMs: number, flaky: number, shows: (key: string, time: string) => void }} options
 */
export function startFullJob({ studio, intervalMs, flaky, shows }) {
  const folder = mkdtempSync(join(tmpdir(), 'event-bus-full-job-'));
  const database = new Sqlite(join(folder, 'catalog.db'));
  database.prepare('PRAGMA journal_mode = WAL').all();
  database.exec('create table course (course_key text primary key, updated_at text not null, body text not null)');
  const upsert = database.prepare(
    'insert into course values (?, ?, ?) on conflict do update set updated_at = excluded.updated_at, body = excluded.body',
  );
  const figures = { runs: 0, failed: 0, requests: 0, rows: 0, bytes: 0 };
  const stopping = new AbortController();
  const running = repeat();

  async function repeat() {
    while (!stopping.signal.aborted) {
      await sleep(intervalMs, undefined, { signal: stopping.signal }).catch(() => {});
      if (!stopping.signal.aborted) await run();
    }
  }

  async function run() {
    figures.runs++;
    figures.requests++;
    const willFail = Math.random() < flaky;
    try {
      const text = await (await fetch(`${studio}/api/courses`)).text();
      figures.bytes += Buffer.byteLength(text);
      store(JSON.parse(text), willFail);
    } catch {
      figures.failed++;
    }
  }

  /**
   * @param {Course[]} courses
   * @param {boolean} willFail
   */
  function store(courses, willFail) {
    database.exec('begin immediate');
    try {
      for (const [index, course] of courses.entries()) {
        if (willFail && index >= courses.length / 2) throw new Error('the connection to the database was lost');
        upsert.run([course.course_key, course.updated_at, JSON.stringify(course)]);
        figures.rows++;
      }
      database.exec('commit');
    } catch (error) {
      database.exec('rollback');
      throw error;
    }
    for (const course of courses) shows(course.course_key, course.updated_at);
  }

  return {
    figures,
    async stop() {
      stopping.abort();
      await running;
      database.close();
      rmSync(folder, { recursive: true });
    },
  };
}
