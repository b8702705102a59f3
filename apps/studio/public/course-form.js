const form = document.getElementById('form');
const heading = document.getElementById('form-heading');
const DATES = ['start', 'end', 'enrollment_start', 'enrollment_end'];

/** Fills the form with a course, or empties it for a new one. */
export function showCourse(course) {
  showIdentity(course);
  form.elements.name.value = course?.name ?? '';
  for (const field of DATES) form.elements[field].value = toLocal(course?.[field]);
  form.elements.pacing.value = course?.pacing ?? 'instructor';
  form.elements.hidden.checked = course?.hidden ?? false;
  form.elements.invitation_only.checked = course?.invitation_only ?? false;
}

/** Says which course it is. One that is stored keeps its key. */
export function showIdentity(course) {
  heading.textContent = course ? 'Edit course' : 'New course';
  form.elements.course_key.value = course?.course_key ?? '';
  form.elements.course_key.readOnly = course !== undefined;
}

/**
 * What stands in the form, and what in it cannot be sent. A date that nobody touched is sent as it was, to the last
 * digit.
 */
export function readForm(course) {
  const { elements } = form;
  const errors = DATES.flatMap((field) => dateErrors(elements[field]));
  const date = (field) => {
    const { value } = elements[field];
    if (course && value === toLocal(course[field])) return course[field];
    return value === '' ? undefined : new Date(value).toISOString();
  };
  const body = () => ({
    name: elements.name.value,
    ...Object.fromEntries(DATES.map((field) => [field, date(field)])),
    pacing: elements.pacing.value,
    hidden: elements.hidden.checked,
    invitation_only: elements.invitation_only.checked,
  });
  return { key: elements.course_key.value.trim(), body: errors.length > 0 ? undefined : body(), errors };
}

/** A browser gives no value for half a date, the same as for none. */
function dateErrors({ id, validity }) {
  if (validity.badInput) return [{ field: id, text: 'Please complete this date and its time, or clear it.' }];
  if (validity.rangeOverflow) return [{ field: id, text: 'Please give a year of four digits.' }];
  return [];
}

/** Marks the fields that are wrong and puts the cursor into the first. Errors of the API have a message, our own a text. */
export function showErrors(errors) {
  const texts = new Map(errors.map(({ field, message, text = sentence(message) }) => [field, text]));
  for (const field of form.querySelectorAll('[id]:is(input, fieldset)')) mark(field, texts.get(field.id));
  form.querySelector('[aria-invalid="true"]')?.focus();
}

function mark(field, sentence) {
  field.setAttribute('aria-invalid', String(sentence !== undefined));
  const id = `${field.id}-wrong`;
  const old = document.getElementById(id);
  old?.remove();
  field.removeAttribute('aria-describedby');
  if (sentence === undefined) return;
  const text = document.createElement('p');
  text.id = id;
  text.className = 'wrong';
  text.textContent = sentence;
  field.setAttribute('aria-describedby', id);
  if (field.matches('fieldset')) field.append(text);
  else field.after(text);
}

/** The API says what must be; a page says what to do. */
function sentence(message) {
  const [what] = message.split(', got ');
  return what.includes('is missing') || what.includes('date-time') ? 'Please fill this in.' : `It ${what}.`;
}

/** As an input of this kind wants it: local time, to the minute. Empty for what it cannot show. */
function toLocal(time) {
  const date = new Date(time ?? '');
  if (Number.isNaN(date.getTime())) return '';
  const text = new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString();
  return /^(?!0000)\d{4}-/.test(text) ? text.slice(0, 16) : '';
}
