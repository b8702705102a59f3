/** Another process keeps the write lock, as one does that was stopped in the middle of a write: this one goes on, and says who it is. */
import { once } from 'node:events';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { embedded, type EmbeddedTransport } from '@event-bus/embedded';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { lockHolder } from '../../libs/embedded/src/lock.js';
import { holdLock, type LockHolder } from './lock-holder.js';
import { build, eventually, Stage } from './processes.js';

beforeAll(build);
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

test('a log that is opened meanwhile is refused in time, and nothing in this process stands still', async () => {
  const first = made();
  await first.open();
  await first.close();
  holder = await holdLock(stage.path);

  const log = made();
  let ticks = 0;
  const clock = setInterval(() => ticks++, 100);
  await expect(log.open()).rejects.toMatchObject({
    code: 'BUS_BUSY',
    message: expect.stringContaining(`process ${holder.pid} holds its lock`),
    details: { pid: holder.pid },
  });
  clearInterval(clock);
  expect(ticks).toBeGreaterThan(50);

  const opening = log.open();
  await holder.letGo();
  await opening;
  await log.ensureTopic('course');
});

test('a send gives up at its deadline, and names the process that was stopped', async () => {
  const log = made();
  await log.open();
  await log.ensureTopic('course');
  holder = await holdLock(stage.path);

  const [outcome] = await log.publish('course', [{ key: null, value: null, headers: [] }], { deadlineMs: 200 });

  expect(outcome).toMatchObject({ status: 'not-stored', error: { code: 'BUS_BUSY', details: { pid: holder.pid } } });
});

test('a process too busy to end its write is named as well, and not the one before it', async () => {
  const log = made();
  await log.open();
  await log.ensureTopic('course');
  const busy = await stage.run('busy');
  await log.publish('course', [{ key: null, value: null, headers: [] }]);
  busy.send('go');
  await once(busy, 'message');

  const [outcome] = await log.publish('course', [{ key: null, value: null, headers: [] }], { deadlineMs: 200 });

  expect(outcome).toMatchObject({ status: 'not-stored', error: { code: 'BUS_BUSY', details: { pid: busy.pid } } });
});

test('a member that could not renew its lease is handed nothing until it has', async () => {
  const log = made();
  await log.open();
  await log.ensureTopic('course', { partitions: 1 });
  await log.publish(
    'course',
    Array.from({ length: 500 }, () => ({ key: null, value: null, headers: [] })),
  );
  let handed = 0;
  let takeMore = () => {};
  const subscription = await log.subscribe(
    { topics: ['course'], group: 'catalog' },
    {
      assigned() {},
      async receive({ records }) {
        handed += records.length;
        await new Promise<void>((resolve) => (takeMore = resolve));
      },
      revoking: async () => {},
      lost() {},
      trouble() {},
    },
  );
  await eventually(
    () => handed > 0,
    () => 'nothing was handed over',
  );
  const before = handed;
  holder = await holdLock(stage.path);
  await eventually(
    () => !subscription.holds!(),
    () => 'its lease does not end',
  );

  takeMore();
  await new Promise((resolve) => setTimeout(resolve, 600));
  expect(handed).toBe(before);

  await holder.letGo();
  await eventually(
    () => (takeMore(), handed === 500),
    () => `${handed} of 500 were handed over`,
  );
  expect(subscription.holds!()).toBe(true);
});

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

test('a log that this process still closes is opened again once that is done', async () => {
  const log = made();
  await log.open();
  await log.ensureTopic('course');
  holder = await holdLock(stage.path);
  const publishing = log.publish('course', [{ key: null, value: null, headers: [] }], { deadlineMs: 100 });
  const closing = log.close();
  expect(await publishing).toMatchObject([{ status: 'not-stored' }]);

  const again = made();
  const opening = again.open();
  await holder.letGo();
  await Promise.all([opening, closing]);
  await again.ensureTopic('user');
});

test('who holds the lock is seen from outside and inside, and looking drops no lock of LMDB', async () => {
  expect(lockHolder(stage.path)).toBeUndefined();
  const log = made();
  await log.open();
  const inode = statSync(join(stage.path, 'lock.mdb')).ino;
  const locks = () => readFileSync('/proc/locks', 'latin1').includes(`:${inode} `);
  expect([lockHolder(stage.path), locks()]).toEqual([undefined, true]);

  holder = await holdLock(stage.path);
  expect([lockHolder(stage.path), locks()]).toEqual([holder.pid, true]);
  await log.close();
  expect(lockHolder(stage.path)).toBe(holder.pid);

  await holder.letGo();
  await eventually(
    () => lockHolder(stage.path) === undefined,
    () => 'a dead process holds the lock',
  );
});
