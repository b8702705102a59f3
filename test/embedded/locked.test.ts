/** Another process keeps the write lock, as one does that was stopped in the middle of a write: this one goes on, and says who it is. */
import { embedded, type EmbeddedTransport } from '@event-bus/embedded';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { holdLock, type LockHolder } from './lock-holder.js';
import { Stage } from './processes.js';

let stage: Stage;
let holder: LockHolder | undefined;
const logs: EmbeddedTransport[] = [];
beforeEach(() => void (stage = new Stage()));
afterEach(async () => {
  await holder?.letGo();
  holder = undefined;
  await Promise.all(logs.splice(0).map((log) => log.close()));
  await stage.end();
});

function made(): EmbeddedTransport {
  logs.push(embedded({ path: stage.path }));
  return logs.at(-1)!;
}

test('what was handed over before the close is stored', async () => {
  const log = made();
  await log.open();
  await log.ensureTopic('course');
  holder = await holdLock(stage.path);

  const publishing = log.publish('course', [{ key: null, value: null, headers: [] }]);
  const closing = log.close();
  await holder.letGo();

  expect(await publishing).toMatchObject([{ status: 'stored' }]);
  await closing;
});

