/**
 * ISO 8601 date-times, kept as text so that no digit is lost on the way. What passes here, Python's `datetime.fromisoformat` takes as
 * well: days that exist, hours up to 23, years 1 to 9999, an offset. JavaScript's own parser takes 30 February for 2 March.
 */

/** The parts of a date-time; `undefined` when it is none. */
export function parseDateTime(text: string): DateTime | undefined {
  const parts = DATE_TIME.exec(text);
  if (parts === null || Number.isNaN(Date.parse(text))) return undefined;
  const [, date, time, fraction = '', offset] = parts as unknown as [
    string,
    string,
    string,
    string | undefined,
    string,
  ];
  if (date.startsWith('0000') || time.startsWith('24') || !isDay(date)) return undefined;
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

function isDay(date: string): boolean {
  const day = Number(date.slice(8));
  return day <= 28 || new Date(`${date}T00:00:00Z`).getUTCDate() === day;
}

const DATE_TIME = /^(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2}(?::\d{2})?)(?:(?<=:\d{2}:\d{2})\.(\d{1,9}))?(Z|[+-]\d{2}:\d{2})$/;
