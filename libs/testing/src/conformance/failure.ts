import assert from 'node:assert/strict';
import { isBusError } from '@event-bus/core';
import { publish, range, record, valuesOf, type Chapter, type World } from './world.js';

export const failure: Chapter = {
  name: 'failure',
  cases: [
    {
      name: 'an unreachable broker is reported by code',
      faults: ['unreachable'],
      async run({ faults, patienceMs }) {
        const transport = faults.unreachable();
        const opening = Promise.race([
          transport.open(),
          new Promise((_, reject) => setTimeout(() => reject(new Error('did not settle')), 2 * patienceMs).unref()),
        ]);
        await assert.rejects(opening, (error) => isBusError(error, 'BUS_TRANSPORT_UNAVAILABLE'));
        await transport.close();
      },
    },
    {
      name: 'a cut connection loses nothing',
      faults: ['cut'],
      run: (world) => survives(world, async () => world.faults.cut()),
    },
    {
      name: 'a restart of the broker needs no restart of ours',
      faults: ['restartBroker'],
      run: (world) => survives(world, async () => world.faults.restartBroker()),
    },
    {
      name: 'a black hole is noticed, and left when it ends',
      faults: ['blackHole'],
      async run(world) {
        await survives(world, async (isTroubled) => {
          const mend = await world.faults.blackHole();
          try {
            await world.eventually(isTroubled, () => 'nobody noticed that nothing is answered');
          } finally {
            await mend();
          }
        });
      },
    },
  ],
};

/** Events flow before, during and after the fault; each one that was stored arrives, and work goes on behind the position. */
async function survives(world: World, fault: (isTroubled: () => boolean) => Promise<void>): Promise<void> {
  const { open, topic: fresh, name, join, eventually } = world;
  const [sender, receiver] = [await open(), await open()];
  const topic = await fresh(sender);
  const member = await join(receiver, { topics: [topic], group: name('catalog') });
  const stored = new Set<string>();
  let sent = 0;
  let isOver = false;
  const send = async () => {
    const own = range(10).map(() => record('a', sent++));
    const outcomes = await sender.publish(topic, own, { deadlineMs: 2_000 });
    outcomes.forEach(
      ({ status }, index) => status === 'stored' && stored.add(Buffer.from(own[index]!.value!).toString()),
    );
  };
  await send();
  await eventually(
    () => member.records.length >= 10,
    () => `${member.records.length} of 10 records arrived before the fault`,
  );

  const sending = (async () => {
    while (!isOver) {
      await send();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  try {
    await fault(() => member.troubles.some((error) => isBusError(error)));
  } finally {
    isOver = true;
    await sending;
  }
  await eventually(
    async () => (await sender.publish(topic, [record('b', 0)], { deadlineMs: 2_000 }))[0]!.status === 'stored',
    () => 'nothing is stored after the fault',
  );
  await publish(sender, topic, [record('b', 1)]);

  const arrived = () => new Set(valuesOf(member.records));
  await eventually(
    () => arrived().has('b:1') && [...stored].every((value) => arrived().has(value)),
    () =>
      `${[...stored].filter((value) => !arrived().has(value)).length} of ${stored.size} stored records did not arrive`,
  );
  await eventually(
    () => member.subscription.status().state === 'running',
    () => `the member is ${member.subscription.status().state}`,
  );
  await eventually(
    () => member.troubles.at(-1) === undefined,
    () => `nobody said that the trouble is over: ${member.troubles.at(-1)}`,
  );
  await eventually(
    async () => {
      await member.commit();
      const positions = await sender.positions({ topic, group: member.group });
      return positions.every(({ committed, start, end }) => start === end || committed === end);
    },
    () => 'the positions did not reach the end',
  );
}
