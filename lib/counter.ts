/** Counts of what is open, which no way of ending can leave too high or too low. */

/** How many of something there are at once. */
export class Counter {
  #count = 0;
  readonly #emptied: (() => void) | undefined;

  /** @param emptied Called whenever the last one has gone. */
  constructor(emptied?: () => void) {
    this.#emptied = emptied;
  }

  /** How many there are now. */
  get count(): number {
    return this.#count;
  }

  /** Counts one more, until its place is given back. */
  take(): Place {
    this.#count++;
    return new Place(() => {
      this.#count--;
      if (this.#count === 0) this.#emptied?.();
    });
  }
}

/** One of those that are counted. It is given back once, however often that is asked for. */
export class Place implements Disposable {
  #giveBack: (() => void) | undefined;

  constructor(giveBack: () => void) {
    this.#giveBack = giveBack;
  }

  /** It is open no more. */
  release(): void {
    const giveBack = this.#giveBack;
    this.#giveBack = undefined;
    giveBack?.();
  }

  [Symbol.dispose](): void {
    this.release();
  }
}
