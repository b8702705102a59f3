/**
 * How long a catalogue did not have what authors had written: for each edit the time until the catalogue showed that
 * state of the course, or a later one. A state that was never shown, because a later one came first, is *skipped*.
 */
export class Staleness {
  /** @type {Map<string, string[]>} times of the edits that are not shown yet, by course */
  #waiting = new Map();
  /** @type {Map<string, { time: string, atMs: number }>} the state that is shown, and since when */
  #shown = new Map();
  /** @type {number[]} */
  #ages = [];
  skipped = 0;

  /**
   * @param {string} key
   * @param {string} time of the row, which rises with each edit
   */
  edited(key, time) {
    const shown = this.#shown.get(key);
    // The catalogue may be quicker than the answer to whoever wrote.
    if (shown && shown.time >= time) return this.#settle(time, shown);
    const waiting = this.#waiting.get(key);
    if (waiting) waiting.push(time);
    else this.#waiting.set(key, [time]);
  }

  /**
   * @param {string} key
   * @param {string} time
   */
  shows(key, time, atMs = Date.now()) {
    const before = this.#shown.get(key);
    if (before && before.time >= time) return;
    const shown = { time, atMs };
    this.#shown.set(key, shown);
    const waiting = this.#waiting.get(key) ?? [];
    for (const edit of waiting) if (edit <= time) this.#settle(edit, shown);
    const later = waiting.filter((edit) => edit > time);
    if (later.length > 0) this.#waiting.set(key, later);
    else this.#waiting.delete(key);
  }

  /** Edits that the catalogue does not show. */
  get missing() {
    return [...this.#waiting.values()].reduce((sum, times) => sum + times.length, 0);
  }

  /** @param {number} share */
  quantile(share) {
    const sorted = this.#ages.toSorted((a, b) => a - b);
    return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
  }

  /**
   * @param {string} edit
   * @param {{ time: string, atMs: number }} shown
   */
  #settle(edit, shown) {
    this.#ages.push(Math.max(0, shown.atMs - Date.parse(edit)));
    if (shown.time > edit) this.skipped++;
  }
}
