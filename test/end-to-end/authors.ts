/** People who write courses, and what they were told. */
import { expect } from 'vitest';
import { eventually, type Sample } from './samples.js';

export interface Course {
  readonly course_key: string;
  readonly name: string;
  readonly updated_at: string;
  readonly [field: string]: unknown;
}

export interface Answer {
  readonly status: number;
  readonly body: any;
}

export const keyOf = (n: number) => `course-v1:edX+Course${n}+2026`;

export const BODY = { name: 'Demonstration', start: '2026-02-01T00:00:00Z', pacing: 'self' };

export async function put(studio: { url: string }, key: string, body: unknown): Promise<Answer> {
  const response = await fetch(`${studio.url}/api/courses/${encodeURIComponent(key)}`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return { status: response.status, body: await response.json() };
}

/** Some authors at once, each with courses of its own. An author who gets no answer tries again until there is one. */
export class Authors {
  /** The last `updated_at` that a 2xx told, by course. */
  readonly told = new Map<string, string>();
  /** 2xx answers. */
  edits = 0;
  failures = 0;
  #studio: { url: string };

  constructor(studio: { url: string }) {
    this.#studio = studio;
  }

  /** Resolves when that many edits were answered with 2xx. */
  async edit(edits: number, { courses = 100, authors = 16 } = {}): Promise<void> {
    const until = this.edits + edits;
    let begun = this.edits;
    const author = async (own: number) => {
      for (let n = own; begun < until; n += authors) {
        begun++;
        await this.#editUntilAnswered(keyOf(n % courses), `edit ${begun}`);
      }
    };
    await Promise.all(Array.from({ length: authors }, (_, own) => author(own)));
  }

  /** Resolves once this many edits were answered, counted from the beginning. */
  async reached(edits: number): Promise<void> {
    await eventually(() => expect(this.edits).toBeGreaterThanOrEqual(edits), 120_000);
  }

  async #editUntilAnswered(key: string, name: string): Promise<void> {
    await eventually(async () => {
      const { status, body } = await put(this.#studio, key, { ...BODY, name }).catch((error) => {
        this.failures++;
        throw error;
      });
      expect([200, 201], JSON.stringify(body)).toContain(status);
      const before = this.told.get(key) ?? '';
      this.told.set(key, before > body.updated_at ? before : body.updated_at);
      this.edits++;
    }, 60_000);
  }
}

/** Every course that Studio has is in Catalog as it is, and is not behind what an author was told. */
export async function expectInStep(studio: Sample, catalog: Sample, authors: Authors): Promise<void> {
  await eventually(async () => {
    const written = (await studio.get<Course[]>('/api/courses')).body;
    const shown = new Map((await catalog.get<Course[]>('/api/courses')).body.map((entry) => [entry.course_key, entry]));
    expect(shown.size).toBe(written.length);
    for (const { created_at: _c, updated_at, announced_at: _a, ...course } of written) {
      expect(shown.get(course.course_key)).toMatchObject({ ...course, eventTime: updated_at });
    }
    for (const [key, time] of authors.told) expect(String(shown.get(key)?.['eventTime']) >= time, key).toBe(true);
  }, 60_000);
}
