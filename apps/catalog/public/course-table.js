const dates = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium' });
const spans = new Intl.RelativeTimeFormat(undefined, { numeric: 'auto', style: 'narrow' });

/**
 * The table of courses: the latest change first, no more than `limit` rows, painted once a frame however much comes.
 * `belongs` says whether a course is among those that are looked for.
 */
export class CourseTable {
  #rows = document.getElementById('rows');
  #empty = document.getElementById('empty');
  /** By course key: the entry, its row, and when it was told; those of a list were not. */
  #shown = new Map();
  #waiting = new Map();
  #limit;
  #belongs;
  #search = '';
  #isCut = false;

  constructor(limit, belongs) {
    this.#limit = limit;
    this.#belongs = belongs;
  }

  /** Shows the list that was asked for at a time; of what was told since then and what it holds the later counts. */
  replace(entries, { total, search, askedAt }) {
    const told = [...this.#shown.values()].filter(({ toldAt }) => toldAt >= askedAt);
    this.#shown.clear();
    this.#rows.replaceChildren();
    this.#search = search;
    this.#isCut = total > entries.length;
    for (const entry of entries) this.#show(entry);
    for (const { entry, toldAt } of told) this.#change(entry, toldAt);
    this.#hint();
  }

  put(entries) {
    if (this.#waiting.size === 0 && entries.length > 0) requestAnimationFrame(() => this.#paint());
    for (const entry of entries) {
      const waiting = this.#waiting.get(entry.course_key);
      if (!waiting || isLater(entry, waiting)) this.#waiting.set(entry.course_key, entry);
    }
  }

  /** Time has passed. */
  tick() {
    const now = Date.now();
    for (const { entry, row } of this.#shown.values()) {
      const text = ago(entry.eventTime, now);
      if (row.cells[4].textContent !== text) row.cells[4].textContent = text;
    }
  }

  #paint() {
    const toldAt = performance.now();
    for (const entry of this.#waiting.values()) this.#change(entry, toldAt)?.classList.add('changed');
    this.#waiting.clear();
    this.#hint();
  }

  /** A course that was renamed may come or go. Answers the row, if there is a new one. */
  #change(entry, toldAt) {
    const shown = this.#shown.get(entry.course_key);
    if (shown && !isLater(entry, shown.entry)) return undefined;
    shown?.row.remove();
    this.#shown.delete(entry.course_key);
    return this.#belongs(entry) ? this.#show(entry, toldAt) : undefined;
  }

  #show(entry, toldAt) {
    const row = rowOf(entry);
    let next = this.#rows.firstElementChild;
    while (next && next.dataset.time > entry.eventTime) next = next.nextElementSibling;
    this.#rows.insertBefore(row, next);
    this.#shown.set(entry.course_key, { entry, row, toldAt });
    if (this.#shown.size > this.#limit) this.#forgetLast();
    return row;
  }

  #forgetLast() {
    const last = this.#rows.lastElementChild;
    this.#shown.delete(last.dataset.key);
    last.remove();
    this.#isCut = true;
  }

  #hint() {
    const shown = this.#shown.size;
    this.#empty.hidden = shown > 0 && !this.#isCut;
    if (shown > 0)
      this.#empty.textContent = `The ${shown.toLocaleString()} changed last. Find the others by name or key.`;
    else if (this.#search === '') this.#empty.textContent = 'No courses yet. Save one in Studio and watch this page.';
    else this.#empty.textContent = `No course has “${this.#search}” in its name or key.`;
  }
}

const isLater = (one, other) => one.eventTime > other.eventTime;

function rowOf(entry) {
  const row = document.createElement('tr');
  row.dataset.key = entry.course_key;
  row.dataset.time = entry.eventTime;
  row.append(
    cell('name', entry.name, element('span', 'key', entry.course_key)),
    cell('date', date(entry.start)),
    cell('date', date(entry.end)),
    cell('', ...tags(entry)),
    cell('number', ago(entry.eventTime, Date.now())),
    cell('number', age(entry.latencyMs)),
  );
  return row;
}

function tags({ pacing, hidden, invitation_only }) {
  const names = [`${pacing}-paced`, hidden && 'hidden', invitation_only && 'by invitation'];
  return names.filter(Boolean).map((name) => element('span', 'tag', name));
}

/** Who sent it answers for what it says: what is no date is shown as it was written. */
function date(time) {
  if (time === null) return '–';
  const when = new Date(time);
  return Number.isNaN(when.getTime()) ? time : dates.format(when);
}

function age(ms) {
  return ms < 10_000 ? `${Math.round(ms).toLocaleString()} ms` : `${Math.round(ms / 1_000).toLocaleString()} s`;
}

function ago(time, now) {
  const seconds = Math.min(0, Math.round((Date.parse(time) - now) / 1_000));
  if (seconds > -60) return spans.format(seconds, 'second');
  if (seconds > -3_600) return spans.format(Math.round(seconds / 60), 'minute');
  if (seconds > -86_400) return spans.format(Math.round(seconds / 3_600), 'hour');
  return spans.format(Math.round(seconds / 86_400), 'day');
}

function cell(className, ...children) {
  const made = element('td', className);
  made.append(...children);
  return made;
}

function element(name, className, text = '') {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}
