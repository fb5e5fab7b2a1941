/** How much may wait in a socket in front of a small request: what the line takes in a few milliseconds. */

/** How long the waiting bytes may keep the line busy, in milliseconds. */
const targetMs = 5;
/** Two messages: with less, a line would idle while the next one is gathered. */
const minBytes = 128 * 1024;
/** Also what a line gets whose rate is not known. */
const maxBytes = 512 * 1024;
/** A rate is measured over this time at least, in milliseconds. */
const sampleMs = 20;

/** Follows the rate of a line, and says how many bytes may wait for it. */
export class HighWater {
  #bytes = maxBytes;
  /** Since when the line has been full, and what had left by then. */
  #since: { readonly ms: number; readonly leftBytes: number } | undefined;

  /** Bytes that may wait; streams wait behind them, where they have turns. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * The line has taken bytes.
   *
   * @param leftBytes That it has taken in all.
   * @param waitingBytes Those that still wait. Without any, the sender is the slow one, and the time
   * says nothing of the line.
   */
  taken(nowMs: number, leftBytes: number, waitingBytes: number): void {
    if (waitingBytes === 0) {
      this.#since = undefined;
      return;
    }
    this.#since ??= { ms: nowMs, leftBytes };
    const elapsedMs = nowMs - this.#since.ms;
    if (elapsedMs < sampleMs) return;
    const bytes = targetMs * (leftBytes - this.#since.leftBytes) / elapsedMs;
    // It rises at once and falls by steps: one stall is not a slow line yet.
    this.#bytes = Math.min(maxBytes, Math.max(minBytes, bytes, this.#bytes / 2));
    this.#since = { ms: nowMs, leftBytes };
  }
}
