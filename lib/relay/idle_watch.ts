/** Finds transfers that stand still: one timer for all of them, nothing per byte. */

/** A transfer as the watch sees it. */
export interface Watched {
  /** Grows with whatever moves; only that it changes matters. */
  readonly moved: number;
  /** What should move and doesn't, if anything should; for the log. */
  readonly stuck: string | undefined;
  /** Nothing has moved for the whole timeout. */
  idled(): void;
}

interface State {
  moved: number;
  sinceMs: number;
}

/** How often transfers are looked at, as a part of the timeout. */
const checksPerTimeout = 20;

/** Ends transfers that should move and have not for a while. */
export class IdleWatch {
  readonly #timeoutMs: number;
  readonly #nowMs: () => number;
  readonly #transfers = new Map<Watched, State>();
  #timer: ReturnType<typeof setInterval> | undefined;

  /** @param timeoutMs Ends a transfer after this long, or up to a tenth later; 0 for never. */
  constructor(timeoutMs: number, nowMs: () => number = () => performance.now()) {
    this.#timeoutMs = timeoutMs;
    this.#nowMs = nowMs;
  }

  /** Watches a transfer, until {@link forget}. */
  watch(transfer: Watched): void {
    if (this.#timeoutMs === 0 || this.#transfers.has(transfer)) return;
    this.#transfers.set(transfer, { moved: transfer.moved, sinceMs: this.#nowMs() });
    this.#timer ??= setInterval(() => this.check(), this.#timeoutMs / checksPerTimeout);
  }

  /** The transfer is over. */
  forget(transfer: Watched): void {
    this.#transfers.delete(transfer);
  }

  /** Looks at all transfers; the timer calls it, and stops when there are none. */
  check(): void {
    const now = this.#nowMs();
    for (const [transfer, state] of this.#transfers) {
      if (transfer.moved !== state.moved || transfer.stuck === undefined) {
        state.moved = transfer.moved;
        state.sinceMs = now;
      } else if (now - state.sinceMs >= this.#timeoutMs) {
        this.#transfers.delete(transfer);
        transfer.idled();
      }
    }
    if (this.#transfers.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
