import assert from 'node:assert/strict';
import { assertOnce, publish, range, record, type Chapter } from './world.js';

export const flow: Chapter = {
  name: 'flow',
  cases: [
    {
      name: 'no batch is handed over while the receiver is busy',
      async run({ open, topic: fresh, name, join, gate, eventually }) {
        const transport = await open();
        const topic = await fresh(transport, { partitions: 1 });
        const busy = gate();
        let calls = 0;
        let isFree = false;
        const member = await join(transport, {
          topics: [topic],
          group: name('catalog'),
          async receive() {
            calls++;
            if (!isFree) await busy.opened;
          },
        });
        await publish(transport, topic, [record('a', 0)]);
        await eventually(
          () => calls === 1,
          () => 'the first batch did not arrive',
        );

        for (const n of range(20)) await publish(transport, topic, [record('a', n + 1)]);
        await new Promise((resolve) => setTimeout(resolve, 500));
        assert.equal(calls, 1);

        isFree = true;
        busy.open();
        await eventually(
          () => member.records.length >= 21,
          () => `${member.records.length} of 21 records arrived`,
        );
        assertOnce(member.records);
      },
    },
    {
      name: 'a slow receiver keeps its membership',
      async run({ open, topic: fresh, name, join, gate, eventually, sessionMs }) {
        const [one, other] = [await open(), await open()];
        const topic = await fresh(one, { partitions: 2 });
        const group = name('catalog');
        const busy = gate();
        let calls = 0;
        let revoked = 0;
        const slow = await join(one, {
          topics: [topic],
          group,
          async receive() {
            if (++calls === 1) await busy.opened;
          },
          async revoking() {
            revoked++;
          },
        });
        await eventually(
          () => slow.held.size === 2,
          () => `the slow member holds ${slow.held.size} of 2 partitions`,
        );
        const fast = await join(other, { topics: [topic], group });
        await eventually(
          () => slow.held.size === 1 && fast.held.size === 1,
          () => `the members hold ${slow.held.size} and ${fast.held.size} partitions`,
        );
        revoked = 0;

        await publish(
          one,
          topic,
          range(20).map((n) => record(`course-${n}`, n)),
        );
        await eventually(
          () => calls === 1,
          () => 'the slow member got no batch',
        );
        await new Promise((resolve) => setTimeout(resolve, 1.5 * sessionMs));
        assert.deepEqual([revoked, slow.held.size, fast.held.size], [0, 1, 1]);

        busy.open();
        const got = () => [...slow.records, ...fast.records];
        await eventually(
          () => got().length >= 20,
          () => `${got().length} of 20 records arrived`,
        );
        await slow.commit();
        assertOnce(got());
      },
    },
    {
      name: 'memory stays flat under a slow receiver',
      recordBytes: 200_000,
      async run({ open, topic: fresh, name, join, gate, eventually }) {
        const transport = await open();
        const topic = await fresh(transport, { partitions: 2 });
        const value = Buffer.alloc(100_000, 1);
        // 60 MB wait in the log; what a receiver that takes nothing has to hold is a small part of them.
        for (const round of range(60)) {
          await publish(
            transport,
            topic,
            range(10).map((n) => ({ key: Buffer.from(`${round}/${n}`), value, headers: [] })),
          );
        }
        const before = heldBytes();
        const busy = gate();
        let calls = 0;
        await join(transport, {
          topics: [topic],
          group: name('catalog'),
          async receive() {
            calls++;
            await busy.opened;
          },
        });

        await eventually(
          () => calls === 2,
          () => `${calls} of 2 partitions handed over a batch`,
        );
        await new Promise((resolve) => setTimeout(resolve, 1_000));
        const grownBytes = heldBytes() - before;
        assert.equal(calls, 2);
        assert.ok(grownBytes < 30_000_000, `${grownBytes} bytes more are held`);
      },
    },
  ],
};

function heldBytes(): number {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
