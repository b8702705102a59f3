/** A real Chromium, with nothing allowed but the page under test. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium, type BrowserContext, type Page } from 'playwright-core';
import { onTestFinished } from 'vitest';

const CANDIDATES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** Where Chromium is, or why there are no browser tests. In CI it must be there. */
export function findChromium(): { path: string; missing?: undefined } | { path?: undefined; missing: string } {
  const path = [process.env['CHROMIUM'] ?? '', ...CANDIDATES].find(
    (candidate) => candidate !== '' && existsSync(candidate),
  );
  if (path) return { path };
  const missing = 'Chromium is not installed. Install it (apt-get install chromium), or name it in CHROMIUM.';
  if (process.env['CI'] === 'true') throw new Error(missing);
  return { missing };
}

export async function openBrowser(executablePath: string): Promise<BrowserContext> {
  const profile = mkdtempSync(join(tmpdir(), 'event-bus-chromium-'));
  const browser = await chromium.launchPersistentContext(profile, {
    executablePath,
    headless: true,
    viewport: { width: 1180, height: 860 },
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
  onTestFinished(async () => {
    await browser.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  });
  return browser;
}

/** Opens a page and notes everything that a page of ours must never do. `prepare` gets the page before it is opened. */
export async function openPage(
  browser: BrowserContext,
  url: string,
  prepare: (page: Page) => Promise<void> = async () => {},
): Promise<{ page: Page; faults: string[] }> {
  const page = await browser.newPage();
  await prepare(page);
  const faults: string[] = [];
  page.on('console', (line) => {
    if (['error', 'warning'].includes(line.type())) faults.push(`console: ${line.text()}`);
  });
  page.on('pageerror', (error) => faults.push(`thrown: ${error.message}`));
  page.on('request', (request) => {
    if (!request.url().startsWith(url)) faults.push(`request: ${request.url()}`);
  });
  await page.goto(url);
  return { page, faults };
}
