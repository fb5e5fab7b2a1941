/** One timeout for many waits: no timer each, as most of them end in time. */
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

/** How often waits are looked at, as a part of the timeout. */
const checksPerTimeout = 20;

/** Waits that all have the same timeout, so the oldest is always the first to expire. */
export class Deadlines {
  readonly #timeoutMs: number;
  readonly #nowMs: () => number;
  readonly #waits = new LinkedList<Wait>();
  #timer: ReturnType<typeof setInterval> | undefined;

  /** @param timeoutMs Expires a wait after this long, or up to a twentieth later; 0 for never. */
  constructor(timeoutMs: number, nowMs: () => number = () => performance.now()) {
    this.#timeoutMs = timeoutMs;
    this.#nowMs = nowMs;
  }

  /** Begins a wait. `expired` is called once unless it is ended before. */
  begin(expired: () => void): Wait | undefined {
    if (this.#timeoutMs === 0) return undefined;
    const wait = new Wait(this.#nowMs(), expired);
    this.#waits.add(wait);
    this.#timer ??= setInterval(() => this.check(), this.#timeoutMs / checksPerTimeout);
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
      wait.expired();
    }
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
