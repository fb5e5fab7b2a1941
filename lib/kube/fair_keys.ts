/** Keys that wait for a worker. Groups take turns, and each has a bounded share of the workers. */

/** How keys are grouped. */
export interface FairKeysOptions {
  readonly groupOf: (key: string) => string;
  /** Keys of one group that are worked on at once. */
  readonly maxPerGroup: number;
}

/** A set of keys, and how many of each group are worked on. */
export class FairKeys {
  readonly #options: FairKeysOptions;
  /** The waiting keys of each group, in the order of the groups' turns; no group is empty. */
  readonly #waiting = new Map<string, Set<string>>();
  /** The number of running keys of each group; none is 0. */
  readonly #running = new Map<string, number>();
  #size = 0;

  constructor(options: FairKeysOptions) {
    this.#options = options;
  }

  /** Keys that wait. */
  get size(): number {
    return this.#size;
  }

  /** Those of them that wait because their group has its share of the workers. */
  get heldBack(): number {
    let count = 0;
    for (const [group, keys] of this.#waiting) if (!this.#mayRun(group)) count += keys.size;
    return count;
  }

  add(key: string): void {
    const group = this.#options.groupOf(key);
    const keys = this.#waiting.get(group) ?? new Set();
    if (keys.has(key)) return;
    keys.add(key);
    this.#size++;
    this.#waiting.set(group, keys);
  }

  /** Takes the next key for a worker; undefined if none may be worked on now. */
  take(): string | undefined {
    for (const [group, keys] of this.#waiting) {
      if (!this.#mayRun(group)) continue;
      const [key] = keys as unknown as [string];
      keys.delete(key);
      this.#size--;
      // Its next key has its turn after those of all others.
      this.#waiting.delete(group);
      if (keys.size > 0) this.#waiting.set(group, keys);
      this.#running.set(group, this.#runningOf(group) + 1);
      return key;
    }
    return undefined;
  }

  /** A key that was taken is not worked on any more. */
  done(key: string): void {
    const group = this.#options.groupOf(key);
    const left = this.#runningOf(group) - 1;
    if (left > 0) this.#running.set(group, left);
    else this.#running.delete(group);
  }

  /** Forgets the keys that wait. */
  clear(): void {
    this.#waiting.clear();
    this.#size = 0;
  }

  #runningOf(group: string): number {
    return this.#running.get(group) ?? 0;
  }

  #mayRun(group: string): boolean {
    return this.#runningOf(group) < this.#options.maxPerGroup;
  }
}
