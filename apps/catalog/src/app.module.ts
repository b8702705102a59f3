import { Module, type DynamicModule } from '@nestjs/common';
import type { Transport } from '@event-bus/core';
import { EventBusModule } from '@event-bus/nest';
import { CoursesModule } from './courses.module.js';
import { DatabaseModule } from './database.module.js';
import { HealthModule } from './health.module.js';
import { LastAnswers } from './last-answers.js';
import type { Settings } from './settings.js';

@Module({})
export class AppModule {
  static forRoot(settings: Settings, transport: Transport): DynamicModule {
    const { topicPrefix } = settings.bus;
    return {
      module: AppModule,
      providers: [LastAnswers],
      imports: [
        DatabaseModule.forRoot(settings),
        CoursesModule,
        HealthModule,
        // Last, so that handlers start after and stop before everything that they need.
        EventBusModule.forRoot({
          service: 'catalog',
          transport,
          ...(topicPrefix === undefined ? {} : { topicPrefix }),
        }),
      ],
    };
  }
}
