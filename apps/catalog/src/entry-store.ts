import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { Kysely, sql } from 'kysely';
import type { CourseEntry } from './course-entry.js';
import type { CatalogDatabase, EntryRow } from './database.js';

export interface EntryQuery {
  /** Part of a name or key. Capital or small is the same for A to Z, and for the letters that PostgreSQL's locale knows. */
  readonly search?: string | undefined;
  /** By default all. */
  readonly limit?: number | undefined;
}

/** Catalog's courses in its database. */
@Injectable()
export class EntryStore {
  readonly #process = randomUUID();

  constructor(private readonly db: Kysely<CatalogDatabase>) {}

  /**
   * Writes the entry unless a later event was there before; says whether it did. One statement, so that two deliveries
   * at once, or the same one twice, end with the latest.
   */
  async put(entry: CourseEntry): Promise<boolean> {
    const row = toRow(entry, this.#process);
    const { course_key: _key, ...changed } = row;
    const { numInsertedOrUpdatedRows } = await this.db
      .insertInto('catalog_course')
      .values(row)
      .onConflict((conflict) =>
        conflict.column('course_key').doUpdateSet(changed).where('catalog_course.event_time', '<', row.event_time),
      )
      .executeTakeFirstOrThrow();
    return numInsertedOrUpdatedRows !== 0n;
  }

  async find(key: string): Promise<CourseEntry | undefined> {
    // PostgreSQL refuses such a text, and libsql looks for the part before.
    if (key.includes('\0')) return undefined;
    const row = await this.db.selectFrom('catalog_course').selectAll().where('course_key', '=', key).executeTakeFirst();
    return row && toEntry(row);
  }

  /** The latest change first. */
  async list({ search, limit }: EntryQuery = {}): Promise<CourseEntry[]> {
    const rows = await this.#matching(search)
      .selectAll()
      .orderBy('event_time', 'desc')
      .$if(limit !== undefined, (query) => query.limit(limit!))
      .execute();
    return rows.map(toEntry);
  }

  async count(search?: string): Promise<number> {
    const { n } = await this.#matching(search)
      .select((all) => all.fn.countAll().as('n'))
      .executeTakeFirstOrThrow();
    return Number(n);
  }

  /** What other processes received since, the latest first. */
  async fromOthers(since: string, limit: number): Promise<CourseEntry[]> {
    const rows = await this.db
      .selectFrom('catalog_course')
      .selectAll()
      .where('received_at', '>=', since)
      .where('written_by', '!=', this.#process)
      .orderBy('received_at', 'desc')
      .limit(limit)
      .execute();
    return rows.map(toEntry);
  }

  async ping(): Promise<void> {
    await sql`select 1`.execute(this.db);
  }

  #matching(search = '') {
    const pattern = `%${search.replace(/[\\%_]/g, '\\$&')}%`;
    return this.db
      .selectFrom('catalog_course')
      .$if(search !== '', (query) =>
        query.where(
          sql<boolean>`(lower(name) like lower(${pattern}) escape '\\' or lower(course_key) like lower(${pattern}) escape '\\')`,
        ),
      );
  }
}

function toRow({ eventId, eventTime, receivedAt, latencyMs, ...course }: CourseEntry, process: string): EntryRow {
  return {
    ...course,
    hidden: Number(course.hidden),
    invitation_only: Number(course.invitation_only),
    event_id: eventId,
    event_time: eventTime,
    received_at: receivedAt,
    latency_ms: latencyMs,
    written_by: process,
  };
}

function toEntry({
  event_id,
  event_time,
  received_at,
  latency_ms,
  written_by: _process,
  ...course
}: EntryRow): CourseEntry {
  return {
    ...course,
    hidden: course.hidden === 1,
    invitation_only: course.invitation_only === 1,
    eventId: event_id,
    eventTime: event_time,
    receivedAt: received_at,
    latencyMs: latency_ms,
  };
}
