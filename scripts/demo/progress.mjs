const EVERY_MS = { terminal: 100, log: 5_000 };
const WIDTH = 30;

/**
 * A bar in a terminal, a line every few seconds elsewhere; both on standard error.
 *
 * @param {string} what
 * @param {number} total
 */
export function progressBar(what, total) {
  const { stderr } = process;
  const startedAt = Date.now();
  let done = 0;
  const show = () => {
    const share = total === 0 ? 1 : done / total;
    const rate = Math.round((done / Math.max(1, Date.now() - startedAt)) * 1_000);
    const figures = `${done.toLocaleString()} of ${total.toLocaleString()}, ${rate.toLocaleString()}/s`;
    const bar = '█'.repeat(Math.round(share * WIDTH)).padEnd(WIDTH, '░');
    stderr.write(stderr.isTTY ? `\r${what.padEnd(16)} ${bar} ${figures}  ` : `${what} ${figures}\n`);
  };
  const timer = setInterval(show, stderr.isTTY ? EVERY_MS.terminal : EVERY_MS.log);
  return {
    add() {
      done++;
    },
    end() {
      clearInterval(timer);
      show();
      if (stderr.isTTY) stderr.write('\n');
    },
  };
}
