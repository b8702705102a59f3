const dates = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium' });
const spans = new Intl.RelativeTimeFormat(undefined, { numeric: 'auto', style: 'short' });

/** The table of courses: the latest change first, no more than `limit` rows, painted once a frame however much comes. */
export class CourseTable {
  #rows = document.getElementById('rows');
  #empty = document.getElementById('empty');
  /** Entry and row by course key. */
  #shown = new Map();
  #waiting = new Map();
  #limit;

  constructor(limit) {
    this.#limit = limit;
  }

  /** Shows this list, but what was told of a course and is later stays. */
  replace(entries, { total, search }) {
    const before = new Map(this.#shown);
    this.#shown.clear();
    this.#rows.replaceChildren();
    for (const entry of entries) {
      const known = before.get(entry.course_key)?.entry;
      this.#show(known && isLater(known, entry) ? known : entry);
    }
    this.#hint(entries.length, total, search);
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
    for (const entry of this.#waiting.values()) {
      const shown = this.#shown.get(entry.course_key);
      if (shown && !isLater(entry, shown.entry)) continue;
      shown?.row.remove();
      this.#show(entry).classList.add('changed');
    }
    this.#waiting.clear();
    if (this.#shown.size > 0) this.#empty.hidden = true;
  }

  #show(entry) {
    const row = rowOf(entry);
    let next = this.#rows.firstElementChild;
    while (next && next.dataset.time > entry.eventTime) next = next.nextElementSibling;
    this.#rows.insertBefore(row, next);
    this.#shown.set(entry.course_key, { entry, row });
    if (this.#shown.size > this.#limit) this.#forgetLast();
    return row;
  }

  #forgetLast() {
    const last = this.#rows.lastElementChild;
    this.#shown.delete(last.dataset.key);
    last.remove();
  }

  #hint(shown, total, search) {
    this.#empty.hidden = shown > 0 && shown >= total;
    if (shown > 0)
      this.#empty.textContent = `The ${shown.toLocaleString()} changed last. Find the others by name or key.`;
    else if (search === '') this.#empty.textContent = 'No courses yet. Save one in Studio and watch this page.';
    else this.#empty.textContent = `No course has “${search}” in its name or key.`;
  }
}

const isLater = (one, other) => one.eventTime > other.eventTime;

function rowOf(entry) {
  const row = document.createElement('tr');
  row.dataset.key = entry.course_key;
  row.dataset.time = entry.eventTime;
  row.append(
    cell('name', entry.name, element('span', 'key', entry.course_key)),
    cell('', date(entry.start)),
    cell('', date(entry.end)),
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
