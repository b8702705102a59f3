import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import {
  Kysely,
  Migrator,
  PostgresDialect,
  SqliteDialect,
  type Dialect,
  type Migration,
  type SqliteDatabase,
} from 'kysely';
import Sqlite from 'libsql';

export interface StudioDatabase {
  studio_course: CourseRow;
}

/** Times are ISO texts, so that both databases keep them to the microsecond; true and false are 1 and 0. */
export interface CourseRow {
  course_key: string;
  name: string;
  start: string;
  end: string | null;
  enrollment_start: string | null;
  enrollment_end: string | null;
  pacing: string;
  hidden: number;
  invitation_only: number;
  created_at: string;
  updated_at: string;
  /** The `updated_at` that the bus is known to have; a row that is ahead of it is announced again. */
  announced_at: string | null;
}

/** Opens the database and brings its tables up to date. */
export async function openDatabase(at: {
  databaseUrl?: string;
  databaseFile: string;
}): Promise<Kysely<StudioDatabase>> {
  const db = new Kysely<StudioDatabase>({
    dialect: at.databaseUrl ? postgres(at.databaseUrl) : sqlite(at.databaseFile),
  });
  try {
    await migrate(db);
    return db;
  } catch (error) {
    await db.destroy();
    throw at.databaseUrl ? unusable(error) : error;
  }
}

function unusable(error: unknown): Error {
  // An address that was tried in several ways has a code and no message.
  const { message, code } = error as NodeJS.ErrnoException;
  return new Error(`The database of DATABASE_URL cannot be used: ${message || code}`, { cause: error });
}

function postgres(connectionString: string): Dialect {
  return new PostgresDialect({
    async pool() {
      const { Pool } = await import('pg');
      const pool = new Pool({ connectionString, max: 10 });
      // A connection that breaks between two queries has nobody to tell, and would end the process; the next query gets
      // a new one, or its own error.
      pool.on('error', () => {});
      pool.on('connect', (client) => void client.on('error', () => {}));
      return pool;
    },
  });
}

function sqlite(file: string): Dialect {
  makeFile(file);
  return new SqliteDialect({ database: async () => openExclusive(file) });
}

/** For this user only, as the log beside it; SQLite gives its other files the same mode. */
function makeFile(file: string): void {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  closeSync(openSync(file, 'a', 0o600));
}

/**
 * One process per file: after a single "database is locked" a libsql connection says that it wrote, and does not commit
 * (tursodatabase/libsql-js #237, #238). The lock is the operating system's and ends with the process.
 */
function openExclusive(file: string): SqliteDatabase {
  const database = new Sqlite(file);
  try {
    database.prepare('PRAGMA locking_mode = EXCLUSIVE').all([]);
    database.prepare('PRAGMA journal_mode = WAL').all([]);
    database.prepare('PRAGMA synchronous = FULL').run([]);
    return database;
  } catch (error) {
    database.close();
    if (!(error instanceof Error && 'code' in error && error.code === 'SQLITE_BUSY')) throw error;
    throw new Error(
      `${file} is in use by another Studio. Stop that one, give this one its own EVENT_BUS_PATH, or let both use PostgreSQL with DATABASE_URL.`,
      { cause: error },
    );
  }
}

async function migrate(db: Kysely<StudioDatabase>): Promise<void> {
  const migrator = new Migrator({
    db,
    provider: { getMigrations: async () => MIGRATIONS },
    // Both samples may live in one PostgreSQL database.
    migrationTableName: 'studio_migration',
    migrationLockTableName: 'studio_migration_lock',
  });
  const { error } = await migrator.migrateToLatest();
  if (error) throw error;
}

const MIGRATIONS: Record<string, Migration> = {
  '0001_course': {
    async up(db: Kysely<unknown>) {
      await db.schema
        .createTable('studio_course')
        .addColumn('course_key', 'text', (column) => column.primaryKey())
        .addColumn('name', 'text', (column) => column.notNull())
        .addColumn('start', 'text', (column) => column.notNull())
        .addColumn('end', 'text')
        .addColumn('enrollment_start', 'text')
        .addColumn('enrollment_end', 'text')
        .addColumn('pacing', 'text', (column) => column.notNull())
        .addColumn('hidden', 'integer', (column) => column.notNull())
        .addColumn('invitation_only', 'integer', (column) => column.notNull())
        .addColumn('created_at', 'text', (column) => column.notNull())
        .addColumn('updated_at', 'text', (column) => column.notNull())
        .addColumn('announced_at', 'text')
        .execute();
      await db.schema.createIndex('studio_course_updated_at').on('studio_course').column('updated_at').execute();
    },
  },
};
