import { createBus } from '../../libs/core/dist/index.js';
import { embedded } from '../../libs/embedded/dist/index.js';
import { COURSE_CATALOG_INFO_CHANGED as event } from '../../libs/openedx/dist/index.js';

export { event };
export const TOPIC = 'course-catalog-info-changed';

export function busOn(path, options) {
  return createBus({
    service: 'bench',
    transport: embedded({ path }),
    routes: { [event.type]: { [TOPIC]: { keyField: 'catalog_info.course_key' } } },
    events: [event],
    ...options,
  });
}

export function course(n) {
  return {
    catalog_info: {
      course_key: `course-v1:edX+Demo+${n}`,
      name: `A course about something, number ${n}`,
      schedule_data: { start: '2026-01-02T03:04:05.678901+00:00', pacing: 'self' },
      hidden: false,
      invitation_only: false,
    },
  };
}
