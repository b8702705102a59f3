const list = document.getElementById('courses');
const count = document.getElementById('count');
const empty = document.getElementById('empty');
const dates = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium' });

/** Shows the courses; `select` is called with the one that is clicked. */
export function showCourses(courses, { total, search, current, select }) {
  count.textContent = total.toLocaleString();
  list.replaceChildren(...courses.map((course) => item(course, current, select)));
  list.hidden = courses.length === 0;
  empty.hidden = courses.length > 0 && total <= courses.length;
  empty.textContent = hint(courses.length, search);
}

function hint(shown, search) {
  if (shown > 0) return `The ${shown.toLocaleString()} changed last. Find the others by name or key.`;
  return search === '' ? 'No courses yet: write the first.' : `No course has “${search}” in its name or key.`;
}

function item(course, current, select) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'course';
  button.dataset.key = course.course_key;
  button.setAttribute('aria-current', String(course.course_key === current?.course_key));
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
