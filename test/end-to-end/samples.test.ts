import { join } from 'node:path';
import { embedded } from '@event-bus/embedded';
import { describe } from 'vitest';
import { apiSuite } from './api-suite.js';
import { crashSuite } from './crash-suite.js';
import { embeddedBus, type Stage } from './samples.js';

describe('on the embedded log', () => {
  apiSuite(embeddedBus);
  crashSuite(embeddedBus, { edits: 10_000, deadLetters });
});

async function deadLetters({ path }: Stage): Promise<number> {
  const log = embedded({ path: join(path, 'bus') });
  await log.open();
  try {
    const topics = (await log.topics()).filter(({ topic }) => topic.includes('-dead-'));
    let count = 0;
    for (const { topic } of topics) for await (const record of log.read({ topic })) count += record ? 1 : 0;
    return count;
  } finally {
    await log.close();
  }
}
