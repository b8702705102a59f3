import { Module, type DynamicModule, type OnApplicationShutdown } from '@nestjs/common';
import { Kysely } from 'kysely';
import { openDatabase, type CatalogDatabase } from './database.js';
import type { Settings } from './settings.js';

/** The database, open from before the first request until after the last. */
@Module({})
export class DatabaseModule implements OnApplicationShutdown {
  constructor(private readonly db: Kysely<CatalogDatabase>) {}

  static forRoot(settings: Settings): DynamicModule {
    return {
      module: DatabaseModule,
      global: true,
      providers: [{ provide: Kysely, useFactory: () => openDatabase(settings) }],
      exports: [Kysely],
    };
  }

  onApplicationShutdown(): Promise<void> {
    return this.db.destroy();
  }
}
