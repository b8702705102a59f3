import { execFile, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { openGuard } from './server-group.mjs';

const FILE = join(dirname(fileURLToPath(import.meta.url)), 'docker-compose.yml');

/** Whether there is a Docker engine that answers, with Compose. */
export function hasDocker() {
  return ['info', 'compose version'].every((words) => spawnSync('docker', words.split(' ')).status === 0);
}

/**
 * Starts one service of docker-compose.yml on `port`; it goes when this process goes.
 *
 * @param {'kafka' | 'registry'} service
 * @param {number} port
 * @param {(line: string) => void} log
 * @returns {Promise<import('./server-group.mjs').ServerGroup>}
 */
export async function startInDocker(service, port, log) {
  const project = `event-bus-${randomUUID().slice(0, 8)}`;
  const words = ['compose', '--project-name', project, '--file', FILE];
  const compose = async (/** @type {string[]} */ ...verb) => {
    await promisify(execFile)('docker', [...words, ...verb, service], { env: { ...process.env, PORT: String(port) } });
  };
  const guard = openGuard(['env', `PORT=${port}`, 'docker', ...words, 'down', '--volumes']);
  log(`starting ${service} in Docker; its first start fetches the image`);
  try {
    await compose('up', '--detach', '--wait');
  } catch (error) {
    await guard.close();
    throw error;
  }
  return {
    logs: `docker logs ${project}-${service}-1`,
    pid: () => undefined,
    stop: () => guard.close(),
    kill: () => compose('kill'),
    async restart() {
      await compose('stop');
      await compose('up', '--detach', '--wait');
    },
    pause: () => compose('pause'),
    resume: () => compose('unpause'),
  };
}
