import net from 'node:net';
import { expect, it, vi } from 'vitest';
import { openSocket } from './socket.js';

it('connects without Nagle, and keeps the connection alive', async () => {
  const server = net.createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const noDelay = vi.spyOn(net.Socket.prototype, 'setNoDelay');
  const keepAlive = vi.spyOn(net.Socket.prototype, 'setKeepAlive');
  const { port } = server.address() as net.AddressInfo;
  const socket = await new Promise<net.Socket>((resolve) => {
    const opened = openSocket({ host: '127.0.0.1', port, ssl: undefined as never, onConnect: () => resolve(opened) });
  });
  expect(noDelay).toHaveBeenCalledWith(true);
  expect(keepAlive).toHaveBeenCalledWith(true, 60_000);
  socket.destroy();
  server.close();
  vi.restoreAllMocks();
});
