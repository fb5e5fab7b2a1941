/** Many deadlines with one timeout and one timer, as most of them are met. */
import { isolated } from "../../faults.ts";
import { Linked, LinkedList } from "../../linked_list.ts";

/** A deadline that is neither met nor expired. */
export class Deadline extends Linked<Deadline> {
  readonly startMs: number;
  readonly expired: () => void;

  constructor(startMs: number, expired: () => void) {
    super();
    this.startMs = startMs;
    this.expired = expired;
  }
}

/**
 * How often deadlines with this timeout are checked: 20 times, or each second. A timer that runs on for
 * longer without a deadline would hold up the end of a process.
 */
export function checkEveryMs(timeoutMs: number): number {
  return Math.min(timeoutMs / 20, 1_000);
}

/** Deadlines that have the same timeout, so the oldest always expires first. */
export class Deadlines {
  readonly #timeoutMs: number;
  readonly #nowMs: () => number;
  readonly #deadlines = new LinkedList<Deadline>();
  #timer: ReturnType<typeof setInterval> | undefined;

  /** @param timeoutMs Expires a deadline after this long, or a little later; 0 for never. */
  constructor(timeoutMs: number, nowMs: () => number = () => performance.now()) {
    this.#timeoutMs = timeoutMs;
    this.#nowMs = nowMs;
  }

  /** Sets a deadline; `expired` is called once unless the deadline is ended first. */
  begin(expired: () => void): Deadline | undefined {
    if (this.#timeoutMs === 0) return undefined;
    const deadline = new Deadline(this.#nowMs(), expired);
    this.#deadlines.add(deadline);
    this.#timer ??= setInterval(() => this.check(), checkEveryMs(this.#timeoutMs));
    return deadline;
  }

  /** The deadline is met. */
  end(deadline: Deadline | undefined): void {
    if (deadline) this.#deadlines.remove(deadline);
  }

  /** Expires what is due; the timer calls it, and stops when nobody waits. */
  check(): void {
    const limit = this.#nowMs() - this.#timeoutMs;
    for (let deadline = this.#deadlines.first; deadline; deadline = this.#deadlines.first) {
      if (deadline.startMs > limit) return;
      this.#deadlines.remove(deadline);
      isolated("request", deadline.expired);
    }
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
