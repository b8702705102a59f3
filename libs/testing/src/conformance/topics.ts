import assert from 'node:assert/strict';
import { isBusError } from '@event-bus/core';
import { publish, record, type Chapter } from './world.js';

export const topics: Chapter = {
  name: 'topics',
  cases: [
    {
      name: 'ensuring a topic twice makes one topic',
      async run({ open, name }) {
        const [one, other] = [await open(), await open()];
        const topic = name('course');

        const made = await Promise.all([one, other, one].map((each) => each.ensureTopic(topic, { partitions: 3 })));
        await publish(one, topic, [record('a', 1)]);
        made.push(await other.ensureTopic(topic, { partitions: 3 }), await other.ensureTopic(topic));

        assert.deepEqual(
          made,
          made.map(() => ({ topic, partitions: 3 })),
        );
        const ends = await other.positions({ topic });
        assert.equal(ends.filter(({ start, end }) => start !== end).length, 1);
      },
    },
    {
      name: 'another partition count is refused',
      async run({ open, topic: fresh }) {
        const transport = await open();
        const topic = await fresh(transport, { partitions: 2 });
        await assert.rejects(transport.ensureTopic(topic, { partitions: 5 }), (error) =>
          isBusError(error, 'BUS_TOPIC_MISSING'),
        );
        assert.deepEqual(await transport.ensureTopic(topic), { topic, partitions: 2 });
      },
    },
    {
      name: 'the list of topics has it',
      async run({ open, topic: fresh }) {
        const [one, other] = [await open(), await open()];
        const topic = await fresh(one, { partitions: 3 });
        const found = (await other.topics()).filter((each) => each.topic === topic);
        assert.deepEqual(found, [{ topic, partitions: 3 }]);
      },
    },
  ],
};
