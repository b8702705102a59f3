/**
 * One measurement in a process of its own: `node <peer>.mjs <task> <options as JSON>` prints one line of JSON. Here is what the tasks of
 * all peers share, so that all are asked for the same.
 */

/** Runs the task that the command line names, prints what it answers, and ends the process. */
export async function runTask(tasks) {
  const [name, options] = process.argv.slice(2);
  const answer = await tasks[name](JSON.parse(options));
  process.stdout.write(`${JSON.stringify(answer)}\n`, () => process.exit(0));
}

/** Sends `count` events with `inFlight` sends open at any time, after a tenth as many to warm up. `each` sends so many at a call. */
export async function publishing({ count, inFlight, each = 1 }, send) {
  await sendAll(Math.ceil(count / 10), inFlight, each, send);
  const stop = stopwatch();
  await sendAll(count, inFlight, each, send);
  return stop(count);
}

async function sendAll(count, inFlight, each, send) {
  let next = 0;
  const sender = async () => {
    while (next < count) await send((next += each) - each);
  };
  await Promise.all(Array.from({ length: Math.ceil(inFlight / each) }, sender));
}

/** `handled` is to be called for each event; `done` resolves at the last one. The first tenth warms up. */
export function consuming(count) {
  const warm = Math.ceil(count / 10);
  let seen = 0;
  let stop;
  let finish;
  const done = new Promise((resolve) => (finish = resolve));
  const handled = () => {
    if (++seen === warm) stop = stopwatch();
    else if (seen === count) finish(stop(count - warm));
  };
  return { handled, done };
}

/** `send(n)` is called `perSecond` times a second, `age` with each handled event's age. The first fifth warms up. */
export function pacing({ perSecond, seconds }) {
  const ages = [];
  const count = perSecond * seconds;
  let seen = 0;
  let finish;
  const done = new Promise((resolve) => (finish = resolve));
  const age = (ms) => {
    if (++seen > count / 5) ages.push(ms);
    if (seen === count) finish({ p50: percentile(ages, 0.5), p99: percentile(ages, 0.99), max: Math.max(...ages) });
  };
  async function run(send) {
    const startedAt = performance.now();
    const failures = [];
    for (let sent = 0; sent < count;) {
      const due = Math.min(count, Math.floor(((performance.now() - startedAt) * perSecond) / 1_000));
      for (; sent < due; sent++) send(sent).catch((error) => failures.push(error));
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    const answer = await Promise.race([done, new Promise((resolve) => setTimeout(resolve, 30_000))]);
    if (failures.length > 0) throw failures[0];
    if (answer === undefined) throw new Error(`${seen} of ${count} events were handled within 30 s of the last send`);
    return answer;
  }
  return { age, run };
}

/** What this process costs while nothing happens, in percent of a core. */
export async function idling({ seconds }) {
  await sleep(3_000);
  const stop = stopwatch();
  await sleep(seconds * 1_000);
  const { cpuUs, ms } = stop(1);
  return { percent: cpuUs / ms / 10 };
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Rate, and processor time of this process per event. */
function stopwatch() {
  const startedAt = performance.now();
  const cpu = process.cpuUsage();
  return (count) => {
    const ms = performance.now() - startedAt;
    const { user, system } = process.cpuUsage(cpu);
    return { perSecond: (count / ms) * 1_000, cpuUs: (user + system) / count, ms };
  };
}

function percentile(numbers, share) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}
