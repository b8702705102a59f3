import { isIPv6 } from 'node:net';
import { UsageError } from './command.mjs';

/** What the services listen on, as the environment says. */
export const host = process.env.HOST || '127.0.0.1';

/**
 * @param {string} variable of the environment
 * @param {number} fallback
 * @param {{ least?: 0 | 1 }} [limits] 0, any free port, is for whoever starts the service
 */
export function portOf(variable, fallback, { least = 0 } = {}) {
  const text = process.env[variable] || String(fallback);
  const port = Number(text);
  if (/^\d+$/.test(text) && port >= least && port <= 65_535) return port;
  throw new UsageError(`${variable} must be a port between ${least} and 65535, got "${text}".`);
}

/**
 * Where a service that listens on a port of `host` is reached from this machine.
 *
 * @param {number} port
 */
export function urlOf(port) {
  const reached = { '0.0.0.0': '127.0.0.1', '::': '::1' }[host] ?? host;
  return `http://${isIPv6(reached) ? `[${reached}]` : reached}:${port}`;
}
