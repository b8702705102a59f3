import { expect, test } from 'vitest';
import { COURSE_CATALOG_INFO_CHANGED } from './index.js';

test('the schema of COURSE_CATALOG_INFO_CHANGED is the one that openedx-events 11.2 makes', () => {
  expect(COURSE_CATALOG_INFO_CHANGED.avro).toEqual({
    name: 'CloudEvent',
    type: 'record',
    doc: 'Avro Event Format for CloudEvents created with openedx_events/schema',
    namespace: 'org.openedx.content_authoring.course.catalog_info.changed.v1',
    fields: [
      {
        name: 'catalog_info',
        type: {
          name: 'CourseCatalogData',
          type: 'record',
          fields: [
            { name: 'course_key', type: 'string' },
            { name: 'name', type: 'string' },
            {
              name: 'schedule_data',
              type: {
                name: 'CourseScheduleData',
                type: 'record',
                fields: [
                  { name: 'start', type: 'string' },
                  { name: 'pacing', type: 'string' },
                  { name: 'end', type: ['null', 'string'], default: null },
                  { name: 'enrollment_start', type: ['null', 'string'], default: null },
                  { name: 'enrollment_end', type: ['null', 'string'], default: null },
                ],
              },
            },
            { name: 'hidden', type: 'boolean' },
            { name: 'invitation_only', type: 'boolean' },
          ],
        },
      },
    ],
  });
});

test('its key is the course key', () => {
  expect(COURSE_CATALOG_INFO_CHANGED.key('catalog_info.course_key').schema).toEqual({
    name: 'course_key',
    type: 'string',
  });
});
