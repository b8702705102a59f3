import { showCourse, readForm, showErrors } from './course-form.js';
import { showCourses } from './course-list.js';

const SHOWN = 200;
const SEARCH_PAUSE_MS = 150;

const form = document.getElementById('form');
const save = document.getElementById('save');
const search = document.getElementById('search');
const status = document.getElementById('status');

/** The course in the form; undefined for a new one. */
let current;

form.addEventListener('submit', (event) => {
  event.preventDefault();
  void store();
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
  const { key, body } = readForm(current);
  save.disabled = true;
  say('Saving…');
  const began = performance.now();
  try {
    const response = await fetch(`api/courses/${encodeURIComponent(key || ' ')}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    showAnswer(response.status, await response.json(), performance.now() - began);
  } catch {
    say('Studio does not answer. Nothing was saved; try again.', 'bad');
  } finally {
    save.disabled = false;
  }
  await refresh();
}

function showAnswer(code, answer, ms) {
  showErrors(answer.errors ?? []);
  if (answer.errors) return say('Not saved: please correct what is marked.', 'bad');
  if (code === 503 && answer.stored) {
    select(answer.course);
    return say(
      'Saved. It is not announced yet, because the bus does not answer; Studio will try again by itself.',
      'bad',
    );
  }
  if (code >= 400) return say(`Not saved: ${answer.message}`, 'bad');
  select(answer);
  say(`Saved and announced in ${Math.max(1, Math.round(ms))} ms.`, 'good');
}

async function refresh() {
  try {
    const response = await fetch(`api/courses?limit=${SHOWN}&search=${encodeURIComponent(search.value.trim())}`);
    if (!response.ok) throw new Error(response.statusText);
    const total = Number(response.headers.get('x-total-count'));
    showCourses(await response.json(), { total, search: search.value.trim(), current, select: edit });
  } catch {
    say('The list of courses could not be loaded.', 'bad');
  }
}

function edit(course) {
  select(course);
  say('');
}

function select(course) {
  current = course;
  showCourse(course);
  showErrors([]);
  for (const button of document.querySelectorAll('.course')) {
    button.setAttribute('aria-current', String(button.dataset.key === course?.course_key));
  }
  if (!course) say('');
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
