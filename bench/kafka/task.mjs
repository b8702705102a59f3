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

/**
 * Sends for so many seconds with `inFlight` sends open at any time, after `warmSeconds` of the same; the clock stops when all are answered.
 * `each` sends so many at a call.
 */
export async function publishing({ warmSeconds, seconds, inFlight, each = 1 }, send) {
  await sendFor(warmSeconds, inFlight, each, send);
  const stop = stopwatch();
  return stop(await sendFor(seconds, inFlight, each, send));
}

async function sendFor(seconds, inFlight, each, send) {
  const until = performance.now() + seconds * 1_000;
  let sent = 0;
  const sender = async () => {
    while (performance.now() < until) await send((sent += each) - each);
  };
  await Promise.all(Array.from({ length: Math.ceil(inFlight / each) }, sender));
  return sent;
}

/**
 * `handled` is to be called for each event. From the first on `warmSeconds` pass, then `done` resolves to what was handled in the next
 * `seconds`, or less when all `stored` events were handled before.
 */
export function consuming({ warmSeconds, seconds, stored }) {
  let seen = 0;
  let finish;
  const done = new Promise((resolve) => (finish = resolve));
  let end = () => finish(Promise.reject(new Error(`${stored} events were handled before the warm-up was over`)));
  const measure = () => {
    const stop = stopwatch();
    const before = seen;
    end = () => finish(stop(seen - before));
    setTimeout(() => end(), seconds * 1_000);
  };
  const handled = () => {
    if (seen++ === 0) setTimeout(measure, warmSeconds * 1_000);
    if (seen === stored) end();
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
