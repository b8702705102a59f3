import { Module, type DynamicModule, type OnApplicationShutdown } from '@nestjs/common';
import { APP_INTERCEPTOR } from '@nestjs/core';
import { Kysely } from 'kysely';
import { DatabaseAway } from './database-away.js';
import { openDatabase, type StudioDatabase } from './database.js';
import type { Settings } from './settings.js';

/** The database, open from before the first request until after the last. */
@Module({})
export class DatabaseModule implements OnApplicationShutdown {
  constructor(private readonly db: Kysely<StudioDatabase>) {}

  static forRoot(settings: Settings): DynamicModule {
    return {
      module: DatabaseModule,
      global: true,
      providers: [
        { provide: Kysely, useFactory: () => openDatabase(settings) },
        { provide: APP_INTERCEPTOR, useClass: DatabaseAway },
      ],
      exports: [Kysely],
    };
  }

  onApplicationShutdown(): Promise<void> {
    return this.db.destroy();
  }
}
