/** A token bucket: so many requests a second, and as many at once. */
export class RateLimit {
  readonly #perSecond: number;
  readonly #nowMs: () => number;
  readonly #capacity: number;
  #tokens: number;
  #lastMs: number;

  /** @param perSecond Requests a second; 0 for no limit. */
  constructor(perSecond: number, nowMs: () => number = () => performance.now()) {
    this.#perSecond = perSecond;
    this.#nowMs = nowMs;
    // A limit below one a second must still admit one at all.
    this.#capacity = Math.max(1, perSecond);
    this.#tokens = this.#capacity;
    this.#lastMs = nowMs();
  }

  /** Takes a token if there is one. */
  admits(): boolean {
    if (this.#perSecond === 0) return true;
    const now = this.#nowMs();
    const earned = (now - this.#lastMs) / 1000 * this.#perSecond;
    this.#tokens = Math.min(this.#capacity, this.#tokens + earned);
    this.#lastMs = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }

  /** The time until there is a token again, in milliseconds. */
  get waitMs(): number {
    return this.#tokens >= 1 ? 0 : (1 - this.#tokens) / this.#perSecond * 1000;
  }
}
