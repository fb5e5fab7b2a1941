/** A bound on what happens at once. */

/** A semaphore: runs a bounded number at a time; others wait in turn. */
export class Slots {
  readonly #max: number;
  readonly #waiting: (() => void)[] = [];
  #taken = 0;

  constructor(max: number) {
    this.#max = max;
  }

  /** Runs something once there is room. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#taken >= this.#max) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else {
      this.#taken++;
    }
    try {
      return await work();
    } finally {
      // The place goes to whoever waits longest.
      const next = this.#waiting.shift();
      if (next) next();
      else this.#taken--;
    }
  }
}
