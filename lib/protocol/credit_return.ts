/** When streams give back credit that they do not use. */
import type { Settings } from "./settings.ts";
import type { StreamTable } from "./stream_table.ts";

/** The time between two returns, in milliseconds. */
const returnEveryMs = 1_000;

/** Returns the credit of one session's streams. */
export class CreditReturn {
  readonly #streams: StreamTable;
  readonly #nowMs: () => number;
  /** When streams were last asked. */
  #askedMs = 0;

  constructor(streams: StreamTable, nowMs: () => number) {
    this.#streams = streams;
    this.#nowMs = nowMs;
  }

  /** Has streams give back what they do not use of the peer's memory, and of ours, now and then. */
  ask({ returns, window }: Settings, roundTripMs: number): void {
    const nowMs = this.#nowMs();
    const elapsedMs = nowMs - this.#askedMs;
    if (elapsedMs < returnEveryMs) return;
    this.#askedMs = nowMs;
    const timeMs = Math.max(returnEveryMs, 4 * roundTripMs);
    for (const stream of this.#streams.toArray()) {
      if (returns) stream.returnCredit(window, timeMs / elapsedMs);
      else stream.setAsideIfIdle();
    }
  }
}
