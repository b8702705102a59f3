import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** The same clock in all processes of a machine. */
export const nowMs = () => Number(process.hrtime.bigint()) / 1e6;

/** Starts a process of the benchmark's own and waits until it says that it is ready. */
export async function startOther(url, ...args) {
  const child = fork(fileURLToPath(url), args.map(String));
  /** What it says next. */
  const heard = () =>
    new Promise((resolve, reject) => {
      const ended = (code) => reject(new Error(`the other process ended with ${code}`));
      child.once('exit', ended);
      child.once('message', (message) => {
        child.off('exit', ended);
        resolve(message);
      });
    });
  await heard();
  return {
    heard,
    tell: (message) => child.send(message),
    end: () => child.disconnect(),
    /** Milliseconds from the beginning of `act` until it says that what `act` sent is there, at about 200 a second. */
    async arrival(act) {
      const answer = heard();
      const sent = nowMs();
      await act();
      const ms = (await answer) - sent;
      await new Promise((resolve) => setTimeout(resolve, 5));
      return ms;
    },
  };
}
