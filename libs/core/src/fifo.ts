/** First in, first out, in constant time. */
export class Fifo<T> {
  #items: (T | undefined)[] = [];
  #head = 0;

  get size(): number {
    return this.#items.length - this.#head;
  }

  push(item: T): void {
    // A line of one is the rule, and an empty array would grow to seventeen places at once.
    if (this.#items.length === 0) this.#items = [item];
    else this.#items.push(item);
  }

  /** Puts items before the first, in their order. Costs the length of the line. */
  unshift(items: readonly T[]): void {
    this.#items = [...items, ...this.#items.slice(this.#head)];
    this.#head = 0;
  }

  /** From the first to the last, as they are now. */
  items(): T[] {
    return this.#items.slice(this.#head) as T[];
  }

  peek(): T | undefined {
    return this.#items[this.#head];
  }

  shift(): T | undefined {
    if (this.size === 0) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head++] = undefined;
    if (this.#head === this.#items.length) {
      this.#items = [];
      this.#head = 0;
    } else if (this.#head > 1_024 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  /** Takes out everything that `leaves` says yes to, and answers it. */
  remove(leaves: (item: T) => boolean): T[] {
    const gone: T[] = [];
    const stay: T[] = [];
    for (let item = this.shift(); item !== undefined; item = this.shift()) (leaves(item) ? gone : stay).push(item);
    this.#items = stay;
    return gone;
  }
}
