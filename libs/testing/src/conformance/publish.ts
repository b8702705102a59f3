import assert from 'node:assert/strict';
import { isBusError, type PublishOutcome } from '@event-bus/core';
import { all, numbersOf, publish, range, record, stored, valuesOf, type Chapter } from './world.js';

export const publishing: Chapter = {
  name: 'publish',
  cases: [
    {
      name: 'publish resolves with partition and offset of every record',
      async run({ open, topic: fresh }) {
        const transport = await open();
        const topic = await fresh(transport);
        const records = range(40).map((n) => record(`course-${n}`, n));

        const places = await publish(transport, topic, records);

        assert.equal(places.length, 40);
        assert.equal(new Set(places.map(({ partition, offset }) => `${partition}/${offset}`)).size, 40);
        const log = await all(transport.read({ topic }));
        for (const [index, { partition, offset }] of places.entries()) {
          const found = log.filter((each) => each.partition === partition && each.offset === offset);
          assert.deepEqual(valuesOf(found), [`course-${index}:${index}`]);
        }
      },
    },
    {
      name: 'records of one key are in one partition, and keys spread over all',
      async run({ open, topic: fresh }) {
        const transport = await open();
        const topic = await fresh(transport, { partitions: 4 });

        const first = await publish(
          transport,
          topic,
          range(64).map((n) => record(`course-${n}`, 1)),
        );
        const second = await publish(
          transport,
          topic,
          range(64).map((n) => record(`course-${n}`, 2)),
        );

        assert.deepEqual(
          second.map(({ partition }) => partition),
          first.map(({ partition }) => partition),
        );
        assert.equal(new Set(first.map(({ partition }) => partition)).size, 4);
      },
    },
    {
      name: 'nothing is published by an empty call',
      async run({ open, topic: fresh }) {
        const transport = await open();
        const topic = await fresh(transport);
        assert.deepEqual(await transport.publish(topic, []), []);
        assert.deepEqual(await all(transport.read({ topic })), []);
      },
    },
    {
      name: 'every promise settles',
      async run({ open, topic: fresh, eventually }) {
        const transport = await open();
        const topic = await fresh(transport);
        let settled = 0;
        const known: string[] = [];

        for (const n of range(100)) {
          transport
            .publish(topic, [record('a', n)])
            .then(
              ([outcome]) => void (outcome!.status === 'stored' && known.push(`a:${n}`)),
              (error) => assert.ok(isBusError(error)),
            )
            .finally(() => settled++);
        }
        await transport.close();

        await eventually(
          () => settled === 100,
          () => `${100 - settled} promises are pending after the close`,
        );
        const reader = await open();
        const log = new Set(valuesOf(await all(reader.read({ topic }))));
        assert.deepEqual(
          known.filter((value) => !log.has(value)),
          [],
          'said to be stored, and not there',
        );
      },
    },
    {
      name: 'publishOne, where there is one, keeps one order with publish, answers once and never at once',
      async run({ open, topic: fresh, eventually }) {
        const transport = await open();
        const topic = await fresh(transport);
        if (transport.publishOne === undefined) return;
        const answers: number[] = range(101).map(() => 0);
        const outcomes: PublishOutcome[] = [];
        const published: Promise<readonly PublishOutcome[]>[] = [];
        const one = (n: number) => {
          let hasReturned = false;
          transport.publishOne!(topic, record('a', n), 10_000, (outcome) => {
            assert.ok(hasReturned, 'it answered before it returned');
            answers[n]!++;
            outcomes[n] = outcome;
          });
          hasReturned = true;
        };

        for (const n of range(100)) {
          if (n % 3 === 0) published.push(transport.publish(topic, [record('a', n)]));
          else one(n);
        }
        stored((await Promise.all(published)).flat());
        const asked = range(100).filter((n) => n % 3 !== 0);
        await eventually(
          () => asked.every((n) => answers[n]! > 0),
          () => 'some were never answered',
        );
        assert.deepEqual(numbersOf(await all(transport.read({ topic })), 'a'), range(100));
        stored(asked.map((n) => outcomes[n]!));

        await transport.close();
        one(100);
        await eventually(
          () => answers[100] === 1,
          () => 'the one after the close was not answered',
        );
        assert.equal(outcomes[100]!.status, 'not-stored');
        assert.ok(answers.every((count) => count <= 1));
      },
    },
    {
      name: 'a publish without an answer ends at its deadline, and does not claim to know',
      faults: ['blackHole'],
      async run({ open, topic: fresh, faults }) {
        const transport = await open();
        const topic = await fresh(transport);
        await publish(transport, topic, [record('a', 0)]);

        const mend = await faults.blackHole();
        const answers: PublishOutcome[] = [];
        transport.publishOne?.(topic, record('b', 0), 1_000, (outcome) => void answers.push(outcome));
        const outcomes = await transport
          .publish(
            topic,
            range(3).map((n) => record('a', n + 1)),
            { deadlineMs: 1_000 },
          )
          .finally(mend);

        assert.equal(outcomes.length, 3);
        for (const outcome of outcomes) {
          assert.notEqual(outcome.status, 'stored');
          assert.ok('error' in outcome && isBusError(outcome.error));
        }
        stored(await transport.publish(topic, [record('a', 4)]));
        if (transport.publishOne === undefined) return;
        assert.equal(answers.length, 1, `publishOne answered ${answers.length} times`);
        assert.notEqual(answers[0]!.status, 'stored');
      },
    },
  ],
};
