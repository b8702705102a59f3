import { Injectable } from '@nestjs/common';
import { Kysely, sql, type Insertable } from 'kysely';
import type { Course, CourseDraft } from './course.js';
import type { CourseRow, StudioDatabase } from './database.js';
import { timeAfter } from './microseconds.js';

export interface CourseQuery {
  /** Part of a name or key. Capital or small is the same for A to Z, and for the letters that PostgreSQL's locale knows. */
  readonly search?: string | undefined;
  /** By default all. */
  readonly limit?: number | undefined;
}

/** A course as it was at a time. */
export interface CourseVersion {
  readonly course_key: string;
  readonly updated_at: string;
}

/** Studio's courses in its database. */
@Injectable()
export class CourseStore {
  constructor(private readonly db: Kysely<StudioDatabase>) {}

  /** Writes a course and gives it a time later than the one it had, also when several processes write at once. */
  async put(draft: CourseDraft): Promise<{ course: Course; isNew: boolean }> {
    for (;;) {
      const previous = await this.#row(draft.course_key);
      const row = await this.#write(draft, timeAfter(previous?.updated_at, Date.now()));
      if (row) return { course: toCourse(row), isNew: row.created_at === row.updated_at };
    }
  }

  async find(key: string): Promise<Course | undefined> {
    // PostgreSQL refuses such a text, and libsql looks for the part before.
    if (key.includes('\0')) return undefined;
    const row = await this.#row(key);
    return row && toCourse(row);
  }

  /** The latest change first. */
  async list({ search, limit }: CourseQuery = {}): Promise<Course[]> {
    const rows = await this.#matching(search)
      .selectAll()
      .orderBy('updated_at', 'desc')
      .$if(limit !== undefined, (query) => query.limit(limit!))
      .execute();
    return rows.map(toCourse);
  }

  async count(search?: string): Promise<number> {
    const { n } = await this.#matching(search)
      .select((all) => all.fn.countAll().as('n'))
      .executeTakeFirstOrThrow();
    return Number(n);
  }

  /** Courses that changed after they were last announced, the oldest change first: those behind `after`, by default all. */
  unannounced(limit: number, after?: CourseVersion): Promise<CourseVersion[]> {
    return this.db
      .selectFrom('studio_course')
      .select(['course_key', 'updated_at'])
      .where((row) => row.or([row('announced_at', 'is', null), row('announced_at', '<', row.ref('updated_at'))]))
      .$if(after !== undefined, (query) =>
        query.where((row) =>
          row(row.refTuple('updated_at', 'course_key'), '>', row.tuple(after!.updated_at, after!.course_key)),
        ),
      )
      .orderBy('updated_at')
      .orderBy('course_key')
      .limit(limit)
      .execute();
  }

  /** Changes nothing for a course that has changed again since. */
  async markAnnounced(announced: readonly CourseVersion[]): Promise<void> {
    const pairs = announced.map(({ course_key, updated_at }) => sql`(${course_key}, ${updated_at})`);
    await sql`
      update studio_course set announced_at = updated_at
      where (course_key, updated_at) in (values ${sql.join(pairs)})`.execute(this.db);
  }

  async ping(): Promise<void> {
    await sql`select 1`.execute(this.db);
  }

  #row(key: string): Promise<CourseRow | undefined> {
    return this.db.selectFrom('studio_course').selectAll().where('course_key', '=', key).executeTakeFirst();
  }

  /** Answers nothing when another process wrote a later time between our reading and our writing. */
  #write(draft: CourseDraft, time: string): Promise<CourseRow | undefined> {
    const row: Insertable<CourseRow> = {
      ...draft,
      hidden: Number(draft.hidden),
      invitation_only: Number(draft.invitation_only),
      created_at: time,
      updated_at: time,
      announced_at: null,
    };
    const { course_key: _key, created_at: _created, announced_at: _announced, ...changed } = row;
    return this.db
      .insertInto('studio_course')
      .values(row)
      .onConflict((conflict) =>
        conflict.column('course_key').doUpdateSet(changed).where('studio_course.updated_at', '<', time),
      )
      .returningAll()
      .executeTakeFirst();
  }

  #matching(search = '') {
    const pattern = `%${search.replace(/[\\%_]/g, '\\$&')}%`;
    return this.db
      .selectFrom('studio_course')
      .$if(search !== '', (query) =>
        query.where(
          sql<boolean>`(lower(name) like lower(${pattern}) escape '\\' or lower(course_key) like lower(${pattern}) escape '\\')`,
        ),
      );
  }
}

function toCourse(row: CourseRow): Course {
  return { ...row, hidden: row.hidden === 1, invitation_only: row.invitation_only === 1 };
}
