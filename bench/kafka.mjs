/**
 * The bus on Kafka beside what else there is: kafkajs as it comes, Nest's own Kafka transport, Open edX's Python package, and Kafka's own
 * load generator as the ceiling. One broker and one registry, one machine, one run, taking turns. Trust the ratios.
 *
 *   npm run bench -- kafka [--quick] [--rounds <n>] [--only publish,latency], or after a build: node bench/kafka.mjs
 */
import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { kafkaTool, startKafka } from '../scripts/servers/kafka.mjs';
import { preparePython } from '../scripts/servers/python.mjs';
import { startRegistry } from '../scripts/servers/registry.mjs';
import { TOPICS } from './kafka/event.mjs';
import { sleep } from './kafka/task.mjs';

const { values: flags } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    only: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
const HERE = join(dirname(fileURLToPath(import.meta.url)), 'kafka');
const SCALE = flags.quick ? 0.1 : 1;
const ROUNDS = Number(flags.rounds ?? (flags.quick ? 1 : 3));
const count = (n) => Math.ceil(n * SCALE);

const ours = { name: 'ours', run: inNode('ours.mjs') };
const kafkajs = (name, options) => ({ name: `kafkajs, ${name}`, run: inNode('kafkajs.mjs'), ...options });
const nest = (name, options) => ({ name, run: inNode('nest.mjs'), ...options });
const openEdx = (options) => ({ name: 'edx-event-bus-kafka (Python)', run: inPython, ...options });

/** `want`: by how much ours is to be better. `best`: what ours is to be by itself. */
const MEASURES = {
  publish: {
    title: 'publish: single sends, 1 000 in flight',
    task: { topic: TOPICS.published, inFlight: 1_000 },
    unit: 'perSecond',
    peers: [
      { ...ours, options: { count: count(200_000) } },
      kafkajs('send for each event', { options: { count: count(20_000) }, want: 12 }),
      nest('Nest ClientKafka, emit', { options: { count: count(20_000) }, want: 10 }),
      openEdx({ options: { count: count(20_000) }, want: 15 }),
      kafkajs('sendBatch of 250', { options: { count: count(50_000), each: 250 } }),
      kafkajs('sendBatch of 500', { options: { count: count(50_000), each: 500 } }),
      { name: 'kafka-producer-perf-test, 300 bytes, no headers', run: perfTest, options: { count: count(1_000_000) } },
    ],
  },
  awaited: {
    title: 'publish: single sends, one after the other',
    task: { topic: TOPICS.published, inFlight: 1, name: 'publish' },
    unit: 'perSecond',
    peers: [
      { ...ours, options: { count: count(10_000) } },
      kafkajs('send for each event', { options: { count: count(5_000) } }),
      nest('Nest ClientKafka, emit', { options: { count: count(5_000) } }),
    ],
  },
  consume: {
    title: 'consume: six partitions, a handler that does nothing',
    task: { topic: TOPICS.stored },
    unit: 'perSecond',
    peers: [
      { ...ours, options: { count: count(300_000) } },
      kafkajs('eachBatch', { options: { count: count(300_000), mode: 'eachBatch' }, want: 1 }),
      kafkajs('eachMessage', { options: { count: count(200_000), mode: 'eachMessage' } }),
      nest('Nest ServerKafka', { options: { count: count(100_000) } }),
      openEdx({ options: { count: count(20_000) }, want: 20 }),
    ],
  },
  latency: {
    title: 'publish to handler at 1 000/s',
    task: { topic: TOPICS.live, perSecond: 1_000, seconds: flags.quick ? 5 : 15 },
    unit: 'latency',
    peers: [
      { ...ours, best: { p50: 2, p99: 20 } },
      kafkajs('send, eachMessage', { want: 5 }),
      nest('Nest ClientKafka, ServerKafka', {}),
      openEdx({}),
    ],
  },
  slow: {
    title: 'a handler of 10 ms, one partition, 1 000 keys',
    task: { topic: TOPICS.narrow, handlerMs: 10 },
    unit: 'perSecond',
    peers: [
      { ...ours, options: { count: count(20_000) } },
      kafkajs('eachMessage', { options: { count: count(500) }, want: 20 }),
      nest('Nest ServerKafka', { options: { count: count(500) } }),
      openEdx({ options: { count: count(500) } }),
    ],
  },
  idle: {
    title: 'an idle consumer of six partitions',
    task: { topic: TOPICS.live, seconds: flags.quick ? 5 : 20 },
    unit: 'percent',
    peers: [{ ...ours, best: { percent: 2 } }, kafkajs('eachMessage', {}), nest('Nest ServerKafka', {}), openEdx({})],
  },
};

function help() {
  console.log(`npm run bench -- kafka [options]

  --quick         a tenth of the events, one round
  --rounds <n>    how often everybody has a turn; medians are printed. Default 3
  --only <names>  of ${Object.keys(MEASURES).join(', ')}; with commas

KAFKA_BROKERS and SCHEMA_REGISTRY_URL, where set, are used; else both are started as \`npm run kafka\` does.`);
}

function chosen() {
  const names = flags.only?.split(',') ?? Object.keys(MEASURES);
  const unknown = names.find((name) => !(name in MEASURES));
  if (unknown !== undefined || !(Number.isInteger(ROUNDS) && ROUNDS > 0)) {
    console.error(unknown !== undefined ? `There is no measure "${unknown}".` : '--rounds must be a positive integer.');
    process.exit(2);
  }
  return names.map((name) => ({ ...MEASURES[name], task: { name, ...MEASURES[name].task } }));
}

async function main(measures) {
  const servers = await Promise.all([startKafka(), startRegistry()]);
  const python = await preparePython();
  try {
    const missing = servers.find((server) => server.missing !== undefined);
    if (missing) throw new Error(missing.missing);
    if (python.missing !== undefined) console.error(`without Python: ${python.missing}`);
    Object.assign(process.env, ...servers.map(({ env }) => env));
    const admin = await connected();
    await createTopics(admin);
    await fill(measures);
    const rows = [];
    for (const measure of measures) rows.push(...(await takeTurns(measure, python)));
    print(rows);
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

async function fill(measures) {
  const most = (name) =>
    Math.max(1_000, ...measures.flatMap(({ task, peers }) => (task.name === name ? peers.map(countOf) : [])));
  await ours.run('publish', { topic: TOPICS.stored, count: most('consume'), inFlight: 1_000 });
  await ours.run('publish', { topic: TOPICS.narrow, count: most('slow'), inFlight: 1_000 });
}

const countOf = ({ options }) => options?.count ?? 0;

async function takeTurns({ title, task: { name, ...task }, unit, peers }, python) {
  const results = peers.map(() => []);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [i, { name: peer, run, options }] of peers.entries()) {
      if (run === inPython && python.missing !== undefined) continue;
      process.stderr.write(`\r\x1b[K${title}: ${peer}, ${round + 1} of ${ROUNDS}`);
      try {
        results[i].push(await run(name, { ...task, ...options, group: `bench-${i}-${round}` }, python.python));
      } catch (error) {
        console.error(`\n${peer} failed: ${error.stderr ?? error.message}`);
        process.exitCode = 1;
      }
    }
  }
  process.stderr.write('\r\x1b[K');
  const [base] = results.map(medians);
  return [
    { title, unit },
    ...peers.flatMap(({ name: peer, want, best }, i) =>
      results[i].length === 0 ? [] : [{ peer, unit, want, best, base, ...medians(results[i]), all: results[i] }],
    ),
  ];
}

function medians(answers) {
  const names = Object.keys(answers[0] ?? {});
  const middle = (numbers) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1];
  return Object.fromEntries(names.map((name) => [name, middle(answers.map((answer) => answer[name]))]));
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
  const { stdout } = await promisify(execFile)(command, args, { env: { ...process.env, ...env }, timeout: 600_000 });
  return JSON.parse(stdout.trim().split('\n').at(-1));
}

async function perfTest(_, { topic, count }) {
  const settings = ['acks=all', 'linger.ms=5', `bootstrap.servers=${process.env.KAFKA_BROKERS}`];
  const args = ['--topic', topic, '--num-records', count, '--record-size', 300, '--throughput', -1];
  const output = await kafkaTool('org.apache.kafka.tools.ProducerPerformance', [
    ...args.map(String),
    '--producer-props',
    ...settings,
  ]);
  const rates = [...output.matchAll(/ records sent, ([\d.]+) records\/sec/g)].map(([, rate]) => Number(rate));
  return { perSecond: rates.at(-1) };
}

// ---- the table

function print(rows) {
  console.log(
    `Node ${process.versions.node}, kafkajs ${version('kafkajs')}, ${ROUNDS} rounds, medians (lowest to highest)`,
  );
  for (const row of rows) console.log(row.title ? `\n${row.title.padEnd(50)}${COLUMNS[row.unit]}` : line(row));
}

const COLUMNS = {
  perSecond: '  events/s             µs CPU each   ours is',
  latency: '    p50 ms    p99 ms    max ms      p50 of ours is',
  percent: '  % of a core          ours is',
};

function line({ peer, unit, base, want, best, all, ...figures }) {
  const name = `  ${peer}`.padEnd(50);
  if (unit === 'latency') {
    const cells = [figures.p50, figures.p99, figures.max].map((ms) => ms.toFixed(2).padStart(10)).join('');
    const limit =
      best && `${verdict(figures.p50 <= best.p50 && figures.p99 <= best.p99)} want ≤ ${best.p50} and ≤ ${best.p99}`;
    return `${name}${cells}      ${limit ?? times(figures.p50 / base.p50, want)}`;
  }
  const range = (format) => {
    const values = all.map((one) => one[unit]).sort((a, b) => a - b);
    return `${format(figures[unit])} (${format(values[0])}–${format(values.at(-1))})`;
  };
  if (unit === 'percent') {
    const limit = best && `${verdict(figures.percent <= best.percent)} want ≤ ${best.percent}`;
    return `${name}${range((n) => n.toFixed(2)).padEnd(23)}${limit ?? times(figures.percent / base.percent, want)}`;
  }
  const cpu = figures.cpuUs === undefined ? '' : figures.cpuUs.toFixed(1);
  const ratio = base.perSecond === figures.perSecond ? '' : times(base.perSecond / figures.perSecond, want);
  return `${name}${range((n) => Math.round(n).toLocaleString('en')).padEnd(27)}${cpu.padStart(7)}   ${ratio}`;
}

const verdict = (isMet) => (isMet ? 'met,' : 'MISSED,');
const times = (ratio, want) =>
  `${ratio.toFixed(ratio < 10 ? 2 : 1)}×${want === undefined ? '' : ` (${verdict(ratio >= want)} want ≥ ${want}×)`}`;

function version(name) {
  return createRequire(import.meta.resolve('@event-bus/kafka'))(`${name}/package.json`).version;
}

if (flags.help) help();
else await main(chosen());
