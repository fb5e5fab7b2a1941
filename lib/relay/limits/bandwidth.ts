/** Bytes a second: what goes over it waits. */
import { isolated } from "../../faults.ts";

/** The time in milliseconds whose bytes may pass at once. */
const burstMs = 1_000;
/** A timer that is set for longer comes at once, in milliseconds. */
const maxTimerMs = 2 ** 31 - 1;

interface Waiter {
  /** When the bytes that it has passed are paid for. */
  readonly atMs: number;
  readonly resume: () => void;
}

/**
 * A rate that many share. Bytes pass first and are paid for afterwards, in the order in which they
 * came: whoever has passed some waits for its turn before it passes more.
 */
export class Bandwidth {
  readonly #bytesPerMs: number;
  readonly #nowMs: () => number;
  /** Ordered by `atMs`. */
  readonly #waiting: Waiter[] = [];
  /** When all that has passed is paid for. */
  #paidMs: number;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param bytesPerSecond More than 0. */
  constructor(bytesPerSecond: number, nowMs: () => number = () => performance.now()) {
    this.#bytesPerMs = bytesPerSecond / 1000;
    this.#nowMs = nowMs;
    this.#paidMs = nowMs() - burstMs;
  }

  /** How long no transfer should begin, in milliseconds; 0 if one may begin now. */
  get debtMs(): number {
    return Math.max(0, this.#paidMs - this.#nowMs());
  }

  /**
   * Counts bytes that have passed.
   *
   * @returns true when more may pass now; else `resume` is called, once, when more may.
   */
  pass(bytes: number, resume: () => void): boolean {
    const now = this.#nowMs();
    this.#paidMs = Math.max(this.#paidMs, now - burstMs) + bytes / this.#bytesPerMs;
    if (this.#paidMs <= now) return true;
    this.#waiting.push({ atMs: this.#paidMs, resume });
    this.#schedule(now);
    return false;
  }

  /** Resumes whoever's time has come; the timer calls it. */
  check(): void {
    const now = this.#nowMs();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const due = this.#waiting.findIndex(({ atMs }) => atMs > now);
    const resumed = this.#waiting.splice(0, due === -1 ? this.#waiting.length : due);
    this.#schedule(now);
    for (const { resume } of resumed) isolated("stream", resume);
  }

  #schedule(now: number): void {
    const [first] = this.#waiting;
    if (!first || this.#timer !== undefined) return;
    this.#timer = setTimeout(
      () => this.check(),
      Math.min(Math.ceil(first.atMs - now), maxTimerMs),
    );
  }
}
