/** How long a worker that has ended waits to be started again. */

/** All in milliseconds. */
const firstMs = 100;
const longestMs = 30_000;
/** How long a worker must run for its next end to count as its first, in milliseconds. */
const steadyMs = 60_000;

/** Doubles from one end to the next, as long as they follow each other soon. */
export class RestartDelay {
  readonly #nowMs: () => number;
  #startedMs = 0;
  #nextMs = firstMs;

  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  /** The worker has been started. */
  started(): void {
    this.#startedMs = this.#nowMs();
  }

  /** It has ended. @returns how long to wait */
  next(): number {
    if (this.#nowMs() - this.#startedMs >= steadyMs) this.#nextMs = firstMs;
    const delayMs = this.#nextMs;
    this.#nextMs = Math.min(2 * delayMs, longestMs);
    return delayMs;
  }
}
