/** Counts of what is open. A slot that is released twice counts once. */

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

  /** Counts one more until its slot is released. */
  acquire(): Slot {
    this.#count++;
    return new Slot(() => {
      this.#count--;
      if (this.#count === 0) this.#emptied?.();
    });
  }
}

/** One of those that are counted; released once, however often `release` is called. */
export class Slot implements Disposable {
  #onRelease: (() => void) | undefined;

  constructor(onRelease: () => void) {
    this.#onRelease = onRelease;
  }

  /** Stops counting this one. */
  release(): void {
    const onRelease = this.#onRelease;
    this.#onRelease = undefined;
    onRelease?.();
  }

  [Symbol.dispose](): void {
    this.release();
  }
}
