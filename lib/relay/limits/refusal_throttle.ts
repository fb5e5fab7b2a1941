/** When requests over a limit are answered: whoever asks again at once must not keep the relay busy. */
import { RateLimit } from "./rate_limit.ts";

/** Refusals in a second that are answered at once, over all clusters. */
export const promptPerSecond = 100;
/** How long the others wait, in milliseconds. */
export const refusalDelayMs = 1_000;
/** Refusals that wait at a time. What comes on top is answered at once: its place would cost more. */
export const maxWaitingRefusals = 1_024;

/** Delays refusals in a storm, and so the next requests of callers that wait for their answers. */
export class RefusalThrottle {
  readonly #prompt: RateLimit;
  readonly #after: (send: () => void, ms: number) => void;
  #waiting = 0;

  constructor(
    nowMs: () => number = () => performance.now(),
    after: (send: () => void, ms: number) => void = setTimeout,
  ) {
    this.#prompt = new RateLimit(promptPerSecond, nowMs);
    this.#after = after;
  }

  /** Calls `send` once, now or later. */
  take(send: () => void): void {
    if (this.#prompt.admits() || this.#waiting >= maxWaitingRefusals) return send();
    this.#waiting++;
    this.#after(() => {
      this.#waiting--;
      send();
    }, refusalDelayMs);
  }
}
