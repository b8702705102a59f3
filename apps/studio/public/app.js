import { readForm, showCourse, showErrors, showIdentity } from './course-form.js';
import { markCurrent, showCourses, showNoAnswer } from './course-list.js';

const SHOWN = 200;
const SEARCH_PAUSE_MS = 150;
const MARKED = 'Not saved: please correct what is marked.';

const form = document.getElementById('form');
const save = document.getElementById('save');
const search = document.getElementById('search');
const status = document.getElementById('status');

/** The course in the form; undefined for a new one. */
let current;
/** What was put into the form is counted, so that a late answer leaves another course alone. */
let selections = 0;
let isSaving = false;
let refreshes = 0;

form.addEventListener('submit', (event) => {
  event.preventDefault();
  if (!isSaving) void store();
});
document.getElementById('new').addEventListener('click', () => {
  select(undefined);
  document.getElementById('course_key').focus();
});
search.addEventListener('input', debounced(refresh, SEARCH_PAUSE_MS));
// Somebody else may have written courses while this page was not looked at.
window.addEventListener('focus', () => void refresh());

select(undefined);
await refresh();

async function store() {
  const { key, body, errors } = readForm(current);
  showErrors(errors);
  if (errors.length > 0) return say(MARKED, 'bad');
  const own = selections;
  const began = performance.now();
  setSaving(true);
  say('Saving…');
  try {
    const response = await fetch(`api/courses/${encodeURIComponent(key || ' ')}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    const answer = await response.json();
    showAnswer(response.status, answer, {
      isShown: own === selections,
      name: body.name,
      ms: performance.now() - began,
    });
  } catch {
    say(
      `${about(own === selections, body.name)}Studio did not answer. Perhaps it is saved: save again to be sure.`,
      'bad',
    );
  } finally {
    setSaving(false);
  }
  await refresh();
}

function setSaving(value) {
  isSaving = value;
  // A button that is disabled loses the focus.
  save.setAttribute('aria-disabled', String(value));
}

function showAnswer(code, answer, { isShown, name, ms }) {
  const course = code < 300 ? answer : answer.course;
  if (isShown) showErrors(answer.errors ?? []);
  if (isShown && course) keep(course);
  say(about(isShown, name) + outcome(code, answer, isShown, ms), code < 300 ? 'good' : 'bad');
}

function outcome(code, { errors, message, stored }, isShown, ms) {
  if (code < 300) return `Saved and announced in ${Math.max(1, Math.round(ms))} ms.`;
  if (stored)
    return 'Saved. It is not announced yet, because the bus does not answer; Studio will try again by itself.';
  if (errors) return isShown ? MARKED : `Not saved: please correct ${errors.map(({ field }) => field).join(', ')}.`;
  return code < 500 ? `Not saved: ${message}` : `Perhaps not saved. ${message}`;
}

/** Before a sentence about a course that is no longer in the form. */
function about(isShown, name) {
  return isShown ? '' : `“${name}”: `;
}

async function refresh() {
  const own = ++refreshes;
  const text = search.value.trim();
  try {
    const response = await fetch(`api/courses?limit=${SHOWN}&search=${encodeURIComponent(text)}`);
    if (!response.ok) throw new Error(response.statusText);
    const courses = await response.json();
    // Somebody has asked again.
    if (own !== refreshes) return;
    showCourses(courses, { total: Number(response.headers.get('x-total-count')), search: text, select: edit });
    markCurrent(current);
  } catch {
    if (own === refreshes) showNoAnswer();
  }
}

function edit(course) {
  select(course);
  say('');
}

function select(course) {
  selections++;
  current = course;
  showCourse(course);
  showErrors([]);
  markCurrent(course);
  if (!course) say('');
}

/** What was typed since it was sent stays. */
function keep(course) {
  current = course;
  showIdentity(course);
  markCurrent(course);
}

function say(text, tone = '') {
  status.textContent = text;
  status.dataset.tone = tone;
}

function debounced(call, ms) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(() => call(), ms);
  };
}
