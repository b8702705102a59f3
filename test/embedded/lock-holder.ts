import { once } from 'node:events';
import { spawn } from 'node:child_process';

export interface LockHolder {
  readonly pid: number;
  letGo(): Promise<void>;
}

/** Another process takes the log's write lock and keeps it until it is told to let go. */
export async function holdLock(path: string): Promise<LockHolder> {
  const holder = spawn(process.execPath, [new URL('./fixtures/lock-holder.mjs', import.meta.url).pathname, path], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(holder, 'exit');
  await once(holder.stdout, 'data');
  return {
    pid: holder.pid!,
    async letGo() {
      holder.kill('SIGKILL');
      await exited;
    },
  };
}
