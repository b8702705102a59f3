/**
 * The time for a row that was last changed at `previous`: now, or one microsecond after `previous` where the clock has
 * not moved on or went back. Always with six digits, so that the order of the texts is the order of the times.
 */
export function timeAfter(previous: string | undefined, nowMs: number): string {
  const now = BigInt(nowMs) * 1000n;
  const least = previous === undefined ? now : microseconds(previous) + 1n;
  return text(now > least ? now : least);
}

/** Of a text that `timeAfter` made. */
function microseconds(time: string): bigint {
  return BigInt(Date.parse(`${time.slice(0, 19)}Z`)) * 1000n + BigInt(time.slice(20, 26));
}

function text(time: bigint): string {
  const second = new Date(Number(time / 1000n)).toISOString().slice(0, 19);
  return `${second}.${String(time % 1_000_000n).padStart(6, '0')}+00:00`;
}
