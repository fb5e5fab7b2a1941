/** Who uses a piece of memory that several have a part of. */
import { freeCallback } from "./bytes.ts";

/** Calls back once nobody uses something any more. Whoever makes it is its first user. */
export class Shares {
  #users = 1;
  readonly #unused: () => void;

  /** @param unused Called once, by the last user's release. */
  constructor(unused: () => void) {
    this.#unused = unused;
  }

  /** The shares of an array's memory; undefined where {@link freeCallback} has none for it. */
  static of(bytes: Uint8Array): Shares | undefined {
    const free = freeCallback(bytes);
    return free && new Shares(free);
  }

  /** Adds a user. One that never releases its share leaves the memory to the garbage collector. */
  take(): () => void {
    this.#users++;
    let isReleased = false;
    return () => {
      if (isReleased) return;
      isReleased = true;
      this.release();
    };
  }

  /** Adds a user that does not say when it is done. */
  keep(): void {
    this.#users++;
  }

  /** The first user is done. */
  release(): void {
    this.#users--;
    if (this.#users === 0) this.#unused();
  }
}
