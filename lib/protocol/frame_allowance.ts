/** How many frames without bytes a peer may send: what it makes this side do for nothing. */
import { ExcessError } from "./errors.ts";

/** Frames that a peer may send in one go. */
export const allowanceBurst = 65_536;
/** Frames by which the allowance grows each second, up to the burst. */
export const allowancePerSecond = 1_000;
/**
 * Frames by which it grows with each stream that opens and each frame that carries bytes of an open
 * stream, in either direction. A Credit, an End, a Close or an Error each answers such a frame, so a
 * peer that does no more than streams ask for never comes to its bound.
 */
export const allowancePerUse = 4;
/** Bytes that may still arrive for streams that this side has ended early. */
const maxLateBytes = 256 * 1024 * 1024;

/**
 * The allowance of one session's peer.
 *
 * Frames that carry bytes of an open stream are free: flow control bounds them, and a caller or a
 * target can have an honest peer send many small ones. Bytes for a stream that this side has ended
 * are free as far as the peer had credit for them when the stream ended.
 */
export class FrameAllowance {
  readonly #nowMs: () => number;
  #left = allowanceBurst;
  #filledMs: number;
  #lateBytes = 0;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
    this.#filledMs = nowMs();
  }

  /** A stream has opened, or a frame carries bytes of an open one. */
  earn(): void {
    if (this.#left < allowanceBurst) this.#left += allowancePerUse;
  }

  /** A stream has ended whose peer may not know and had credit for so many bytes. */
  expectLate(bytes: number): void {
    this.#lateBytes = Math.min(maxLateBytes, this.#lateBytes + bytes);
  }

  /** Bytes have come for a stream that is not open. @throws as {@link spend} does */
  spendLate(bytes: number): void {
    if (bytes === 0 || bytes > this.#lateBytes) return this.spend();
    this.#lateBytes -= bytes;
  }

  /**
   * Counts a frame that moves nothing.
   *
   * @param frames As how many it counts.
   * @throws {ExcessError} when it is one too many.
   */
  spend(frames = 1): void {
    if (this.#left < frames) this.#fill();
    if (this.#left < frames) {
      throw new ExcessError(
        `More than ${allowanceBurst} frames without bytes, and ${allowancePerSecond} a second`,
      );
    }
    this.#left -= frames;
  }

  /** The clock is read only when nothing is left: most sessions never come to that. */
  #fill(): void {
    const nowMs = this.#nowMs();
    const earned = (nowMs - this.#filledMs) * allowancePerSecond / 1000;
    this.#left = Math.min(allowanceBurst, this.#left + earned);
    this.#filledMs = nowMs;
  }
}
