/** Collects items that arrive one after the other, and handles them together. */

/** How long a batch waits for more items, in milliseconds. */
export interface BatchTiming {
  /** A batch is handled when no other item has arrived for this long. */
  readonly quietMs: number;
  /** While batches follow each other closely, `quietMs` doubles with each, up to this value. */
  readonly maxQuietMs: number;
  /** The longest time that the first item waits for others. */
  readonly maxMs: number;
}

/** A clock and timers. Tests pass their own. */
export interface Timers {
  readonly nowMs: () => number;
  /** Calls `due` after `ms` milliseconds. @returns a function that cancels the call */
  readonly after: (ms: number, due: () => void) => () => void;
}

export const systemTimers: Timers = {
  nowMs: () => performance.now(),
  after(ms, due) {
    const timer = setTimeout(due, ms);
    return () => clearTimeout(timer);
  },
};

/** Handles one batch at a time. Items that arrive meanwhile go into the next batch. */
export class Batcher<Item> {
  readonly #timing: BatchTiming;
  readonly #timers: Timers;
  readonly #handle: (items: readonly Item[]) => Promise<void>;
  #items: Item[] = [];
  #firstMs = 0;
  #lastMs = 0;
  #quietMs: number;
  #handledMs = -Infinity;
  #isHandling = false;
  #cancel = () => {};

  /** @param handle Handles a batch. Its promise must never reject. */
  constructor(
    timing: BatchTiming,
    timers: Timers,
    handle: (items: readonly Item[]) => Promise<void>,
  ) {
    this.#timing = timing;
    this.#timers = timers;
    this.#handle = handle;
    this.#quietMs = timing.quietMs;
  }

  /** Whether no item is waiting or being handled. */
  get isIdle(): boolean {
    return this.#items.length === 0 && !this.#isHandling;
  }

  add(item: Item): void {
    this.#lastMs = this.#timers.nowMs();
    if (this.#items.length === 0) this.#begin();
    this.#items.push(item);
    if (!this.#isHandling) this.#plan();
  }

  #begin(): void {
    const { quietMs, maxQuietMs, maxMs } = this.#timing;
    const isBusy = this.#lastMs - this.#handledMs < maxMs;
    this.#quietMs = isBusy ? Math.min(2 * this.#quietMs, maxQuietMs) : quietMs;
    this.#firstMs = this.#lastMs;
  }

  #plan(): void {
    this.#cancel();
    const dueMs = Math.min(this.#lastMs + this.#quietMs, this.#firstMs + this.#timing.maxMs);
    const ms = Math.max(0, dueMs - this.#timers.nowMs());
    this.#cancel = this.#timers.after(ms, () => void this.#handleAll());
  }

  async #handleAll(): Promise<void> {
    const items = this.#items;
    this.#items = [];
    this.#isHandling = true;
    await this.#handle(items);
    this.#isHandling = false;
    this.#handledMs = this.#timers.nowMs();
    if (this.#items.length > 0) this.#plan();
  }
}
