import { defineEvent, schema, type EventData, type EventInput } from '@event-bus/core';

/**
 * A course changed in a way that matters to catalogues: its name, its dates, who may see it. Sent by the service in which courses
 * are written, with the time of the course's own row. Its key on the bus is `catalog_info.course_key`.
 *
 * The names are those of `openedx_events/content_authoring/data.py` in openedx-events 11.2.
 */
export const COURSE_CATALOG_INFO_CHANGED = defineEvent({
  type: 'org.openedx.content_authoring.course.catalog_info.changed.v1',
  data: {
    catalog_info: schema.record('CourseCatalogData', {
      course_key: schema.courseKey(),
      name: schema.string(),
      schedule_data: schema.record('CourseScheduleData', {
        start: schema.dateTime(),
        /** `instructor` or `self`. */
        pacing: schema.string(),
        end: schema.optional(schema.dateTime()),
        enrollment_start: schema.optional(schema.dateTime()),
        enrollment_end: schema.optional(schema.dateTime()),
      }),
      hidden: schema.boolean(),
      invitation_only: schema.boolean(),
    }),
  },
});

/** The data a handler gets. */
export type CourseCatalogInfoChanged = EventData<typeof COURSE_CATALOG_INFO_CHANGED>;
/** The course inside of what is sent. */
export type CourseCatalogInfo = EventInput<typeof COURSE_CATALOG_INFO_CHANGED>['catalog_info'];
