import assert from 'node:assert/strict';
import { keyOf } from './member.js';
import { all, assertOnce, numbersOf, publish, range, record, valuesOf, type Chapter } from './world.js';

export const groups: Chapter = {
  name: 'groups',
  cases: [
    {
      name: 'members share, groups each get all',
      async run({ open, topic: fresh, name, join, eventually }) {
        const [one, other] = [await open(), await open()];
        const topic = await fresh(one);
        const [shared, alone] = [name('catalog'), name('search')];
        const members = [
          await join(one, { topics: [topic], group: shared }),
          await join(other, { topics: [topic], group: shared }),
        ];
        const single = await join(one, { topics: [topic], group: alone });
        const [first, second] = members as [(typeof members)[0], (typeof members)[0]];
        await eventually(
          () => first.held.size === 2 && second.held.size === 2,
          () => `the members hold ${first.held.size} and ${second.held.size} of 4 partitions`,
        );
        await eventually(
          () => single.held.size === 4,
          () => `the single member holds ${single.held.size} of 4 partitions`,
        );

        await publish(
          one,
          topic,
          range(80).map((n) => record(`course-${n}`, n)),
        );

        const together = () => [...first.records, ...second.records];
        await eventually(
          () => together().length >= 80 && single.records.length >= 80,
          () => `${together().length} and ${single.records.length} of 80 records arrived`,
        );
        assert.deepEqual([together().length, single.records.length], [80, 80]);
        assertOnce(together());
        assertOnce(single.records);
        assert.ok(first.records.length > 0 && second.records.length > 0);
      },
    },
    {
      name: 'a partition has one owner at a time',
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const topic = await fresh(transport, { partitions: 4 });
        const group = name('catalog');
        const owners = new Map<string, number>();
        const overlaps: string[] = [];
        const enter = async (id: number) => {
          const member = await join(await open(), {
            topics: [topic],
            group,
            receive(batch) {
              const owner = owners.get(keyOf(batch)) ?? id;
              if (owner !== id) overlaps.push(`${keyOf(batch)} was handed to member ${id} while ${owner} has it`);
              owners.set(keyOf(batch), id);
            },
            async revoking(partitions) {
              for (const key of partitions.map(keyOf)) if (owners.get(key) === id) owners.delete(key);
            },
          });
          return member;
        };
        const keys = range(16).map((n) => `course-${n}`);
        const everyone = [await enter(0)];
        const total = (of: typeof everyone) => of.reduce((sum, { held }) => sum + held.size, 0);

        for (const round of range(3)) {
          await publish(
            transport,
            topic,
            keys.map((key) => record(key, 2 * round)),
          );
          everyone.push(await enter(round + 1));
          await publish(
            transport,
            topic,
            keys.map((key) => record(key, 2 * round + 1)),
          );
          await eventually(
            () => total(everyone) === 4 && everyone.at(-1)!.held.size > 0,
            () => `${total(everyone)} of 4 partitions have an owner`,
          );
        }
        await everyone[1]!.subscription.stop();

        const got = () => everyone.flatMap(({ records }) => records);
        await eventually(
          () => got().length >= 96 && total(everyone) === 4,
          () => `${got().length} of 96 records arrived`,
        );
        assert.deepEqual(overlaps, []);
        assertOnce(got());
        for (const key of keys)
          assert.deepEqual(
            numbersOf(got(), key).sort((a, b) => a - b),
            range(6),
          );
      },
    },
    {
      name: 'a member that joins gets a share, one that leaves gives it back',
      async run({ open, topic: fresh, name, join, eventually }) {
        const [one, other] = [await open(), await open()];
        const topic = await fresh(one, { partitions: 4 });
        const group = name('catalog');
        const first = await join(one, { topics: [topic], group });
        await eventually(
          () => first.held.size === 4,
          () => `the first member holds ${first.held.size} of 4 partitions`,
        );

        const second = await join(other, { topics: [topic], group });
        await eventually(
          () => first.held.size === 2 && second.held.size === 2,
          () => `the members hold ${first.held.size} and ${second.held.size} partitions`,
        );
        assert.deepEqual(second.subscription.status().partitions.map(keyOf).sort(), [...second.held].sort());

        await second.subscription.stop();
        assert.equal(second.held.size, 0);
        assert.equal(second.subscription.status().state, 'stopped');
        await eventually(
          () => first.held.size === 4,
          () => `the first member holds ${first.held.size} of 4 partitions`,
        );
        await publish(
          one,
          topic,
          range(20).map((n) => record(`course-${n}`, n)),
        );
        await eventually(
          () => first.records.length >= 20,
          () => `${first.records.length} of 20 records arrived`,
        );
        assert.deepEqual([first.records.length, second.records.length], [20, 0]);
      },
    },
    {
      name: 'revoking is called before a partition leaves, and awaited',
      async run({ open, topic: fresh, name, join, gate, eventually }) {
        const [one, other] = [await open(), await open()];
        const topic = await fresh(one, { partitions: 2 });
        const group = name('catalog');
        const work = gate();
        let isRevoking = false;
        const first = await join(one, {
          topics: [topic],
          group,
          async revoking() {
            isRevoking = true;
            await work.opened;
          },
        });
        await publish(
          one,
          topic,
          range(20).map((n) => record(`course-${n}`, n)),
        );
        await eventually(
          () => first.records.length >= 20,
          () => `${first.records.length} of 20 records arrived`,
        );

        const joining = join(other, { topics: [topic], group });
        await eventually(
          () => isRevoking,
          () => 'nothing was revoked',
        );
        // The work goes on for a while, then what it finished is committed: the next owner begins behind it.
        await new Promise((resolve) => setTimeout(resolve, 300));
        work.open();
        const second = await joining;
        await eventually(
          () => second.held.size === 1 && first.held.size === 1,
          () => `the members hold ${first.held.size} and ${second.held.size} partitions`,
        );
        await publish(
          one,
          topic,
          range(20).map((n) => record(`course-${n}`, n + 20)),
        );

        const got = () => [...first.records, ...second.records];
        await eventually(
          () => got().length >= 40,
          () => `${got().length} of 40 records arrived`,
        );
        assertOnce(got());
        assert.equal(got().length, 40);
      },
    },
    {
      name: 'a revoke that takes too long is told so, and does not hold the group',
      async run({ open, topic: fresh, name, join, eventually }) {
        const [one, other] = [await open(), await open()];
        const topic = await fresh(one, { partitions: 2 });
        const group = name('catalog');
        let isGone = false;
        const first = await join(one, {
          topics: [topic],
          group,
          revokeTimeoutMs: 500,
          commitsOnRevoke: false,
          revoking: (_, gone) =>
            new Promise((resolve) => {
              const end = () => {
                isGone = true;
                resolve();
              };
              if (gone.aborted) end();
              else gone.addEventListener('abort', end);
            }),
        });
        await eventually(
          () => first.held.size === 2,
          () => `the first member holds ${first.held.size} of 2 partitions`,
        );

        const second = await join(other, { topics: [topic], group });
        await eventually(
          () => second.held.size === 1,
          () => `the second member holds ${second.held.size} of 1 partitions`,
        );
        assert.ok(isGone);
      },
    },
    {
      name: 'a late commit of an old owner is refused',
      needs: ['fenced'],
      async run({ open, topic: fresh, name, join, eventually }) {
        const [one, other] = [await open(), await open()];
        const topic = await fresh(one, { partitions: 2 });
        const group = name('catalog');
        await publish(
          one,
          topic,
          range(20).map((n) => record(`course-${n}`, n)),
        );
        const old = await join(one, { topics: [topic], group, commitsOnRevoke: false });
        await eventually(
          () => old.records.length >= 20,
          () => `${old.records.length} of 20 records arrived`,
        );
        const next = await join(other, { topics: [topic], group });
        await eventually(
          () => old.held.size === 1 && next.held.size === 1,
          () => `the members hold ${old.held.size} and ${next.held.size} partitions`,
        );
        // The old owner is still a member, of another partition.
        const late = old.records.filter((each) => next.held.has(keyOf(each))).at(-1)!;
        const commit = { topic, partition: late.partition, position: late.offset, ahead: [] };
        const isRefused = async () => {
          assert.deepEqual(await old.send([commit]), ['fenced']);
          const positions = await one.positions({ topic, group });
          assert.notEqual(positions[late.partition]!.committed, late.offset);
        };

        await isRefused();
        await old.subscription.stop();
        await isRefused();

        const key = Buffer.from(late.key!).toString();
        await eventually(
          () => numbersOf(next.records, key).length >= 1,
          () => 'the new owner was not given what the old one had not committed',
        );
      },
    },
    {
      name: 'a new group starts at the earliest record',
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const topic = await fresh(transport);
        await publish(
          transport,
          topic,
          range(20).map((n) => record('a', n)),
        );

        const member = await join(transport, { topics: [topic], group: name('catalog') });

        await eventually(
          () => member.records.length >= 20,
          () => `${member.records.length} of 20 records arrived`,
        );
        assert.deepEqual(numbersOf(member.records, 'a'), range(20));
      },
    },
    {
      name: 'a new group starts at the latest record when told, and keeps that place',
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const topic = await fresh(transport);
        const group = name('catalog');
        const keys = range(16).map((n) => `course-${n}`);
        await publish(
          transport,
          topic,
          keys.map((key) => record(key, 0)),
        );

        const member = await join(transport, { topics: [topic], group, from: 'latest' });
        await eventually(
          () => member.held.size === 4,
          () => `the member holds ${member.held.size} of 4 partitions`,
        );
        await publish(
          transport,
          topic,
          keys.map((key) => record(key, 1)),
        );
        await eventually(
          () => member.records.length >= 16,
          () => `${member.records.length} of 16 records arrived`,
        );

        for (const key of keys) assert.deepEqual(numbersOf(member.records, key), [1]);
        await member.subscription.stop();
        await publish(
          transport,
          topic,
          keys.map((key) => record(key, 2)),
        );
        const again = await join(await open(), { topics: [topic], group, from: 'latest' });
        await eventually(
          () => again.records.length >= 16,
          () => `${again.records.length} of 16 records arrived after a restart`,
        );
        for (const key of keys) assert.deepEqual(numbersOf(again.records, key), [2]);
      },
    },
    {
      name: 'a new group starts at a time when told, and behind the last record when that is still to come',
      needs: ['seekByTime'],
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const topic = await fresh(transport);
        const keys = range(16).map((n) => `course-${n}`);
        const publishAll = (n: number) =>
          publish(
            transport,
            topic,
            keys.map((key) => record(key, n)),
          );
        await publishAll(0);
        await new Promise((resolve) => setTimeout(resolve, 50));
        await publishAll(1);
        const second = (await all(transport.read({ topic }))).filter((each) => valuesOf([each])[0]!.endsWith(':1'));
        const time = Math.min(...second.map(({ timestamp }) => timestamp));

        const member = await join(transport, { topics: [topic], group: name('catalog'), from: { time } });
        const future = { time: Date.now() + 3_600_000 };
        const early = await join(transport, { topics: [topic], group: name('search'), from: future });
        await eventually(
          () => early.held.size === 4,
          () => `the member holds ${early.held.size} of 4 partitions`,
        );
        await publishAll(2);
        await eventually(
          () => member.records.length >= 32 && early.records.length >= 16,
          () => `${member.records.length} of 32 and ${early.records.length} of 16 records arrived`,
        );

        for (const key of keys) {
          assert.deepEqual(numbersOf(member.records, key), [1, 2]);
          assert.deepEqual(numbersOf(early.records, key), [2]);
        }
      },
    },
    {
      name: 'records published while the group was down arrive',
      async run({ open, topic: fresh, name, join, eventually }) {
        const transport = await open();
        const topic = await fresh(transport);
        const group = name('catalog');
        const before = await join(transport, { topics: [topic], group });
        await publish(
          transport,
          topic,
          range(10).map((n) => record('a', n)),
        );
        await eventually(
          () => before.records.length >= 10,
          () => `${before.records.length} of 10 records arrived`,
        );
        await before.subscription.stop();

        await publish(
          transport,
          topic,
          range(10).map((n) => record('a', n + 10)),
        );
        const after = await join(transport, { topics: [topic], group });

        await eventually(
          () => after.records.length >= 10,
          () => `${after.records.length} of 10 records arrived after the pause`,
        );
        assert.deepEqual(numbersOf(after.records, 'a'), range(20).slice(10));
      },
    },
  ],
};
