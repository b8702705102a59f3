/**
 * The bus on Kafka beside what else there is: kafkajs as it comes, Nest's own Kafka transport, Open edX's Python package, and Kafka's own
 * load generator as the ceiling. One broker and one registry, one machine, one run, taking turns; everybody has the same seconds.
 */
import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { UsageError } from '../scripts/command.mjs';
import { kafkaTool, startKafka } from '../scripts/servers/kafka.mjs';
import { preparePython } from '../scripts/servers/python.mjs';
import { startRegistry } from '../scripts/servers/registry.mjs';
import { runBenchmark } from './benchmark.mjs';
import { atLeast, atMost, decimals, median, printTable, spread, times, whole } from './figures.mjs';
import { TOPICS } from './kafka/event.mjs';

const TURN_TIMEOUT_MS = 180_000;
const HERE = join(dirname(fileURLToPath(import.meta.url)), 'kafka');

const ours = (options) => ({ name: 'ours', run: inNode('ours.mjs'), ...options });
const kafkajs = (name, options) => ({ name: `kafkajs, ${name}`, run: inNode('kafkajs.mjs'), ...options });
const nest = (name, options) => ({ name, run: inNode('nest.mjs'), ...options });
const openEdx = (options) => ({ name: 'edx-event-bus-kafka (Python)', run: inPython, ...options });

/**
 * `want`: by how much ours is to be better; `best`: what ours is to be by itself. A turn is `seconds` long, after `warmSeconds` of the
 * same; `stored` events are there before, more than anybody can handle in that time.
 */
const PARTS = {
  publish: {
    title: 'single sends, 1000 in flight',
    task: { topic: TOPICS.published, inFlight: 1_000, warmSeconds: 2, seconds: 8 },
    print: printRates,
    peers: [
      ours(),
      kafkajs('send for each event', { want: 12 }),
      nest('Nest ClientKafka, emit', { want: 10 }),
      openEdx({ want: 15 }),
      kafkajs('sendBatch of 250', { options: { each: 250 } }),
      kafkajs('sendBatch of 500', { options: { each: 500 } }),
      { name: `kafka-producer-perf-test, 1 000 000 × 300 bytes, no headers`, run: perfTest },
    ],
  },
  awaited: {
    title: 'single sends, one after the other',
    task: { topic: TOPICS.published, inFlight: 1, warmSeconds: 2, seconds: 8, name: 'publish' },
    print: printRates,
    peers: [ours(), kafkajs('send for each event'), nest('Nest ClientKafka, emit')],
  },
  consume: {
    title: 'six partitions, a handler that does nothing',
    task: { topic: TOPICS.stored, stored: 1_500_000, warmSeconds: 2, seconds: 5 },
    print: printRates,
    peers: [
      ours(),
      kafkajs('eachBatch', { options: { mode: 'eachBatch' }, want: 1 }),
      kafkajs('eachMessage', { options: { mode: 'eachMessage' } }),
      nest('Nest ServerKafka'),
      openEdx({ want: 20 }),
    ],
  },
  latency: {
    title: 'publish to handler at 1000/s',
    task: { topic: TOPICS.live, perSecond: 1_000, seconds: 15 },
    print: printLatency,
    peers: [
      ours({ best: { p50: 2, p99: 20 } }),
      kafkajs('send, eachMessage', { want: 5 }),
      nest('Nest ClientKafka, ServerKafka'),
      openEdx(),
    ],
  },
  slow: {
    title: 'a handler of 10 ms, one partition, 1000 keys',
    task: { topic: TOPICS.narrow, handlerMs: 10, stored: 50_000, warmSeconds: 2, seconds: 5 },
    print: printRates,
    peers: [ours(), kafkajs('eachMessage', { want: 20 }), nest('Nest ServerKafka'), openEdx()],
  },
  idle: {
    title: 'a consumer of six partitions while nothing comes',
    task: { topic: TOPICS.live, seconds: 20 },
    print: printIdle,
    peers: [ours({ best: { percent: 2 } }), kafkajs('eachMessage'), nest('Nest ServerKafka'), openEdx()],
  },
};

await runBenchmark(
  {
    name: 'kafka',
    title: 'the bus on Kafka beside kafkajs, Nest and the Python package',
    parts: Object.fromEntries(Object.entries(PARTS).map(([name, { title }]) => [name, title])),
    options: { rounds: { type: 'string' } },
    help: `  --rounds <n>    how often everybody has a turn, 3

KAFKA_BROKERS and SCHEMA_REGISTRY_URL, where set, are used; else both are started as \`npm run kafka\` does.`,
  },
  ({ parts, quick, values }) => {
    const rounds = Number(values.rounds ?? (quick ? 1 : 3));
    if (!Number.isInteger(rounds) || rounds < 1) throw new UsageError('--rounds must be a positive integer.');
    const asked = parts.map((name) => ({ ...PARTS[name], name, task: { name, ...PARTS[name].task } }));
    return main(quick ? asked.map(shortened) : asked, rounds);
  },
);

function shortened({ task: { warmSeconds, seconds, stored, ...task }, ...part }) {
  return {
    ...part,
    task: {
      ...task,
      seconds: Math.max(2, Math.floor(seconds / 4)),
      ...(warmSeconds === undefined ? {} : { warmSeconds: 0.5 }),
      ...(stored === undefined ? {} : { stored: Math.ceil(stored / 3_000) * 1_000 }),
    },
  };
}

async function main(parts, rounds) {
  const servers = await Promise.all([startKafka(), startRegistry()]);
  const python = await preparePython();
  try {
    const missing = servers.find((server) => server.missing !== undefined);
    if (missing) throw new Error(missing.missing);
    if (python.missing !== undefined) console.error(`without Python: ${python.missing}`);
    Object.assign(process.env, ...servers.map(({ env }) => env));
    const admin = await connected();
    await createTopics(admin);
    await fill(parts);
    console.log(`kafkajs ${version('kafkajs')}, rounds: ${rounds}; medians (lowest–highest)`);
    for (const part of parts) {
      const results = await takeTurns(part, rounds, python);
      const { warmSeconds, seconds } = part.task;
      const warm = warmSeconds === undefined ? '' : ` after ${warmSeconds} s to warm up`;
      console.log(`\n${part.name}: ${part.title}; ${seconds} s each${warm}`);
      part.print(results.filter(({ turns }) => turns.some((turn) => turn !== undefined)));
    }
    await admin.deleteTopics({ topics: Object.values(TOPICS) });
    await admin.disconnect();
  } finally {
    await Promise.all(servers.map((server) => server.stop?.()));
  }
}

async function connected() {
  const { Kafka, logLevel } = createRequire(import.meta.resolve('@event-bus/kafka'))('kafkajs');
  const admin = new Kafka({ brokers: process.env.KAFKA_BROKERS.split(','), logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  return admin;
}

async function createTopics(admin) {
  const topics = Object.values(TOPICS).map((topic) => ({ topic, numPartitions: topic === TOPICS.narrow ? 1 : 6 }));
  await admin.createTopics({ topics, waitForLeaders: false });
  for (const { topic } of topics)
    while (!(await admin.fetchTopicMetadata({ topics: [topic] }).catch(() => undefined))) await sleep(100);
}

/** The peers take the schemas of the topic `stored`, so there is always something in it. */
async function fill(parts) {
  const counts = { [TOPICS.stored]: 1_000 };
  for (const { task } of parts) if (task.stored !== undefined) counts[task.topic] = task.stored;
  for (const [topic, count] of Object.entries(counts)) await ours().run('fill', { topic, count });
}

/** What each peer answered in each round; nothing where it failed. */
async function takeTurns({ task: { name, ...task }, title, peers }, rounds, python) {
  const results = peers.map((peer) => ({ ...peer, turns: [] }));
  for (let round = 0; round < rounds; round++) {
    for (const [i, { name: peer, run, options, turns }] of results.entries()) {
      if (run === inPython && python.missing !== undefined) continue;
      if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${title}: ${peer}, ${round + 1} of ${rounds}`);
      try {
        turns[round] = await run(name, { ...task, ...options, group: `bench-${i}-${round}` }, python.python);
      } catch (error) {
        console.error(`\n${peer} failed: ${error.stderr ?? error.message}`);
        process.exitCode = 1;
      }
    }
  }
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  return results;
}

// ---- peers, each measurement in a process of its own: what one patches reaches no other

function inNode(file) {
  return (task, options) => answerOf(process.execPath, [join(HERE, file), task, JSON.stringify(options)]);
}

function inPython(task, options, python) {
  const PYTHONPATH = join(HERE, '../../test/interop/python');
  return answerOf(python, [join(HERE, 'open_edx.py'), task, JSON.stringify(options)], { PYTHONPATH });
}

async function answerOf(command, args, env) {
  const options = { env: { ...process.env, ...env }, timeout: TURN_TIMEOUT_MS, killSignal: 'SIGKILL' };
  const answer = promisify(execFile)(command, args, options);
  const end = () => {
    answer.child.kill('SIGKILL');
    process.exit(130);
  };
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, end);
  const { stdout } = await answer.finally(() => process.off('SIGINT', end).off('SIGTERM', end));
  return JSON.parse(stdout.trim().split('\n').at(-1));
}

async function perfTest(_, { topic }) {
  const settings = ['acks=all', 'linger.ms=5', `bootstrap.servers=${process.env.KAFKA_BROKERS}`];
  const args = ['--topic', topic, '--num-records', 1_000_000, '--record-size', 300, '--throughput', -1];
  const output = await kafkaTool('org.apache.kafka.tools.ProducerPerformance', [
    ...args.map(String),
    '--producer-props',
    ...settings,
  ]);
  const rates = [...output.matchAll(/ records sent, ([\d.]+) records\/sec/g)].map(([, rate]) => Number(rate));
  return { perSecond: rates.at(-1) };
}

// ---- the tables

function printRates(results) {
  printTable(
    ['', 'events/s', 'µs CPU each', 'ours is', ''],
    results.map((result) => [
      result.name,
      spread(figuresOf(result, 'perSecond'), whole),
      result.turns.some((turn) => turn?.cpuUs !== undefined) ? spread(figuresOf(result, 'cpuUs'), decimals(1)) : '',
      ...comparison(results[0], result, (own, peer) => own.perSecond / peer.perSecond),
    ]),
  );
}

function printLatency(results) {
  printTable(
    ['', 'p50 ms', 'p99 ms', 'longest ms', 'p50 of ours is', ''],
    results.map((result) => {
      const [p50, p99, max] = ['p50', 'p99', 'max'].map((name) => figuresOf(result, name));
      const { best } = result;
      return [
        result.name,
        ...[p50, p99, max].map((figures) => spread(figures, decimals(2))),
        ...(best
          ? ['', `p50 ${atMost(median(p50), best.p50)}; p99 ${atMost(median(p99), best.p99)}`]
          : comparison(results[0], result, (own, peer) => peer.p50 / own.p50)),
      ];
    }),
  );
}

function printIdle(results) {
  printTable(
    ['', '% of a core', 'ours is', ''],
    results.map((result) => {
      const percent = figuresOf(result, 'percent');
      const { best } = result;
      return [
        result.name,
        spread(percent, decimals(2)),
        ...(best
          ? ['', atMost(median(percent), best.percent)]
          : comparison(results[0], result, (own, peer) => peer.percent / own.percent)),
      ];
    }),
  );
}

function figuresOf({ turns }, name) {
  return turns.flatMap((turn) => turn?.[name] ?? []);
}

/** How often ours is better, round by round, and whether that is enough. */
function comparison(own, peer, ratio) {
  if (own === peer) return ['', ''];
  const all = peer.turns.flatMap((turn, round) => (turn && own.turns[round] ? [ratio(own.turns[round], turn)] : []));
  if (all.length === 0) return ['', ''];
  return [spread(all, times), peer.want === undefined ? '' : atLeast(median(all), peer.want, (want) => `${want}×`)];
}

function version(name) {
  return createRequire(import.meta.resolve('@event-bus/kafka'))(`${name}/package.json`).version;
}
