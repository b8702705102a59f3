import net from 'node:net';
import tls from 'node:tls';
import type { ISocketFactory } from 'kafkajs';

/**
 * Opens a connection as kafkajs does, and switches Nagle's algorithm off: with it, a request behind another one waits for the
 * acknowledgement of the first. Brokers close connections that are idle for ten minutes; keep-alive does not change that, it finds dead peers.
 */
export const openSocket: ISocketFactory = ({ host, port, ssl, onConnect }) => {
  const socket = ssl
    ? tls.connect({ host, port, ...serverName(host), ...ssl }, onConnect)
    : net.connect({ host, port }, onConnect);
  return socket.setNoDelay(true).setKeepAlive(true, KEEP_ALIVE_MS);
};

// Hosted Kafka finds the cluster by this name; for an address TLS does not allow one. The user's own `servername` comes after it.
const serverName = (host: string) => (net.isIP(host) ? {} : { servername: host });

const KEEP_ALIVE_MS = 60_000;
