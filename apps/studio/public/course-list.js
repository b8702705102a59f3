const list = document.getElementById('courses');
const count = document.getElementById('count');
const empty = document.getElementById('empty');
const dates = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium' });

/** Shows the courses; `select` is called with the one that is clicked. */
export function showCourses(courses, { total, search, select }) {
  const focused = document.activeElement?.dataset.key;
  count.textContent = total.toLocaleString();
  list.replaceChildren(...courses.map((course) => item(course, select)));
  list.hidden = courses.length === 0;
  empty.hidden = courses.length > 0 && total <= courses.length;
  empty.textContent = hint(courses.length, search);
  // A new row of the same course goes on having the focus.
  if (focused) buttonOf(focused)?.focus({ preventScroll: true });
}

/** What was shown stays. */
export function showNoAnswer() {
  empty.hidden = false;
  empty.textContent = 'The list could not be loaded.';
}

export function markCurrent(course) {
  for (const button of list.querySelectorAll('.course')) {
    button.setAttribute('aria-current', String(button.dataset.key === course?.course_key));
  }
}

function buttonOf(key) {
  return [...list.querySelectorAll('.course')].find((button) => button.dataset.key === key);
}

function hint(shown, search) {
  if (shown > 0) return `The ${shown.toLocaleString()} changed last. Find the others by name or key.`;
  return search === '' ? 'No courses yet: write the first.' : `No course has “${search}” in its name or key.`;
}

function item(course, select) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'course';
  button.dataset.key = course.course_key;
  button.append(element('strong', course.name), keyAndStart(course));
  button.addEventListener('click', () => select(course));
  const item = document.createElement('li');
  item.append(button);
  return item;
}

function keyAndStart({ course_key, start }) {
  const line = element('span', `${course_key} · ${date(start)}`);
  line.className = 'key';
  return line;
}

/** What is no date is shown as it was written. */
function date(time) {
  const when = new Date(time);
  return Number.isNaN(when.getTime()) ? time : dates.format(when);
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}
