/** Finds transfers that stand still: one timer for all of them, nothing per byte. */
import { isolated } from "../../faults.ts";
import { Linked, LinkedList } from "../../linked_list.ts";
import { checkEveryMs } from "./deadlines.ts";

/** A transfer as the watch sees it. */
export interface Watched {
  /** Grows with whatever moves; only that it changes matters. */
  readonly moved: number;
  /** What should move and doesn't, if anything should; for the log. */
  readonly stuck: string | undefined;
  /** Nothing has moved for the whole timeout. */
  idled(): void;
}

/** A transfer that is watched. */
export class Watch extends Linked<Watch> {
  readonly transfer: Watched;
  moved: number;
  sinceMs: number;

  constructor(transfer: Watched, sinceMs: number) {
    super();
    this.transfer = transfer;
    this.moved = transfer.moved;
    this.sinceMs = sinceMs;
  }
}

/** Ends transfers that should move and have not for a while. */
export class IdleWatch {
  readonly #timeoutMs: number;
  readonly #nowMs: () => number;
  readonly #watches = new LinkedList<Watch>();
  #timer: ReturnType<typeof setInterval> | undefined;

  /** @param timeoutMs Ends a transfer after this long, or up to a tenth later; 0 for never. */
  constructor(timeoutMs: number, nowMs: () => number = () => performance.now()) {
    this.#timeoutMs = timeoutMs;
    this.#nowMs = nowMs;
  }

  /** Watches a transfer, until {@link forget}. */
  watch(transfer: Watched): Watch | undefined {
    if (this.#timeoutMs === 0) return undefined;
    const watch = new Watch(transfer, this.#nowMs());
    this.#watches.add(watch);
    this.#timer ??= setInterval(() => this.check(), checkEveryMs(this.#timeoutMs));
    return watch;
  }

  /** The transfer is over. */
  forget(watch: Watch | undefined): void {
    if (watch) this.#watches.remove(watch);
  }

  /** Looks at all transfers; the timer calls it, and stops when there are none. */
  check(): void {
    const now = this.#nowMs();
    for (const watch of this.#watches.toArray()) {
      isolated("request", () => this.#look(watch, now));
    }
    if (this.#watches.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #look(watch: Watch, now: number): void {
    const { transfer } = watch;
    if (transfer.moved !== watch.moved || transfer.stuck === undefined) {
      watch.moved = transfer.moved;
      watch.sinceMs = now;
    } else if (watch.isListed && now - watch.sinceMs >= this.#timeoutMs) {
      this.#watches.remove(watch);
      transfer.idled();
    }
  }
}
