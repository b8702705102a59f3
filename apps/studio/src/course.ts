import type { CourseCatalogInfo } from '@event-bus/openedx';
import { COURSE_CATALOG_INFO_CHANGED } from '@event-bus/openedx';

/** A course as Studio's API shows it. */
export interface Course {
  readonly course_key: string;
  readonly name: string;
  readonly start: string;
  readonly end: string | null;
  readonly enrollment_start: string | null;
  readonly enrollment_end: string | null;
  readonly pacing: string;
  readonly hidden: boolean;
  readonly invitation_only: boolean;
  readonly created_at: string;
  /** Rises with every change of this course; the time of the event that announces it. */
  readonly updated_at: string;
  /** `updated_at` of the last change that is known to be on the bus. */
  readonly announced_at: string | null;
}

/** The part that people write. */
export type CourseDraft = Omit<Course, 'created_at' | 'updated_at' | 'announced_at'>;

/** One wrong field of a request. */
export interface FieldError {
  readonly field: string;
  readonly message: string;
}

/** What the bus is told about a course. */
export function catalogInfo(course: CourseDraft): CourseCatalogInfo {
  const { course_key, name, start, end, enrollment_start, enrollment_end, pacing, hidden, invitation_only } = course;
  return {
    course_key,
    name,
    schedule_data: { start, pacing, end, enrollment_start, enrollment_end },
    hidden,
    invitation_only,
  };
}

/**
 * Reads the body of a request. The event definition says what a course must look like; the rest is what only authors
 * are told, such as an end before the start.
 */
export function readDraft(key: string, body: unknown): { draft: CourseDraft } | { errors: readonly FieldError[] } {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    return { errors: [{ field: 'body', message: 'must be a JSON object' }] };
  }
  const { end = null, enrollment_start = null, enrollment_end = null, ...given } = body as Record<string, unknown>;
  const draft = {
    hidden: false,
    invitation_only: false,
    ...given,
    end: end === '' ? null : end,
    enrollment_start: enrollment_start === '' ? null : enrollment_start,
    enrollment_end: enrollment_end === '' ? null : enrollment_end,
    course_key: key,
  } as CourseDraft;
  const shape = shapeErrors(draft);
  const errors = [...unknownFields(given, key), ...(shape.length > 0 ? shape : ruleErrors(draft))];
  return errors.length === 0 ? { draft: only(draft) } : { errors };
}

const WRITTEN = ['name', 'start', 'end', 'enrollment_start', 'enrollment_end', 'pacing', 'hidden', 'invitation_only'];
/** Taken from a stored course that is put back, and not looked at. */
const READ_ONLY = ['created_at', 'updated_at', 'announced_at'];
const NAME_LENGTH = 255;

function unknownFields(given: Record<string, unknown>, key: string): FieldError[] {
  const { course_key: stated = key, ...others } = given;
  const errors = Object.keys(others)
    .filter((field) => !WRITTEN.includes(field) && !READ_ONLY.includes(field))
    .map((field) => ({ field, message: 'is not a field of a course' }));
  if (stated !== key) errors.push({ field: 'course_key', message: 'must be the one in the address, or left out' });
  return errors;
}

function shapeErrors(draft: CourseDraft): FieldError[] {
  return COURSE_CATALOG_INFO_CHANGED.validate({ catalog_info: catalogInfo(draft) }).map(({ path, message }) => ({
    field: String(path.at(-1)),
    message,
  }));
}

function ruleErrors(draft: CourseDraft): FieldError[] {
  const errors: FieldError[] = [];
  const refuse = (field: string, message: string) => errors.push({ field, message });
  if (draft.course_key.length > NAME_LENGTH) refuse('course_key', `must have at most ${NAME_LENGTH} characters`);
  if (draft.name.trim() === '') refuse('name', 'must not be empty');
  if (draft.name.length > NAME_LENGTH) refuse('name', `must have at most ${NAME_LENGTH} characters`);
  // PostgreSQL keeps no such character in a text.
  if (draft.name.includes('\0')) refuse('name', 'must not hold the character U+0000');
  if (!['instructor', 'self'].includes(draft.pacing)) refuse('pacing', 'must be "instructor" or "self"');
  if (isBefore(draft.end, draft.start)) refuse('end', 'must not be before the start');
  if (isBefore(draft.enrollment_end, draft.enrollment_start)) {
    refuse('enrollment_end', 'must not be before the start of enrollment');
  }
  return errors;
}

const isBefore = (later: string | null, earlier: string | null) =>
  later !== null && earlier !== null && Date.parse(later) < Date.parse(earlier);

function only(draft: CourseDraft): CourseDraft {
  const { course_key, name, start, end, enrollment_start, enrollment_end, pacing, hidden, invitation_only } = draft;
  return { course_key, name, start, end, enrollment_start, enrollment_end, pacing, hidden, invitation_only };
}
