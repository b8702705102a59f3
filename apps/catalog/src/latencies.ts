import { Injectable } from '@nestjs/common';

/** From event to handled, of the last few thousand changes of this process. */
@Injectable()
export class Latencies {
  readonly #last: number[] = [];
  #measured = 0;
  #handled = 0;

  /** A delivery was handled; `ms` is left out when it brought nothing new. */
  add(ms?: number): void {
    if (ms !== undefined) this.#last[this.#measured++ % KEPT] = ms;
    this.#handled++;
  }

  /** `null` as long as nothing was measured. */
  summary(): { handled: number; p50Ms: number | null; p99Ms: number | null } {
    const sorted = this.#last.toSorted((a, b) => a - b);
    const at = (share: number) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? null;
    return { handled: this.#handled, p50Ms: at(0.5), p99Ms: at(0.99) };
  }
}

const KEPT = 4_096;
