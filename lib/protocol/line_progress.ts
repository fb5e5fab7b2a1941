/** Bytes that only a living peer can have moved. */
import type { TunnelSocket } from "./socket.ts";

/**
 * What the line takes of ours counts only when it was full before: else the system takes it, whoever
 * is at the other end.
 */
export class LineProgress {
  readonly #socket: Pick<TunnelSocket, "bufferedAmount" | "bytesRead">;
  readonly #stats: { readonly bytesIn: number; readonly bytesOut: number };
  #wasFull = false;
  #leftBytes = 0;
  #sentWhileFull = 0;

  constructor(
    socket: Pick<TunnelSocket, "bufferedAmount" | "bytesRead">,
    stats: { readonly bytesIn: number; readonly bytesOut: number },
  ) {
    this.#socket = socket;
    this.#stats = stats;
  }

  /** Grows whenever the peer has shown that it is there. */
  movedBytes(): number {
    const { bufferedAmount, bytesRead = this.#stats.bytesIn } = this.#socket;
    const leftBytes = this.#stats.bytesOut - bufferedAmount;
    if (this.#wasFull) this.#sentWhileFull += Math.max(0, leftBytes - this.#leftBytes);
    this.#leftBytes = leftBytes;
    this.#wasFull = bufferedAmount > 0;
    return bytesRead + this.#sentWhileFull;
  }
}
