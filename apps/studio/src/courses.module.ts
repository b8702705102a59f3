import { Module } from '@nestjs/common';
import { EventBusModule } from '@event-bus/nest';
import { COURSE_CATALOG_INFO_CHANGED } from '@event-bus/openedx';
import { CourseAuthoring } from './course-authoring.js';
import { CourseStore } from './course-store.js';
import { CoursesController } from './courses.controller.js';

@Module({
  imports: [EventBusModule.forFeature([COURSE_CATALOG_INFO_CHANGED])],
  controllers: [CoursesController],
  providers: [CourseStore, CourseAuthoring],
  exports: [CourseStore],
})
export class CoursesModule {}
