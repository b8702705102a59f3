import assert from 'node:assert/strict';
import { assertOnce, numbersOf, publish, range, record, type Chapter } from './world.js';

export const commit: Chapter = {
  name: 'commit',
  cases: [
    {
      name: 'a restarted member goes on after the last commit',
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const topic = await fresh(transport);
        const group = name('catalog');
        const keys = range(8).map((n) => `course-${n}`);
        await publish(
          transport,
          topic,
          keys.flatMap((key) => range(5).map((n) => record(key, n))),
        );
        const first = await join(transport, { topics: [topic], group, commitsOnRevoke: false });
        await eventually(
          () => first.records.length >= 40,
          () => `${first.records.length} of 40 records arrived`,
        );
        await first.commit();
        await first.subscription.stop();

        await publish(
          transport,
          topic,
          keys.flatMap((key) => range(5).map((n) => record(key, n + 5))),
        );
        const second = await join(await open(), { topics: [topic], group });

        await eventually(
          () => second.records.length >= 40,
          () => `${second.records.length} of 40 records arrived after the restart`,
        );
        assertOnce([...first.records, ...second.records]);
        for (const key of keys) assert.deepEqual(numbersOf(second.records, key), [5, 6, 7, 8, 9]);
      },
    },
    {
      name: 'a commit covers everything before it',
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const topic = await fresh(transport, { partitions: 1 });
        const group = name('catalog');
        await publish(
          transport,
          topic,
          range(10).map((n) => record('a', n)),
        );
        const first = await join(transport, { topics: [topic], group, commitsOnRevoke: false });
        await eventually(
          () => first.records.length >= 10,
          () => `${first.records.length} of 10 records arrived`,
        );

        await first.send([{ topic, partition: 0, position: first.records[7]!.offset, ahead: [] }]);
        await first.subscription.stop();

        const second = await join(transport, { topics: [topic], group });
        await eventually(
          () => second.records.length >= 3,
          () => `${second.records.length} of 3 records arrived`,
        );
        assert.deepEqual(numbersOf(second.records, 'a'), [7, 8, 9]);
      },
    },
    {
      name: 'a commit never moves back',
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const topic = await fresh(transport, { partitions: 1 });
        const group = name('catalog');
        await publish(
          transport,
          topic,
          range(10).map((n) => record('a', n)),
        );
        const member = await join(transport, { topics: [topic], group, commitsOnRevoke: false });
        await eventually(
          () => member.records.length >= 10,
          () => `${member.records.length} of 10 records arrived`,
        );

        await member.send([{ topic, partition: 0, position: member.records[8]!.offset, ahead: [] }]);
        await member.send([{ topic, partition: 0, position: member.records[2]!.offset, ahead: [] }]);

        const [position] = await transport.positions({ topic, group });
        assert.equal(position!.committed, member.records[8]!.offset);
      },
    },
    {
      name: 'other partitions stay where they are',
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const topic = await fresh(transport, { partitions: 4 });
        const group = name('catalog');
        await publish(
          transport,
          topic,
          range(64).map((n) => record(`course-${n}`, n)),
        );
        const first = await join(transport, { topics: [topic], group, commitsOnRevoke: false });
        await eventually(
          () => first.records.length >= 64,
          () => `${first.records.length} of 64 records arrived`,
        );
        const [{ end } = { end: '' }] = await transport.positions({ topic });

        await first.send([{ topic, partition: 0, position: end!, ahead: [] }]);
        await first.subscription.stop();

        const second = await join(transport, { topics: [topic], group });
        const left = first.records.filter(({ partition }) => partition !== 0).length;
        await eventually(
          () => second.records.length >= left,
          () => `${second.records.length} of ${left} records arrived`,
        );
        assert.equal(second.records.length, left);
        assert.ok(second.records.every(({ partition }) => partition !== 0));
      },
    },
    {
      name: 'records finished ahead do not run again',
      needs: ['finishedAhead'],
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const topic = await fresh(transport, { partitions: 1 });
        const group = name('catalog');
        await publish(
          transport,
          topic,
          range(12).map((n) => record('a', n)),
        );
        const first = await join(transport, { topics: [topic], group, commitsOnRevoke: false });
        await eventually(
          () => first.records.length >= 12,
          () => `${first.records.length} of 12 records arrived`,
        );

        const ahead = [5, 6, 7, 9].map((n) => first.records[n]!.offset);
        await first.send([{ topic, partition: 0, position: first.records[3]!.offset, ahead }]);
        const [before] = await transport.positions({ topic, group });
        await first.subscription.stop();

        const second = await join(await open(), { topics: [topic], group });
        await eventually(
          () => second.records.length >= 5,
          () => `${second.records.length} of 5 records arrived`,
        );
        assert.deepEqual(numbersOf(second.records, 'a'), [3, 4, 8, 10, 11]);
        if (before!.lag !== undefined) assert.equal(before!.lag, 5);
      },
    },
    {
      name: 'all finished ahead up to the end is the end',
      needs: ['finishedAhead'],
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const topic = await fresh(transport, { partitions: 1 });
        const group = name('catalog');
        await publish(
          transport,
          topic,
          range(300).map((n) => record('a', n)),
        );
        const first = await join(transport, { topics: [topic], group, commitsOnRevoke: false });
        await eventually(
          () => first.records.length >= 300,
          () => `${first.records.length} of 300 records arrived`,
        );
        const ahead = first.records.slice(1).map(({ offset }) => offset);
        await first.send([{ topic, partition: 0, position: first.records[0]!.offset, ahead }]);
        await first.subscription.stop();

        // The first alone is missing; when it is done, so is everything.
        const second = await join(transport, { topics: [topic], group });
        await eventually(
          () => numbersOf(second.records, 'a').includes(0),
          () => 'the unfinished record did not come back',
        );
        const [{ end } = { end: '' }] = await transport.positions({ topic });
        await eventually(
          async () => {
            await second.commit();
            const [position] = await transport.positions({ topic, group });
            return position!.committed === end;
          },
          () => 'the position did not reach the end',
        );
        assertOnce(second.records);
        await publish(transport, topic, [record('a', 300)]);
        await eventually(
          () => numbersOf(second.records, 'a').includes(300),
          () => 'the next record did not arrive',
        );
      },
    },
  ],
};
