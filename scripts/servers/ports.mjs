import { createServer } from 'node:net';

// Below the range from which systems draw the ports of outgoing connections (32768 on Linux): while a server is
// down for a restart nothing else is given its port, and a client that keeps dialling it cannot meet itself there.
const FIRST = 20_000;
const LAST = 32_000;

/**
 * Ports of 127.0.0.1 that are free now, all different. Another process may still be quicker to take one; who starts
 * a server on them must be ready to try again.
 *
 * @param {number} count
 * @returns {Promise<number[]>}
 */
export async function freePorts(count) {
  const ports = new Set();
  while (ports.size < count) {
    const port = FIRST + Math.floor(Math.random() * (LAST - FIRST));
    if (!ports.has(port) && (await isFree(port))) ports.add(port);
  }
  return [...ports];
}

/** @param {number} port */
function isFree(port) {
  return new Promise((resolve) => {
    const server = createServer()
      .once('error', () => resolve(false))
      .listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)));
  });
}
