import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
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

export interface CatalogDatabase {
  catalog_course: EntryRow;
}

/** Times are ISO texts, so that both databases keep them to the microsecond; true and false are 1 and 0. */
export interface EntryRow {
  course_key: string;
  name: string;
  start: string;
  end: string | null;
  enrollment_start: string | null;
  enrollment_end: string | null;
  pacing: string;
  hidden: number;
  invitation_only: number;
  event_id: string;
  event_time: string;
  received_at: string;
  latency_ms: number;
  /** The process that wrote the row, so that the others can find what they have not seen. */
  written_by: string;
}

export interface DatabaseSettings {
  /** Of PostgreSQL; without it the file. */
  readonly databaseUrl?: string;
  readonly databaseFile: string;
  /** How long a statement waits while another process writes to the file. Default 5 000. */
  readonly turnTimeoutMs?: number;
}

/** Opens the database and brings its tables up to date, beside other Catalogs that may be doing the same. */
export async function openDatabase(at: DatabaseSettings): Promise<Kysely<CatalogDatabase>> {
  const db = new Kysely<CatalogDatabase>({
    dialect: at.databaseUrl ? postgres(at.databaseUrl) : sqlite(at),
  });
  for (let attempt = 1; ; attempt++) {
    try {
      await migrate(db);
      return db;
    } catch (error) {
      if (isBusy(error) && attempt < START_ATTEMPTS) {
        await sleep(50 * attempt);
        continue;
      }
      await db.destroy();
      throw at.databaseUrl ? unusable(error) : error;
    }
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

function sqlite({ databaseFile, turnTimeoutMs = 5_000 }: DatabaseSettings): Dialect {
  makeFile(databaseFile);
  return new SqliteDialect({ database: async () => sharedFile(() => openFile(databaseFile, turnTimeoutMs)) });
}

/** For this user only, as the log beside it; SQLite gives its other files the same mode. */
function makeFile(file: string): void {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  closeSync(openSync(file, 'a', 0o600));
}

/**
 * A file that several Catalogs of one machine write, one statement at a time; each statement waits its turn. After a
 * single "database is locked" a libsql connection says that it wrote, and does not commit (tursodatabase/libsql-js
 * #237, #238): so the first one ends the connection, and the next statement has a new one.
 */
function sharedFile(open: () => Sqlite.Database): SqliteDatabase {
  let database = open();
  const guarded = <T>(use: () => T): T => {
    try {
      return use();
    } catch (error) {
      if (isBusy(error)) {
        database.close();
        database = open();
      }
      throw error;
    }
  };
  return {
    close: () => void database.close(),
    prepare(sql) {
      const statement = guarded(() => database.prepare(sql));
      return {
        reader: statement.reader,
        all: (parameters) => guarded(() => statement.all(parameters)),
        run: (parameters) => guarded(() => statement.run(parameters)),
        iterate: (parameters) => statement.iterate(parameters),
      };
    },
  };
}

function openFile(file: string, timeout: number): Sqlite.Database {
  const database = new Sqlite(file, { timeout });
  database.prepare('PRAGMA journal_mode = WAL').all([]);
  database.prepare('PRAGMA synchronous = FULL').run([]);
  return database;
}

const isBusy = (error: unknown) =>
  error instanceof Error && 'code' in error && String(error.code).startsWith('SQLITE_BUSY');

const START_ATTEMPTS = 20;

async function migrate(db: Kysely<CatalogDatabase>): Promise<void> {
  const migrator = new Migrator({
    db,
    provider: { getMigrations: async () => MIGRATIONS },
    // Both samples may live in one PostgreSQL database.
    migrationTableName: 'catalog_migration',
    migrationLockTableName: 'catalog_migration_lock',
  });
  const { error } = await migrator.migrateToLatest();
  if (error) throw error;
}

const MIGRATIONS: Record<string, Migration> = {
  '0001_course': {
    async up(db: Kysely<unknown>) {
      await db.schema
        .createTable('catalog_course')
        .addColumn('course_key', 'text', (column) => column.primaryKey())
        .addColumn('name', 'text', (column) => column.notNull())
        .addColumn('start', 'text', (column) => column.notNull())
        .addColumn('end', 'text')
        .addColumn('enrollment_start', 'text')
        .addColumn('enrollment_end', 'text')
        .addColumn('pacing', 'text', (column) => column.notNull())
        .addColumn('hidden', 'integer', (column) => column.notNull())
        .addColumn('invitation_only', 'integer', (column) => column.notNull())
        .addColumn('event_id', 'text', (column) => column.notNull())
        .addColumn('event_time', 'text', (column) => column.notNull())
        .addColumn('received_at', 'text', (column) => column.notNull())
        .addColumn('latency_ms', 'double precision', (column) => column.notNull())
        .addColumn('written_by', 'text', (column) => column.notNull())
        .execute();
      await db.schema.createIndex('catalog_course_received_at').on('catalog_course').column('received_at').execute();
    },
  },
};
