import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { expect, test } from 'vitest';
import { BODY, keyOf, put } from './authors.js';
import { findChromium, openBrowser, openPage } from './browser.js';
import { eventually, freePort, stage, type BusEnv } from './samples.js';

/** The two pages, as people see them. END_TO_END_PICTURES=<folder> keeps pictures of them. */
export function pageSuite(bus: BusEnv): void {
  const chromium = findChromium();
  if (chromium.missing !== undefined) return test.skip(`pages (${chromium.missing})`);
  const open = () => openBrowser(chromium.path);

  test("a course that is saved in Studio's page appears in Catalog's page, and changes there", async () => {
    const on = stage(bus);
    const [studio, catalog, browser] = await Promise.all([on.studio(), on.catalog(), open()]);
    const author = await openPage(browser, studio.url);
    const reader = await openPage(browser, catalog.url);
    await live(reader.page);
    await reader.page.getByText('No courses yet').waitFor();

    await author.page.getByLabel('Key', { exact: true }).fill(keyOf(1));
    await author.page.getByLabel('Name', { exact: true }).fill('Introduction to <b>Physics</b>');
    await author.page.getByLabel('Starts').fill('2026-02-01T09:00');
    await author.page.getByLabel('Self').check();
    await author.page.getByRole('button', { name: 'Save' }).click();
    await author.page
      .getByRole('status')
      .getByText(/^Saved and announced in \d+ ms/)
      .waitFor();

    const row = reader.page.getByRole('row').filter({ hasText: keyOf(1) });
    await row.getByText('Introduction to <b>Physics</b>').waitFor();
    await row.getByText('self-paced').waitFor();
    expect(await row.getByRole('cell').last().textContent()).toMatch(/^[\d,.]+ m?s$/);
    await reader.page
      .getByText(/arrived after/)
      .first()
      .waitFor();

    await author.page.getByLabel('Name', { exact: true }).fill('Physics for everybody');
    await author.page.keyboard.press('Enter');
    await row.getByText('Physics for everybody').waitFor();
    await author.page.getByRole('button', { name: /Physics for everybody/ }).waitFor();
    expect(await reader.page.locator('tbody tr').count()).toBe(1);
    expect(await reader.page.locator('#p50').textContent()).toMatch(/^[\d,.]+ ms$/);
    expect([...author.faults, ...reader.faults]).toEqual([]);
  });

  test('wrong fields are marked where they are, and nothing typed is lost', async () => {
    const on = stage(bus);
    const [studio, browser] = await Promise.all([on.studio(), open()]);
    const { page, faults } = await openPage(browser, studio.url);
    await page.getByLabel('Key', { exact: true }).fill('demo');
    await page.getByLabel('Starts').fill('2026-02-01T09:00');
    await page.getByLabel('Ends').fill('2026-01-01T09:00');
    await page.getByRole('button', { name: 'Save' }).click();

    await page.getByText('Not saved: please correct what is marked.').waitFor();
    const key = page.getByLabel('Key', { exact: true });
    expect(await key.getAttribute('aria-invalid')).toBe('true');
    expect(await key.evaluate((field: any) => field.ownerDocument.activeElement === field)).toBe(true);
    expect(await page.locator('#course_key-wrong').textContent()).toContain('It must be a course key');
    expect(await key.getAttribute('aria-describedby')).toBe('course_key-wrong');

    await key.fill(keyOf(1));
    await page.getByRole('button', { name: 'Save' }).click();
    await page.locator('#name-wrong').getByText('It must not be empty.').waitFor();
    await page.locator('#end-wrong').getByText('It must not be before the start.').waitFor();
    expect(await page.getByLabel('Ends').inputValue()).toBe('2026-01-01T09:00');
    // The browser itself reports an answer of 400; nothing else is wrong.
    expect(faults.filter((fault) => !fault.includes('400 (Bad Request)'))).toEqual([]);
  });

  test('a date that nobody touched keeps its last digit', async () => {
    const on = stage(bus);
    const [studio, browser] = await Promise.all([on.studio(), open()]);
    const start = '2026-02-01T00:00:00.000007+02:00';
    await put(studio, keyOf(1), { ...BODY, start });
    const { page, faults } = await openPage(browser, studio.url);
    await page.getByRole('button', { name: new RegExp(BODY.name) }).click();
    await page.getByLabel('Hidden').check();
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByText(/^Saved and announced/).waitFor();
    expect((await studio.get(`/api/courses/${keyOf(1)}`)).body).toMatchObject({ start, hidden: true });
    expect(faults).toEqual([]);
  });

  test('a date that is half typed, or has a year of five digits, is not taken for none', async () => {
    const on = stage(bus);
    const [studio, browser] = await Promise.all([on.studio(), open()]);
    const { page, faults } = await openPage(browser, studio.url);
    await page.getByLabel('Key', { exact: true }).fill(keyOf(1));
    await page.getByLabel('Name', { exact: true }).fill('Half a date');
    await page.getByLabel('Starts').fill('20266-02-01T09:00');
    await page.getByLabel('Ends').focus();
    await page.keyboard.type('07012026');
    await page.getByRole('button', { name: 'Save' }).click();

    await page.getByText('Not saved: please correct what is marked.').waitFor();
    expect(await page.locator('#start-wrong').textContent()).toContain('a year of four digits');
    expect(await page.locator('#end-wrong').textContent()).toContain('complete this date');
    expect((await studio.get('/api/courses')).body).toEqual([]);
    expect(faults).toEqual([]);
  });

  test('a date that the form cannot show is kept', async () => {
    const on = stage(bus);
    const [studio, browser] = await Promise.all([on.studio(), open()]);
    const start = '0001-01-01T00:00:00+14:00';
    await put(studio, keyOf(1), { ...BODY, start });
    const { page, faults } = await openPage(browser, studio.url);
    await page.getByRole('button', { name: new RegExp(BODY.name) }).click();
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByText(/^Saved and announced/).waitFor();
    expect((await studio.get(`/api/courses/${keyOf(1)}`)).body).toMatchObject({ start });
    expect(faults).toEqual([]);
  });

  test('the answer to a save leaves alone what was typed and selected meanwhile', async () => {
    const on = stage(bus);
    const [studio, browser] = await Promise.all([on.studio(), open()]);
    for (const n of [1, 2]) await put(studio, keyOf(n), { ...BODY, name: `Course ${n}` });
    const { page, faults } = await openPage(browser, studio.url);
    const name = page.getByLabel('Name', { exact: true });
    const save = page.getByRole('button', { name: 'Save' });
    const answers = await holdAnswers(page, /\/api\/courses\/./);
    await page.getByRole('button', { name: /Course 1/ }).click();
    await name.fill('First');
    await save.focus();
    await page.keyboard.press('Space');
    await name.fill('First, and more');
    await answers.release();
    await page.getByText(/^Saved and announced/).waitFor();
    expect(await name.inputValue()).toBe('First, and more');

    await save.click();
    await page.getByRole('button', { name: /Course 2/ }).click();
    await name.fill('Second');
    await answers.release();
    await page.getByText(/^“First, and more”: Saved and announced/).waitFor();
    expect(await name.inputValue()).toBe('Second');
    expect(await page.getByLabel('Key', { exact: true }).inputValue()).toBe(keyOf(2));
    expect((await studio.get(`/api/courses/${keyOf(1)}`)).body.name).toBe('First, and more');
    expect(faults).toEqual([]);
  });

  test('an answer that is lost is not said to be a refusal', async () => {
    const on = stage(bus);
    const [studio, browser] = await Promise.all([on.studio(), open()]);
    await put(studio, keyOf(1), BODY);
    const { page } = await openPage(browser, studio.url);
    await page.getByRole('button', { name: new RegExp(BODY.name) }).click();
    await page.route('**/api/courses/*', async (route) => {
      await route.fetch();
      await route.abort();
    });
    await page.getByLabel('Name', { exact: true }).fill('Stored all the same');
    await page.getByRole('button', { name: 'Save' }).click();

    await page.getByText('Studio did not answer. Perhaps it is saved').waitFor();
    await page.getByRole('button', { name: /Stored all the same/ }).waitFor();
  });

  test('a list that is loaded again keeps the focus, and a late one does not come over a newer', async () => {
    const on = stage(bus);
    const [studio, browser] = await Promise.all([on.studio(), open()]);
    for (const n of [1, 2]) await put(studio, keyOf(n), { ...BODY, name: `Course ${n}` });
    const { page, faults } = await openPage(browser, studio.url);
    const second = page.getByRole('button', { name: /Course 2/ });
    await second.focus();
    await put(studio, keyOf(3), { ...BODY, name: 'Course 3' });
    await page.evaluate(() => (globalThis as any).dispatchEvent(new Event('focus')));
    await page.getByRole('button', { name: /Course 3/ }).waitFor();
    expect(await second.evaluate((button: any) => button.ownerDocument.activeElement === button)).toBe(true);

    const late = await holdAnswers(page, /search=course$/);
    const search = page.getByLabel('Find courses by name or key');
    await search.fill('course');
    await late.held();
    await search.fill('course 1');
    await second.waitFor({ state: 'detached' });
    await late.release();
    await page.evaluate(() => new Promise((globalThis as any).requestAnimationFrame));
    expect(await page.locator('.course').count()).toBe(1);
    expect(faults).toEqual([]);
  });

  test('a date that is none is shown as it was written, and harms no other course', async () => {
    const on = stage(bus);
    const [studio, catalog, browser] = await Promise.all([on.studio(), on.catalog(), open()]);
    for (const n of [1, 2]) await put(studio, keyOf(n), { ...BODY, name: `Course ${n}` });
    await eventually(async () => expect((await catalog.get('/api/courses')).body).toHaveLength(2));
    for (const { url } of [studio, catalog]) {
      const { page, faults } = await openPage(browser, url, async (unopened) => {
        await unopened.route('**/api/courses?*', async (route) => {
          const response = await route.fetch();
          const [first, ...others] = (await response.json()) as object[];
          await route.fulfill({ response, json: [{ ...first, start: 'TBD', end: 'later' }, ...others] });
        });
      });
      await page.getByText('TBD').waitFor();
      await page.getByText('Course 1').waitFor();
      if (url === catalog.url) await live(page);
      else await page.getByRole('button', { name: /TBD/ }).click();
      expect(faults).toEqual([]);
    }
  });

  test('a page that was cut off shows what happened meanwhile', async () => {
    const on = stage(bus);
    const CATALOG_PORT = String(await freePort());
    const [studio, first, browser] = await Promise.all([on.studio(), on.catalog({ CATALOG_PORT }), open()]);
    const { page } = await openPage(browser, first.url);
    await live(page);
    await first.kill();
    await page.locator('#connection[data-state=reconnecting]').waitFor();
    await put(studio, keyOf(1), { ...BODY, name: 'Written meanwhile' });
    await on.catalog({ CATALOG_PORT });
    await live(page);
    await page.getByRole('cell').getByText('Written meanwhile').waitFor();
    await put(studio, keyOf(1), { ...BODY, name: 'Written afterwards' });
    await page.getByRole('cell').getByText('Written afterwards').waitFor();
  });

  test('a page shows what another Catalog on the same database handled', async () => {
    const on = stage(bus);
    const [studio, one, two, browser] = await Promise.all([on.studio(), on.catalog(), on.catalog(), open()]);
    const pages = await Promise.all([one, two].map(({ url }) => openPage(browser, url)));
    for (const { page } of pages) await live(page);
    for (let n = 0; n < 20; n++) await put(studio, keyOf(n), { ...BODY, name: `Shared ${n}` });
    for (const { page, faults } of pages) {
      await page.locator('tbody tr').nth(19).waitFor();
      expect(faults).toEqual([]);
    }
  });

  test('hundreds of changes leave a page that works, with the last ones on top', async () => {
    const on = stage(bus);
    const [studio, catalog, browser] = await Promise.all([on.studio(), on.catalog(), open()]);
    const { page, faults } = await openPage(browser, catalog.url);
    await live(page);
    for (let n = 0; n < 400; n += 20) {
      await Promise.all(
        Array.from({ length: 20 }, (_, i) => put(studio, keyOf(n + i), { ...BODY, name: `Many ${n + i}` })),
      );
    }
    await put(studio, keyOf(7), { ...BODY, name: 'The last one' });
    await page.locator('tbody tr').first().getByText('The last one').waitFor();
    expect(await page.locator('tbody tr').count()).toBe(200);
    await page.getByText('The 200 changed last.').waitFor();
    await page.getByLabel('Find courses by name or key').fill('many 399');
    await page.locator('tbody tr').nth(1).waitFor({ state: 'detached' });
    expect(await page.locator('tbody tr').textContent()).toContain('Many 399');
    expect(await page.getByText('changed last').isVisible()).toBe(false);
    expect(faults).toEqual([]);
  });

  test('a course that is renamed comes into a search, and leaves it', async () => {
    const on = stage(bus);
    const [studio, catalog, browser] = await Promise.all([on.studio(), on.catalog(), open()]);
    for (const n of [1, 2]) await put(studio, keyOf(n), { ...BODY, name: `History ${n}` });
    const { page, faults } = await openPage(browser, catalog.url);
    await page.locator('tbody tr').nth(1).waitFor();
    await page.getByLabel('Find courses by name or key').fill('history 1');
    await page.locator('tbody tr').nth(1).waitFor({ state: 'detached' });

    await put(studio, keyOf(1), { ...BODY, name: 'Physics' });
    await page.getByText('No course has “history 1”').waitFor();
    expect(await page.locator('tbody tr').count()).toBe(0);

    await put(studio, keyOf(2), { ...BODY, name: 'History 1' });
    await page.locator('tbody tr').getByText(keyOf(2)).waitFor();
    expect(await page.getByText('No course has').isVisible()).toBe(false);
    expect(faults).toEqual([]);
  });

  test('a change that is told while the list is on its way is not lost', async () => {
    const on = stage(bus);
    const [studio, catalog, browser] = await Promise.all([on.studio(), on.catalog(), open()]);
    await put(studio, keyOf(1), BODY);
    await eventually(async () => expect((await catalog.get('/api/courses')).body).toHaveLength(1));
    const { page, faults } = await openPage(browser, catalog.url, async (unopened) => {
      await unopened.route('**/api/courses?limit=200*', async (route) => {
        const response = await route.fetch();
        await put(studio, keyOf(2), { ...BODY, name: 'Told meanwhile' });
        await unopened.getByRole('cell').getByText('Told meanwhile').waitFor();
        await route.fulfill({ response });
      });
    });
    await live(page);
    expect(await page.locator('tbody tr').allTextContents()).toEqual([
      expect.stringContaining('Told meanwhile'),
      expect.stringContaining(BODY.name),
    ]);
    expect(faults).toEqual([]);
  });

  test('a page that could not follow asks for the list', async () => {
    const on = stage(bus);
    const [studio, catalog, browser] = await Promise.all([on.studio(), on.catalog(), open()]);
    await put(studio, keyOf(1), BODY);
    await eventually(async () => expect((await catalog.get('/api/courses')).body).toHaveLength(1));
    const { page, faults } = await openPage(browser, catalog.url, async (unopened) => {
      // A feed that says so and nothing else, and a first list from before the course.
      await unopened.route('**/api/changes', (route) =>
        route.fulfill({ contentType: 'text/event-stream', body: 'retry: 600000\nevent: reload\ndata: \n\n' }),
      );
      const isFirst = { times: 1 };
      await unopened.route('**/api/courses?limit=200*', (route) => route.fulfill({ json: [] }), isFirst);
    });
    await page.getByRole('cell').getByText(BODY.name).waitFor();
    expect(faults).toEqual([]);
  });

  test.each(['light', 'dark'] as const)(
    'both pages are readable when it is %s, wide and narrow',
    async (colorScheme) => {
      const on = stage(bus);
      const [studio, catalog, browser] = await Promise.all([on.studio(), on.catalog(), open()]);
      const names = ['Introduction to Physics', 'History of the Mediterranean', 'Übungen zur Statistik', '日本語入門'];
      for (const [n, name] of names.entries()) {
        await put(studio, keyOf(n), {
          ...BODY,
          name,
          hidden: n === 2,
          invitation_only: n === 1,
          end: n ? '2026-07-01T00:00:00Z' : null,
        });
      }
      for (const [name, sample] of Object.entries({ studio, catalog })) {
        const { page, faults } = await openPage(browser, sample.url);
        await page.emulateMedia({ colorScheme });
        await page.getByText(names[0]!).first().waitFor();
        if (name === 'studio') await page.getByRole('button', { name: new RegExp(names[1]!) }).click();
        expect(await lightness(page)).toBe(colorScheme);
        expect(await page.evaluate(unreadable)).toEqual([]);
        await picture(page, `${name}-${colorScheme}`);
        await page.setViewportSize({ width: 390, height: 800 });
        expect(await page.evaluate(() => (globalThis as any).document.documentElement.scrollWidth)).toBeLessThanOrEqual(
          390,
        );
        for (const cell of await page.locator('td.name').all()) {
          expect((await cell.boundingBox())!.width).toBeGreaterThan(130);
        }
        await picture(page, `${name}-${colorScheme}-narrow`);
        expect(faults).toEqual([]);
      }
    },
  );
}

const live = (page: Page) => page.locator('#connection[data-state=live]').waitFor();

/** Lets what `url` matches be done, and holds each answer back until it is released. */
async function holdAnswers(page: Page, url: RegExp) {
  const answers: (() => Promise<void>)[] = [];
  await page.route(url, async (route) => {
    const response = await route.fetch();
    answers.push(() => route.fulfill({ response }));
  });
  const held = () => eventually(() => expect(answers).not.toEqual([]));
  const release = async () => {
    await held();
    await answers.shift()!();
  };
  return { held, release };
}

async function picture(page: Page, name: string): Promise<void> {
  const folder = process.env['END_TO_END_PICTURES'];
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`) });
}

function lightness(page: Page): Promise<string> {
  return page.evaluate(() => {
    const { document, getComputedStyle } = globalThis as any;
    const [red] = getComputedStyle(document.body).backgroundColor.match(/\d+/g);
    return Number(red) > 127 ? 'light' : 'dark';
  });
}

/** Runs in the page: texts whose contrast with what is behind them is below 4.5 : 1 (WCAG 2, level AA). */
function unreadable(): string[] {
  const { document, getComputedStyle } = globalThis as any;
  const canvas = Object.assign(document.createElement('canvas'), { width: 1, height: 1 }).getContext('2d', {
    willReadFrequently: true,
  });
  const pixel = (...colours: string[]) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) {
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
    }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3) as number[];
  };
  const luminance = (colour: number[]) => {
    const [r, g, b] = colour.map((value) => {
      const share = value / 255;
      return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
  };
  const behind = (element: any): string[] =>
    element ? [...behind(element.parentElement), getComputedStyle(element).backgroundColor] : ['white'];
  const found: string[] = [];
  for (const element of document.querySelectorAll('body *')) {
    const text = [...element.childNodes]
      .filter((node) => node.nodeType === 3)
      .map((node) => node.textContent.trim())
      .join('');
    if (text === '' || !element.checkVisibility()) continue;
    const grounds = behind(element);
    const [ground, ink] = [luminance(pixel(...grounds)), luminance(pixel(...grounds, getComputedStyle(element).color))];
    const contrast = (Math.max(ground, ink) + 0.05) / (Math.min(ground, ink) + 0.05);
    if (contrast < 4.5) found.push(`${text.slice(0, 40)}: ${contrast.toFixed(2)}`);
  }
  return found;
}
