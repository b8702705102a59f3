import { Module, type DynamicModule } from '@nestjs/common';
import type { Transport } from '@event-bus/core';
import { EventBusModule } from '@event-bus/nest';
import { COURSE_CATALOG_INFO_CHANGED } from '@event-bus/openedx';
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
        // Last, so that it starts after and stops before everything that sends.
        EventBusModule.forRoot({
          service: 'studio',
          transport,
          // An author waits for the answer. The course is stored by then, and is announced again later.
          sendDeadlineMs: 5_000,
          ...(topicPrefix === undefined ? {} : { topicPrefix }),
          routes: {
            [COURSE_CATALOG_INFO_CHANGED.type]: {
              'course-catalog-info-changed': { keyField: 'catalog_info.course_key' },
            },
          },
        }),
      ],
    };
  }
}
