/** Finds transfers that stand still: one timer for all of them, nothing per byte. */
import { isolated } from "../../faults.ts";
import { Linked, LinkedList } from "../../linked_list.ts";
import { checkEveryMs } from "./deadlines.ts";

/** A transfer, as its idle timer sees it. */
export interface Transfer {
  /** Grows with whatever moves; only that it changes matters. */
  readonly moved: number;
  /** What should move and doesn't, if anything should; for the log. */
  readonly stuck: string | undefined;
  /** Nothing has moved for the whole timeout. */
  idled(): void;
}

/** When a transfer last moved. */
export class IdleTimer extends Linked<IdleTimer> {
  readonly transfer: Transfer;
  moved: number;
  sinceMs: number;

  constructor(transfer: Transfer, sinceMs: number) {
    super();
    this.transfer = transfer;
    this.moved = transfer.moved;
    this.sinceMs = sinceMs;
  }
}

/** Ends transfers that should move and have not for a while. */
export class IdleTimeout {
  readonly #timeoutMs: number;
  readonly #nowMs: () => number;
  readonly #timers = new LinkedList<IdleTimer>();
  #timer: ReturnType<typeof setInterval> | undefined;

  /** @param timeoutMs Ends a transfer after this long, or up to a tenth later; 0 for never. */
  constructor(timeoutMs: number, nowMs: () => number = () => performance.now()) {
    this.#timeoutMs = timeoutMs;
    this.#nowMs = nowMs;
  }

  /** Starts a transfer's timer, which runs until {@link stop}. */
  start(transfer: Transfer): IdleTimer | undefined {
    if (this.#timeoutMs === 0) return undefined;
    const timer = new IdleTimer(transfer, this.#nowMs());
    this.#timers.add(timer);
    this.#timer ??= setInterval(() => this.check(), checkEveryMs(this.#timeoutMs));
    return timer;
  }

  /** The transfer is over. */
  stop(timer: IdleTimer | undefined): void {
    if (timer) this.#timers.remove(timer);
  }

  /** Looks at all transfers; the timer calls it, and stops when there are none. */
  check(): void {
    const now = this.#nowMs();
    for (const timer of this.#timers.toArray()) {
      isolated("request", () => this.#look(timer, now));
    }
    if (this.#timers.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #look(timer: IdleTimer, now: number): void {
    const { transfer } = timer;
    if (transfer.moved !== timer.moved || transfer.stuck === undefined) {
      timer.moved = transfer.moved;
      timer.sinceMs = now;
    } else if (timer.isListed && now - timer.sinceMs >= this.#timeoutMs) {
      this.#timers.remove(timer);
      transfer.idled();
    }
  }
}
