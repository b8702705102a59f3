import { once } from 'node:events';
import { spawn } from 'node:child_process';

/** Another process takes the log's write lock and keeps it; the answer lets it go. */
export async function holdLock(path: string): Promise<() => Promise<void>> {
  const holder = spawn(process.execPath, [new URL('./fixtures/lock-holder.mjs', import.meta.url).pathname, path], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(holder.stdout, 'data');
  return async () => {
    const exited = once(holder, 'exit');
    holder.kill('SIGKILL');
    await exited;
  };
}
