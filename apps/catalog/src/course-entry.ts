import { NonRetryable, type EventMetadata } from '@event-bus/core';
import type { CourseCatalogInfoChanged } from '@event-bus/openedx';

/** A course as Catalog's API shows it: what the last event said, and how that event came. */
export interface CourseEntry {
  readonly course_key: string;
  readonly name: string;
  readonly start: string;
  readonly end: string | null;
  readonly enrollment_start: string | null;
  readonly enrollment_end: string | null;
  readonly pacing: string;
  readonly hidden: boolean;
  readonly invitation_only: boolean;
  readonly eventId: string;
  /** When the course changed, in UTC with six digits: the order of the texts is the order of the times. */
  readonly eventTime: string;
  readonly receivedAt: string;
  /** From the one to the other. */
  readonly latencyMs: number;
}

export function toEntry(
  course: CourseCatalogInfoChanged['catalog_info'],
  event: Pick<EventMetadata, 'id' | 'time'>,
  nowMs: number,
): CourseEntry {
  const { schedule_data, ...rest } = course;
  const eventTime = utcMicroseconds(event.time);
  return {
    ...rest,
    ...schedule_data,
    eventId: event.id,
    eventTime,
    receivedAt: new Date(nowMs).toISOString(),
    latencyMs: age(eventTime, nowMs),
  };
}

/** Milliseconds from an event's time until now; 0 where the clocks of two machines disagree. */
export function age(eventTime: string, nowMs: number): number {
  return Math.max(0, nowMs - Date.parse(eventTime));
}

/** Events come with the offset and precision of whoever made them; to be compared they need one of each. */
export function utcMicroseconds(time: string): string {
  const [, minute, second = '00', fraction = '', offset] = ISO_TIME.exec(time) ?? [];
  const whole = Date.parse(`${minute}:${second}${offset}`);
  // Without a time its place among the other changes is unknown, and trying again cannot tell it.
  if (Number.isNaN(whole)) throw new NonRetryable('The event has no readable time.', { code: 'BUS_EVENT_INVALID' });
  return `${new Date(whole).toISOString().slice(0, 19)}.${fraction.padEnd(6, '0').slice(0, 6)}+00:00`;
}

const ISO_TIME = /^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?(Z|[+-]\d{2}:\d{2})$/;
