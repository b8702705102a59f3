/**
 * ISO 8601 date-times, kept as text so that no digit is lost on the way. What passes here, Python's `datetime.fromisoformat` takes as
 * well: days that exist, hours up to 23, years 1 to 9999, an offset. JavaScript's own parser takes 30 February for 2 March.
 */

/** Whether a text is a date-time. Asked of every time in every event that is sent: looks at each character once, and makes nothing. */
export function isDateTime(text: string): boolean {
  const end = timeEnd(text);
  return isDate(text) && text[10] === 'T' && end > 0 && isOffset(text, end);
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

function isDate(text: string): boolean {
  const year = twoDigits(text, 0) * 100 + twoDigits(text, 2);
  const month = twoDigits(text, 5);
  const day = twoDigits(text, 8);
  return text[4] === '-' && text[7] === '-' && year >= 1 && day >= 1 && day <= daysOf(year, month);
}

/** 0 for a month that does not exist. */
function daysOf(year: number, month: number): number {
  if (month !== 2) return DAYS[month] ?? 0;
  return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28;
}

/** Behind hours, minutes, and, where they are given, seconds and their fraction; 0 where there is no time. */
function timeEnd(text: string): number {
  if (!(twoDigits(text, 11) <= 23 && text[13] === ':' && twoDigits(text, 14) <= 59)) return 0;
  if (text[16] !== ':') return 16;
  if (!(twoDigits(text, 17) <= 59)) return 0;
  if (text[19] !== '.') return 19;
  let end = 20;
  while (end < 29 && isDigit(text.charCodeAt(end))) end++;
  return end > 20 ? end : 0;
}

function isOffset(text: string, at: number): boolean {
  if (text[at] === 'Z') return text.length === at + 1;
  return (
    text.length === at + 6 &&
    (text[at] === '+' || text[at] === '-') &&
    twoDigits(text, at + 1) <= 23 &&
    text[at + 3] === ':' &&
    twoDigits(text, at + 4) <= 59
  );
}

/** `NaN` where there are no two digits. */
function twoDigits(text: string, at: number): number {
  const tens = text.charCodeAt(at);
  const ones = text.charCodeAt(at + 1);
  return isDigit(tens) && isDigit(ones) ? (tens - ZERO) * 10 + ones - ZERO : NaN;
}

const isDigit = (code: number) => code >= ZERO && code <= ZERO + 9;

const ZERO = 48;
const DAYS = [0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
const DATE_TIME = /^(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2}(?::\d{2})?)(?:(?<=:\d{2}:\d{2})\.(\d{1,9}))?(Z|[+-]\d{2}:\d{2})$/;
