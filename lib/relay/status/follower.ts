/** Tells that something has changed, by looking from time to time at what is cheap to look at. */
import { isolated } from "../../faults.ts";

const lookMs = 1_000;

/** Looks until it is stopped. */
export class Follower {
  readonly stop: () => void;
  #seen: string;

  constructor(mark: () => string, changed: () => void) {
    this.#seen = mark();
    const timer = setInterval(() => {
      const now = mark();
      if (now === this.#seen) return;
      this.#seen = now;
      isolated("process", changed);
    }, lookMs);
    this.stop = () => clearInterval(timer);
  }
}
