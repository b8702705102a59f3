/**
 * A bad network between a client and a server on this machine: latency, throttling, black holes, lost answers, cut connections. The client
 * is pointed at `host` and `port` of the proxy; of Kafka, whose clients go where the broker sends them, `advertised.listeners` as well.
 */
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

export interface TcpProxyOptions {
  /** Where the server is. */
  readonly host: string;
  readonly port: number;
  /** Port to listen on. Default: a free one. */
  readonly listenPort?: number;
}

/** Both directions, or one: the other goes on. */
export type Direction = 'both' | 'to server' | 'to client';

export interface TcpProxy {
  readonly host: string;
  readonly port: number;
  /** Open connections through it. */
  readonly connections: number;
  /** Delays every piece of data, each way, by `ms` plus or minus up to `jitterMs`; the order stays. */
  delay(ms: number, jitterMs?: number): void;
  /** At most so many bytes a second, each way; none: no limit. */
  throttle(bytesPerSecond?: number): void;
  /** Passes data on in pieces of so many bytes; none: as it comes. */
  slice(bytes?: number): void;
  /** Breaks every connection with a reset. New ones are possible at once. */
  cut(): void;
  /** Breaks every connection, and every new one, until the function is called that it answers. */
  refuse(): () => void;
  /** Nothing passes, and nobody hears so; what was sent arrives when the function is called that it answers. */
  blackHole(direction?: Direction): () => void;
  /** Requests pass, answers are lost. When it ends, the connections that lost something are cut. */
  loseAnswers(): () => void;
  close(): Promise<void>;
}

export async function tcpProxy({ host, port, listenPort = 0 }: TcpProxyOptions): Promise<TcpProxy> {
  const pairs = new Set<Pair>();
  const weather: Weather = { delayMs: 0, jitterMs: 0, bytesPerSecond: undefined, sliceBytes: undefined };
  const holes = new Set<Direction>();
  const lifted = new Set<() => void>();
  let refusals = 0;
  let losses = 0;

  // Each direction ends by itself: what is still on its way in the other one arrives.
  const server = createServer({ allowHalfOpen: true }, (client) => {
    if (refusals > 0) return void client.resetAndDestroy();
    const pair: Pair = { client, upstream: connect({ port, host, allowHalfOpen: true }), hasLost: false };
    pairs.add(pair);
    const breakOff = () => {
      client.destroy();
      pair.upstream.destroy();
    };
    const closed = () => {
      if (client.destroyed && pair.upstream.destroyed) pairs.delete(pair);
      wakeAll();
    };
    for (const socket of [client, pair.upstream]) {
      socket.setNoDelay(true);
      // A broken connection is what this is for; the other side hears of it by its own.
      socket.on('error', breakOff);
      socket.on('close', closed);
    }
    pass(client, pair.upstream, 'to server');
    pass(pair.upstream, client, 'to client', () => {
      if (losses > 0) pair.hasLost = true;
      return losses > 0;
    });
  });

  /** Copies one direction, in order, under the weather of the moment. Holds little: the source waits while the other side is slow. */
  function pass(from: Socket, to: Socket, direction: Direction, isLost: () => boolean = () => false): void {
    const waiting: { readonly data: Buffer | undefined; readonly due: number }[] = [];
    let waitingBytes = 0;
    let lastDue = 0;
    let isRunning = false;
    const push = (data: Buffer | undefined) => {
      const jitter = weather.jitterMs * (2 * Math.random() - 1);
      lastDue = Math.max(lastDue, performance.now() + Math.max(0, weather.delayMs + jitter));
      waiting.push({ data, due: lastDue });
      waitingBytes += data?.length ?? 0;
      if (waitingBytes > HELD_BYTES) from.pause();
      if (!isRunning) void run();
    };
    const run = async () => {
      isRunning = true;
      for (let next = waiting.shift(); next !== undefined && !to.destroyed; next = waiting.shift()) {
        if (next.due > performance.now()) await sleep(next.due - performance.now());
        while (isInHole(direction) && !to.destroyed) await new Promise<void>((resolve) => lifted.add(resolve));
        if (next.data === undefined) to.end();
        else await write(to, next.data);
        waitingBytes -= next.data?.length ?? 0;
        if (waitingBytes <= HELD_BYTES) from.resume();
      }
      isRunning = false;
    };
    from.on('data', (data) => void (isLost() || push(data)));
    from.on('end', () => push(undefined));
  }

  async function write(to: Socket, data: Buffer): Promise<void> {
    const size = weather.sliceBytes ?? data.length;
    for (let at = 0; at < data.length && !to.destroyed; at += size) {
      const piece = data.subarray(at, at + size);
      if (weather.bytesPerSecond !== undefined) await sleep((1_000 * piece.length) / weather.bytesPerSecond);
      if (!to.write(piece)) {
        await new Promise<void>((resolve) => {
          to.once('drain', resolve);
          to.once('close', resolve);
        });
      }
    }
  }

  function wakeAll(): void {
    for (const wake of lifted) wake();
    lifted.clear();
  }

  const isInHole = (direction: Direction) => holes.has('both') || holes.has(direction);
  const cut = () => pairs.forEach(reset);

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(listenPort, '127.0.0.1', resolve);
  });

  return {
    host: '127.0.0.1',
    port: (server.address() as AddressInfo).port,
    get connections() {
      return pairs.size;
    },
    delay: (ms, jitterMs = 0) => void Object.assign(weather, { delayMs: ms, jitterMs }),
    throttle: (bytesPerSecond) => void Object.assign(weather, { bytesPerSecond }),
    slice: (bytes) => void Object.assign(weather, { sliceBytes: bytes }),
    cut,
    refuse() {
      refusals++;
      cut();
      return once(() => refusals--);
    },
    blackHole(direction = 'both') {
      holes.add(direction);
      return once(() => {
        holes.delete(direction);
        wakeAll();
      });
    },
    loseAnswers() {
      losses++;
      return once(() => {
        losses--;
        pairs.forEach((pair) => pair.hasLost && reset(pair));
      });
    },
    close() {
      cut();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

interface Pair {
  readonly client: Socket;
  readonly upstream: Socket;
  /** An answer is missing: nothing after it could be understood. */
  hasLost: boolean;
}

interface Weather {
  delayMs: number;
  jitterMs: number;
  bytesPerSecond: number | undefined;
  sliceBytes: number | undefined;
}

// What one direction of one connection may hold.
const HELD_BYTES = 1_000_000;

function reset({ client, upstream }: Pair): void {
  client.resetAndDestroy();
  upstream.resetAndDestroy();
}

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

function once(act: () => void): () => void {
  let isDone = false;
  return () => {
    if (isDone) return;
    isDone = true;
    act();
  };
}
