import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { tcpProxy } from './tcp-proxy.js';

/** An echo behind a proxy. */
async function setup() {
  const sockets = new Set<Socket>();
  const heard: Buffer[] = [];
  const echo = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('data', (data) => {
      heard.push(data);
      socket.write(data);
    });
    socket.on('end', () => socket.end());
  });
  await once(echo.listen(0, '127.0.0.1'), 'listening');
  const proxy = await tcpProxy({ host: '127.0.0.1', port: (echo.address() as AddressInfo).port });
  onTestFinished(async () => {
    await proxy.close();
    for (const socket of sockets) socket.destroy();
    echo.close();
  });
  const open = async () => {
    const socket = connect(proxy.port, proxy.host);
    const got: Buffer[] = [];
    let isClosed = false;
    socket.on('error', () => {});
    socket.on('close', () => (isClosed = true));
    socket.on('data', (data) => got.push(data));
    await once(socket, 'connect');
    onTestFinished(() => void socket.destroy());
    return {
      socket,
      text: () => Buffer.concat(got).toString(),
      bytes: () => Buffer.concat(got),
      isClosed: () => isClosed,
    };
  };
  return { proxy, open, heard: () => Buffer.concat(heard).toString() };
}

const soon = { timeout: 5_000, interval: 5 };
const pause = () => new Promise((resolve) => setTimeout(resolve, 60));

test('what is sent arrives whole and in order, also sliced, delayed with jitter and throttled', async () => {
  const { proxy, open } = await setup();
  proxy.delay(3, 3);
  proxy.slice(1_500);
  proxy.throttle(20_000_000);
  const client = await open();
  const sent = Buffer.from(Array.from({ length: 300_000 }, (_, n) => (n * 7) % 251));

  for (let at = 0; at < sent.length; at += 10_000) client.socket.write(sent.subarray(at, at + 10_000));
  client.socket.end();

  await expect.poll(() => client.bytes().length, soon).toBe(sent.length);
  expect(client.bytes().equals(sent)).toBe(true);
  await expect.poll(() => client.isClosed(), soon).toBe(true);
  await expect.poll(() => proxy.connections, soon).toBe(0);
});

test('a delay holds each way', async () => {
  const { proxy, open } = await setup();
  const client = await open();
  proxy.delay(40);
  const before = performance.now();
  client.socket.write('hello');
  await expect.poll(() => client.text(), soon).toBe('hello');
  expect(performance.now() - before).toBeGreaterThan(75);
});

test('a cut breaks every connection, and new ones are possible', async () => {
  const { proxy, open } = await setup();
  const [one, other] = [await open(), await open()];
  await expect.poll(() => proxy.connections, soon).toBe(2);

  proxy.cut();

  await expect.poll(() => one.isClosed() && other.isClosed(), soon).toBe(true);
  const again = await open();
  again.socket.write('again');
  await expect.poll(() => again.text(), soon).toBe('again');
});

test('while refused, new connections are broken', async () => {
  const { proxy, open } = await setup();
  const restore = proxy.refuse();
  const client = await open().catch(() => undefined);
  if (client !== undefined) await expect.poll(() => client.isClosed(), soon).toBe(true);
  restore();
  const again = await open();
  again.socket.write('again');
  await expect.poll(() => again.text(), soon).toBe('again');
});

test('in a black hole nothing passes and nothing is lost', async () => {
  const { proxy, open, heard } = await setup();
  const client = await open();
  const lift = proxy.blackHole();
  client.socket.write('hello');
  await pause();
  expect([heard(), client.text(), client.isClosed()]).toEqual(['', '', false]);

  lift();
  await expect.poll(() => client.text(), soon).toBe('hello');
});

test('a black hole may swallow one direction', async () => {
  const { proxy, open, heard } = await setup();
  const client = await open();
  const lift = proxy.blackHole('to client');
  client.socket.write('hello');
  await expect.poll(heard, soon).toBe('hello');
  await pause();
  expect(client.text()).toBe('');
  lift();
  await expect.poll(() => client.text(), soon).toBe('hello');
});

test('a lost answer: the request arrives, the answer never, and the connection is cut at the end', async () => {
  const { proxy, open, heard } = await setup();
  const [victim, idle] = [await open(), await open()];
  const end = proxy.loseAnswers();
  victim.socket.write('hello');
  await expect.poll(heard, soon).toBe('hello');
  await pause();
  expect(victim.text()).toBe('');

  end();
  await expect.poll(() => victim.isClosed(), soon).toBe(true);
  idle.socket.write('still here');
  await expect.poll(() => idle.text(), soon).toBe('still here');
  expect(victim.text()).toBe('');
});
