/** One timeout for many waits: no timer each, as most of them end in time. */
import { isolated } from "../../faults.ts";
import { Linked, LinkedList } from "../../linked_list.ts";

/** A wait that has not ended. */
export class Wait extends Linked<Wait> {
  readonly startMs: number;
  readonly expired: () => void;

  constructor(startMs: number, expired: () => void) {
    super();
    this.startMs = startMs;
    this.expired = expired;
  }
}

/**
 * How often waits with this timeout are looked at: 20 times, or each second. A timer that runs on for
 * longer with nothing to wait for would hold up the end of a process.
 */
export function checkEveryMs(timeoutMs: number): number {
  return Math.min(timeoutMs / 20, 1_000);
}

/** Waits that all have the same timeout, so the oldest is always the first to expire. */
export class Deadlines {
  readonly #timeoutMs: number;
  readonly #nowMs: () => number;
  readonly #waits = new LinkedList<Wait>();
  #timer: ReturnType<typeof setInterval> | undefined;

  /** @param timeoutMs Expires a wait after this long, or a little later; 0 for never. */
  constructor(timeoutMs: number, nowMs: () => number = () => performance.now()) {
    this.#timeoutMs = timeoutMs;
    this.#nowMs = nowMs;
  }

  /** Begins a wait. `expired` is called once unless it is ended before. */
  begin(expired: () => void): Wait | undefined {
    if (this.#timeoutMs === 0) return undefined;
    const wait = new Wait(this.#nowMs(), expired);
    this.#waits.add(wait);
    this.#timer ??= setInterval(() => this.check(), checkEveryMs(this.#timeoutMs));
    return wait;
  }

  /** Ends a wait in time. */
  end(wait: Wait | undefined): void {
    if (wait) this.#waits.remove(wait);
  }

  /** Expires what is due; the timer calls it, and stops when nobody waits. */
  check(): void {
    const limit = this.#nowMs() - this.#timeoutMs;
    for (let wait = this.#waits.first; wait; wait = this.#waits.first) {
      if (wait.startMs > limit) return;
      this.#waits.remove(wait);
      isolated("request", wait.expired);
    }
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
