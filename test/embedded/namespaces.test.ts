/** Containers that do not share process ids: LMDB would take one process for another, so the log belongs to one namespace at a time. */
import { spawnSync } from 'node:child_process';
import { embedded } from '@event-bus/embedded';
import { afterEach, beforeAll, beforeEach, expect, test, type TestContext } from 'vitest';
import { build, kill, Stage } from './processes.js';

beforeAll(build);
let stage: Stage;
beforeEach(() => void (stage = new Stage()));
afterEach(() => stage.end());

const CONTAINER = ['unshare', '--pid', '--fork', '--mount-proc', '--kill-child'];

function containersOr(skip: TestContext['skip']): void {
  if (spawnSync(CONTAINER[0]!, [...CONTAINER.slice(1), 'true']).status === 0) return;
  console.log('Skipped: process-id namespaces cannot be made here.');
  skip();
}

test('a container that crashed comes back at once, and waits for its own leases', async ({ skip }) => {
  containersOr(skip);
  const made = embedded({ path: stage.path });
  await made.open();
  await made.ensureTopic('course', { partitions: 1 });
  await made.close();
  for (let i = 0; i < 2; i++) await kill(await stage.startIn(CONTAINER, 'consumer', 'catalog'));
});

test('a sender and a reader of two namespaces do not share a log', async ({ skip }) => {
  containersOr(skip);
  const log = embedded({ path: stage.path });
  await log.open();
  await log.ensureTopic('course', { partitions: 1 });
  const send = async () => (await log.publish('course', [{ key: null, value: null, headers: [] }]))[0]!.status;
  const sending = setInterval(() => void send(), 200);
  const reading = stage.startIn(CONTAINER, 'consumer', 'catalog');

  await expect(reading).rejects.toThrow('ended with 1');
  clearInterval(sending);
  expect(await send()).toBe('stored');
  await log.close();
});
