/** The other process: `log` and `raw` say when a record has reached them, `idle` what it costs to wait. */
import { setTimeout as sleep } from 'node:timers/promises';
import { stopwatch } from '../figures.mjs';
import { nowMs } from '../other-process.mjs';
import { TOPIC, openLog, receiver } from './log.mjs';
import { openRaw } from './raw.mjs';

const [task, path, seconds] = process.argv.slice(2);
if (task === 'raw') {
  const raw = openRaw(path);
  process.on('message', (place) => raw.get(place) && process.send(nowMs()));
  process.once('disconnect', () => raw.close());
} else {
  const log = await openLog(path);
  const told = ({ records }) => records.length > 0 && task === 'log' && void process.send(nowMs());
  await log.subscribe({ topics: [TOPIC], group: 'catalog', from: 'latest' }, receiver(told));
  process.once('disconnect', () => log.close());
  await sleep(1_500); // until it has all partitions
}
process.send('ready');
if (task === 'idle') {
  const stop = stopwatch();
  await sleep(Number(seconds) * 1_000);
  const { ms, cpuUs } = stop();
  process.send(cpuUs / 1_000 / ms);
}
