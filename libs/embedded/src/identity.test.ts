import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openEnvironment, type Environment } from './environment.js';
import { identify } from './identity.js';
import { machineTime, thisProcess } from './machine.js';

let environment: Environment;
beforeEach(
  async () => void (environment = await openEnvironment(mkdtempSync(join(tmpdir(), 'event-bus-identity-')), true)),
);
afterEach(() => environment.release());

/** What a newcomer is told when processes of another namespace may have used the log until then. */
const identity = (senderUntil: number, memberUntil: number) =>
  environment.writer.write(
    () => {
      const { databases } = environment;
      void databases.meta.put('namespace', 'pid:[1]');
      void databases.meta.put('until', senderUntil);
      void databases.members.put(['catalog', '1-abc'], { ...thisProcess(), topics: [1], until: memberUntil });
      return identify(databases);
    },
    { deadlineMs: 1_000 },
  );

describe('the identity of a log', () => {
  it.each(['sender', 'member'])('is refused while a %s of another process-id namespace may live', async (who) => {
    const [past, until] = [machineTime() - 1, machineTime() + 60_000];
    const refused = who === 'sender' ? identity(until, past) : identity(past, until);
    await expect(refused).rejects.toMatchObject({
      code: 'BUS_TRANSPORT_REFUSED',
      message: expect.stringContaining('pid:[1]'),
      details: { until },
    });
  });

  it('is given once they are gone', async () => {
    expect(await identity(machineTime() - 1, machineTime() - 1)).toBe(environment.epoch);
    expect(environment.snapshot(() => [...environment.databases.members.getKeys()])).toEqual([]);
  });
});
