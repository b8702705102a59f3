/** The other process: says when an event has reached its handler, or when a record has reached a receiver on the log itself. */
import { setTimeout as sleep } from 'node:timers/promises';
import { embedded } from '../../libs/embedded/dist/index.js';
import { receiver } from '../embedded/log.mjs';
import { nowMs } from '../other-process.mjs';
import { TOPIC, busOn, event } from './course.mjs';

const [task, path] = process.argv.slice(2);
const arrived = () => void process.send(nowMs());
if (task === 'bus') {
  const bus = busOn(path, { from: 'latest' });
  bus.handle(event, { id: 'latency' }, arrived);
  await bus.start();
  process.once('disconnect', () => bus.close());
} else {
  const log = embedded({ path });
  await log.open();
  const receive = ({ records }) => records.length > 0 && arrived();
  await log.subscribe({ topics: [TOPIC], group: 'latency', from: 'latest' }, receiver(receive));
  process.once('disconnect', () => log.close());
}
await sleep(1_500); // until it has all partitions
process.send('ready');
