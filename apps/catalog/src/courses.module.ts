import { Module } from '@nestjs/common';
import { EventBusModule } from '@event-bus/nest';
import { COURSE_CATALOG_INFO_CHANGED } from '@event-bus/openedx';
import { ChangeFeed } from './change-feed.js';
import { CourseView } from './course-view.js';
import { CoursesController } from './courses.controller.js';
import { EntryStore } from './entry-store.js';
import { Latencies } from './latencies.js';

@Module({
  imports: [EventBusModule.forFeature([COURSE_CATALOG_INFO_CHANGED])],
  controllers: [CoursesController],
  providers: [CourseView, EntryStore, ChangeFeed, Latencies],
  exports: [EntryStore],
})
export class CoursesModule {}
