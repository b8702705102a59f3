import { once } from 'node:events';
import { createServer } from 'node:http';
import { expect, onTestFinished, test, vi } from 'vitest';
import { startFullJob } from './full-job.mjs';

test('the job counts bytes as they cross the network, not characters', async () => {
  const courses = JSON.stringify([
    { course_key: 'course-v1:edX+Ünïcode+2026', updated_at: '2026-01-01', name: '学习' },
  ]);
  const studio = createServer((_, response) => response.end(courses)).listen(0, '127.0.0.1');
  onTestFinished(() => void studio.close());
  await once(studio, 'listening');
  const { port } = /** @type {import('node:net').AddressInfo} */ (studio.address());
  /** @type {string[]} */
  const shown = [];

  const job = startFullJob({
    studio: `http://127.0.0.1:${port}`,
    intervalMs: 1,
    flaky: 0,
    shows: (key) => void shown.push(key),
  });
  await vi.waitUntil(() => shown.length > 0);
  await job.stop();

  expect(job.figures.bytes).toBe(job.figures.runs * Buffer.byteLength(courses));
});
