import { followChanges } from './changes.js';
import { CourseTable } from './course-table.js';

const SHOWN = 200;
const SEARCH_PAUSE_MS = 150;
const FIGURES_EVERY_MS = 1_000;
const SAY_EVERY_MS = 1_500;

const search = document.getElementById('search');
const connection = document.getElementById('connection');
const latest = document.getElementById('latest');
const table = new CourseTable(SHOWN, matchesSearch);
let loads = 0;

search.addEventListener('input', debounced(load, SEARCH_PAUSE_MS));
const showFiguresSoon = atMostEvery(FIGURES_EVERY_MS, showFigures);
const saySoon = atMostEvery(SAY_EVERY_MS, say);

// The list is asked for after the connection stands: what changes in between is told, and the later of the two counts.
followChanges({
  onState: showState,
  onConnect: () => Promise.all([load(), showFigures()]),
  onReload: load,
  onChanges(entries) {
    table.put(entries);
    saySoon(entries.at(-1));
    showFiguresSoon();
  },
});
setInterval(() => table.tick(), 1_000);

async function load() {
  const own = ++loads;
  const text = search.value.trim();
  const askedAt = performance.now();
  const response = await fetch(`api/courses?limit=${SHOWN}&search=${encodeURIComponent(text)}`);
  if (!response.ok) throw new Error(response.statusText);
  const entries = await response.json();
  // Somebody has asked again.
  if (own !== loads) return;
  const total = Number(response.headers.get('x-total-count'));
  table.replace(entries, { total, search: text, askedAt });
  if (text === '') count(total);
}

async function showFigures() {
  const [stats, courses] = await Promise.all([
    fetch('api/stats').then((response) => response.json()),
    fetch('api/courses?limit=1').then((response) => response.headers.get('x-total-count')),
  ]);
  count(Number(courses));
  document.getElementById('handled').textContent = stats.handled.toLocaleString();
  document.getElementById('p50').textContent = duration(stats.p50Ms);
  document.getElementById('p99').textContent = duration(stats.p99Ms);
}

function count(courses) {
  document.getElementById('courses').textContent = courses.toLocaleString();
}

function showState(state) {
  connection.dataset.state = state;
  connection.textContent = state;
}

function say(entry) {
  latest.textContent = `${entry.name} arrived after ${duration(entry.latencyMs)}`;
}

/** Never less than Catalog's database finds, which may not know the capitals beyond Z. */
function matchesSearch({ name, course_key }) {
  return `${name}\n${course_key}`.toLowerCase().includes(search.value.trim().toLowerCase());
}

function duration(ms) {
  if (ms === null) return '–';
  if (ms < 10_000) return `${Math.round(ms).toLocaleString()} ms`;
  return `${Math.round(ms / 1_000).toLocaleString()} s`;
}

function debounced(call, ms) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(() => call().catch(() => {}), ms);
  };
}

/** Calls at once, then at most every `ms` milliseconds, with the arguments that came last. */
function atMostEvery(ms, call) {
  let timer;
  let waiting;
  return function soon(...args) {
    if (timer) return void (waiting = args);
    Promise.resolve(call(...args)).catch(() => {});
    timer = setTimeout(() => {
      timer = undefined;
      const last = waiting;
      waiting = undefined;
      if (last) soon(...last);
    }, ms);
  };
}
