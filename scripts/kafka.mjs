import { UsageError, runCommand } from './command.mjs';
import { startKafka } from './servers/kafka.mjs';
import { startRegistry } from './servers/registry.mjs';

const HELP = `npm run kafka [-- --brokers 3]

Starts Apache Kafka and a schema registry on free ports, prints the environment that leads to them, and runs until
Ctrl-C. Nothing is kept. KAFKA_BROKERS or SCHEMA_REGISTRY_URL, where set, are used instead; else Docker, else Java.

  --brokers <n>  brokers of the cluster, 1 by default
  --help         this text`;

await runCommand(HELP, { options: { brokers: { type: 'string', default: '1' } } }, ({ values }) => {
  const brokers = Number(values.brokers);
  if (Number.isInteger(brokers) && brokers > 0) return run(brokers);
  throw new UsageError(`--brokers must be a positive integer, got "${values.brokers}".`);
});

/** @param {number} brokers */
async function run(brokers) {
  const asked = new Promise((resolve) =>
    ['SIGINT', 'SIGTERM', 'SIGHUP'].forEach((name) => process.once(name, resolve)),
  );
  const started = Date.now();
  console.log(`starting Kafka (${brokers} ${brokers === 1 ? 'broker' : 'brokers'}) and a schema registry`);
  const up = Promise.all([startKafka({ brokers, log: console.log }), startRegistry({ log: console.log })]);
  const servers = await Promise.race([up, asked.then(() => undefined)]);
  if (!servers) process.exit(130); // the guards end what has been started so far
  const [kafka, registry] = servers;
  if (kafka.missing === undefined && registry.missing === undefined) {
    console.log(`ready after ${((Date.now() - started) / 1000).toFixed(1)} s`);
    for (const { logs } of [kafka, registry]) if (logs) console.log(`logs: ${logs}`);
    console.log(
      `\nexport KAFKA_BROKERS=${kafka.env.KAFKA_BROKERS} SCHEMA_REGISTRY_URL=${registry.env.SCHEMA_REGISTRY_URL}`,
    );
    const stayAlive = setInterval(() => {}, 2 ** 30);
    await asked;
    clearInterval(stayAlive);
    console.log('stopping');
  }
  for (const server of servers) if (server.missing === undefined) await server.stop();
  const missing = new Set(servers.flatMap((server) => server.missing ?? []));
  if (missing.size > 0) throw new Error([...missing].join('\n'));
}
