/**
 * Stands between clients and real brokers, and reads along: it loses one answer after the broker has done what it was asked for. Where the
 * brokers tell their addresses, those of the proxy are written over them, so that a client stays behind it.
 */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { addressesOf, type KafkaServers } from './broker.js';

export interface WireProxy {
  readonly addresses: readonly string[];
  /** Loses the next answer to a Produce request; the connection stays. Resolves when it is lost: what was sent is stored by then. */
  loseProduceAnswer(): Promise<void>;
  close(): Promise<void>;
}

// https://kafka.apache.org/protocol.html#protocol_api_keys
const PRODUCE = 0;
const METADATA = 3;
const FIND_COORDINATOR = 10;

export async function wireProxy(servers: KafkaServers): Promise<WireProxy> {
  const losses: (() => void)[] = [];
  const sockets = new Set<Socket>();
  /** What a broker says of where it is, and what it is to say. */
  const names: (readonly [own: Buffer, ours: Buffer])[] = [];

  function accept(client: Socket, broker: Socket): void {
    /** By correlation id, what the open requests of this connection are. */
    const asked = new Map<number, number>();
    for (const [socket, other] of [
      [client, broker],
      [broker, client],
    ] as const) {
      sockets.add(socket);
      socket.setNoDelay(true).on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
    eachFrame(client, (frame) => {
      asked.set(frame.readInt32BE(8), frame.readInt16BE(4));
      broker.write(frame);
    });
    eachFrame(broker, (frame) => {
      const id = frame.readInt32BE(4);
      const api = asked.get(id);
      asked.delete(id);
      const lose = api === PRODUCE ? losses.shift() : undefined;
      if (lose) return lose();
      if (api === METADATA || api === FIND_COORDINATOR) rename(frame);
      client.write(frame);
    });
  }

  function rename(frame: Buffer): void {
    for (const [own, ours] of names) {
      for (let at = frame.indexOf(own); at >= 0; at = frame.indexOf(own, at + own.length)) ours.copy(frame, at);
    }
  }

  const open: Server[] = [];
  for (const { host, port } of servers.brokers) {
    const server = createServer((client) => accept(client, connect({ host, port }))).listen(0, host);
    await once(server, 'listening');
    names.push([addressBytes(host, port), addressBytes(host, portOf(server))]);
    open.push(server);
  }

  return {
    addresses: addressesOf(servers).map((_, i) => `${servers.brokers[i]!.host}:${portOf(open[i]!)}`),
    loseProduceAnswer: () => new Promise((resolve) => losses.push(resolve)),
    async close() {
      for (const socket of sockets) socket.destroy();
      await Promise.all(open.map((server) => new Promise((resolve) => server.close(resolve))));
    },
  };
}

/** Four bytes of length, and what they count. */
function eachFrame(from: Socket, take: (frame: Buffer) => void): void {
  let rest: Buffer = Buffer.alloc(0);
  from.on('data', (data: Buffer) => {
    rest = Buffer.concat([rest, data]);
    while (rest.length >= 4 && rest.length >= 4 + rest.readInt32BE(0)) {
      const end = 4 + rest.readInt32BE(0);
      // A copy: answers are changed.
      take(Buffer.from(rest.subarray(0, end)));
      rest = rest.subarray(end);
    }
  });
}

const portOf = (server: Server) => (server.address() as AddressInfo).port;

/** As in the answers of these versions: a string with its length, and a port of four bytes. */
function addressBytes(host: string, port: number): Buffer {
  const bytes = Buffer.alloc(2 + host.length + 4);
  bytes.writeInt16BE(host.length, 0);
  bytes.write(host, 2);
  bytes.writeInt32BE(port, 2 + host.length);
  return bytes;
}
