/**
 * ISO 8601 date-times, kept as text so that no digit is lost on the way. What passes here, Python's `datetime.fromisoformat` takes as
 * well: days that exist, hours up to 23, years 1 to 9999, an offset. JavaScript's own parser takes 30 February for 2 March.
 */

/** Whether a text is a date-time. Asked of every event that is sent, so it makes nothing. */
export function isDateTime(text: string): boolean {
  return (
    DATE_TIME.test(text) &&
    !Number.isNaN(Date.parse(text)) &&
    !text.startsWith('0000') &&
    !text.startsWith('24', HOUR_AT) &&
    isDay(text)
  );
}

/** The parts of a date-time; `undefined` when it is none. */
export function parseDateTime(text: string): DateTime | undefined {
  if (!isDateTime(text)) return undefined;
  const [, date, time, fraction = '', offset] = DATE_TIME.exec(text) as unknown as [
    string,
    string,
    string,
    string | undefined,
    string,
  ];
  return { second: `${date}T${time.length === 5 ? `${time}:00` : time}`, fraction, offset };
}

export interface DateTime {
  /** `2026-01-02T03:04:05`, in the time zone of the offset. */
  readonly second: string;
  /** Digits of the fraction of a second, as written. */
  readonly fraction: string;
  /** `Z`, or hours and minutes with a sign. */
  readonly offset: string;
}

function isDay(text: string): boolean {
  const day = Number(text.slice(8, 10));
  return day <= 28 || new Date(`${text.slice(0, 10)}T00:00:00Z`).getUTCDate() === day;
}

const HOUR_AT = 11;
const DATE_TIME = /^(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2}(?::\d{2})?)(?:(?<=:\d{2}:\d{2})\.(\d{1,9}))?(Z|[+-]\d{2}:\d{2})$/;
