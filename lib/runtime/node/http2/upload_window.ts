/**
 * How far a client may be ahead with the bodies that it sends. A window that holds less than a round trip's
 * worth slows an upload down; one that is wide for everybody would let many clients fill the memory.
 */

/** Bytes that may come before any of them is consumed. */
export interface WindowSizes {
  readonly stream: number;
  readonly connection: number;
}

const kib = 1024;

/** Each is for uploads that fill the one before it. */
export const windowSizes: readonly [WindowSizes, ...WindowSizes[]] = [
  { stream: 256 * kib, connection: 1024 * kib },
  { stream: 1024 * kib, connection: 4096 * kib },
  { stream: 4096 * kib, connection: 8192 * kib },
];

/** Widened while this is too short to send a whole window: round trips are rarely longer, in milliseconds. */
const roundTripMs = 250;

/** Bytes that all connections of a process may have beyond the first sizes. */
const maxReserveBytes = 64 * 1024 * kib;

/** What is left for wider windows. */
export class WindowReserve {
  #left: number;

  constructor(bytes = maxReserveBytes) {
    this.#left = bytes;
  }

  /** Takes bytes. @returns false where there are not so many left */
  take(bytes: number): boolean {
    if (bytes > this.#left) return false;
    this.#left -= bytes;
    return true;
  }

  /** Gives bytes back. */
  give(bytes: number): void {
    this.#left += bytes;
  }
}

/** The reserve that all HTTP/2 connections of this process share. */
const processReserve = new WindowReserve();

/** The window of one connection's uploads. */
export class UploadWindow {
  readonly #widen: (sizes: WindowSizes) => void;
  readonly #reserve: WindowReserve;
  #step = 0;
  #consumed = 0;
  #sinceMs = 0;

  /** @param widen has the client told of wider windows */
  constructor(widen: (sizes: WindowSizes) => void, reserve = processReserve) {
    this.#widen = widen;
    this.#reserve = reserve;
  }

  /** What the client was told last. */
  get sizes(): WindowSizes {
    return windowSizes[this.#step] ?? windowSizes[0];
  }

  /** An app has consumed bytes of a body. */
  consumed(bytes: number, nowMs: number): void {
    const next = windowSizes[this.#step + 1];
    if (!next) return;
    if (nowMs - this.#sinceMs > roundTripMs) {
      this.#sinceMs = nowMs;
      this.#consumed = 0;
    }
    this.#consumed += bytes;
    if (this.#consumed < this.sizes.stream) return;
    this.#consumed = 0;
    if (!this.#reserve.take(next.connection - this.sizes.connection)) return;
    this.#step++;
    this.#widen(next);
  }

  /** The connection is over. */
  release(): void {
    this.#reserve.give(this.sizes.connection - windowSizes[0].connection);
    this.#step = 0;
  }
}
