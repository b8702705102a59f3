/**
 * A map of bounded size that forgets what was not used for longest, roughly: it keeps two generations, and when the young one is full the
 * old one is dropped. A hit in the young generation costs no more than in a `Map`, where a strict order would cost two writes.
 */
export class BoundedMap<K, V> {
  private young = new Map<K, V>();
  private old = new Map<K, V>();
  private weight = 0;

  /** Holds entries up to twice `limit` in weight. Without `weigh` every entry weighs 1. */
  constructor(
    private readonly limit: number,
    private readonly weigh: (value: V) => number = () => 1,
  ) {}

  get(key: K): V | undefined {
    const value = this.young.get(key);
    if (value !== undefined) return value;
    const older = this.old.get(key);
    if (older !== undefined) this.set(key, older);
    return older;
  }

  set(key: K, value: V): void {
    if (this.weight >= this.limit) {
      this.old = this.young;
      this.young = new Map();
      this.weight = 0;
    }
    this.young.set(key, value);
    this.weight += this.weigh(value);
  }

  delete(key: K): void {
    this.young.delete(key);
    this.old.delete(key);
  }
}
