/** A WebSocket in memory: what a session sends, the other end gets, one message a turn. */
import type { TunnelSocket, TunnelSocketEvents } from "../../lib/protocol/socket.ts";

type Arrival =
  | {
    readonly kind: "message";
    readonly bytes: Uint8Array;
    readonly sent?: (() => void) | undefined;
  }
  | { readonly kind: "text" }
  | { readonly kind: "closed"; readonly code: number; readonly reason: string };

/** One end of a {@link memoryTunnel}. */
export class MemorySocket implements TunnelSocket {
  readonly #capacityBytes: number;
  /** Bytes of a message that come before the rest of it does. */
  readonly #cutAfter: number | undefined;
  readonly #inbox: Arrival[] = [];
  #peer: MemorySocket | undefined;
  #events: TunnelSocketEvents | undefined;
  #state: "open" | "closing" | "closed" = "open";
  #sentBytes = 0;
  #isPaused = false;
  #isScheduled = false;

  constructor(capacityBytes: number, cutAfter?: number) {
    this.#capacityBytes = capacityBytes;
    this.#cutAfter = cutAfter;
  }

  /** Joins two ends. */
  join(peer: MemorySocket): void {
    this.#peer = peer;
  }

  /** Over its capacity the socket says that it is full, however little that is. */
  get bufferedAmount(): number {
    return this.#sentBytes > this.#capacityBytes ? Number.MAX_SAFE_INTEGER : this.#sentBytes;
  }

  listen(events: TunnelSocketEvents): void {
    this.#events = events;
    this.#schedule();
  }

  send(message: Uint8Array, sent?: () => void): void {
    if (this.#state !== "open") return;
    this.#sentBytes += message.length;
    this.#peer!.#arrive({ kind: "message", bytes: message, sent });
  }

  /** Sends a text message, which no session does. */
  sendText(): void {
    this.#peer!.#arrive({ kind: "text" });
  }

  close(code: number, reason: string): void {
    if (this.#state !== "open") return;
    this.#state = "closing";
    this.#peer!.#arrive({ kind: "closed", code, reason });
  }

  terminate(): void {
    for (const end of [this, this.#peer!]) {
      if (end.#state === "closed") continue;
      end.#inbox.length = 0;
      end.#isPaused = false;
      end.#arrive({ kind: "closed", code: 1006, reason: "" });
    }
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    this.#schedule();
  }

  #arrive(arrival: Arrival): void {
    this.#inbox.push(arrival);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isScheduled || this.#isPaused || this.#inbox.length === 0) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      if (!this.#isPaused) this.#deliver();
      this.#schedule();
    });
  }

  #deliver(): void {
    const arrival = this.#inbox.shift();
    if (!arrival || this.#state === "closed") return;
    if (arrival.kind === "closed") return this.#closed(arrival.code, arrival.reason);
    if (arrival.kind === "text") return this.#events?.text("");
    const { bytes, sent } = arrival;
    // Copied only now, so that a sender that changes its array too early is found out.
    this.#hand(Uint8Array.from(bytes));
    sent?.();
    const peer = this.#peer!;
    peer.#sentBytes -= bytes.length;
    if (peer.#state === "open") peer.#events?.drained();
  }

  /** Hands a message over: whole, or in two parts where it is cut and they are wanted. */
  #hand(message: Uint8Array): void {
    const events = this.#events;
    const cut = this.#cutAfter ?? message.length;
    const isWanted = cut < message.length &&
      events?.begins?.(message.subarray(0, cut), message.length);
    if (!isWanted) return events?.message(message);
    events?.part?.(message.subarray(0, cut), false);
    events?.part?.(message.subarray(cut), true);
  }

  #closed(code: number, reason: string): void {
    const hadClosed = this.#state === "closing";
    this.#state = "closed";
    this.#events?.closed(code, reason);
    // The answer of the closing handshake; an end that closed first gets the code that it sent.
    if (!hadClosed && code !== 1006) this.#peer!.#arrive({ kind: "closed", code, reason });
  }
}

/**
 * Two ends joined; each takes `capacityBytes` before it says that it is full.
 *
 * @param cutAfter Cuts each message there, as a read that ends in the middle of it does.
 */
export function memoryTunnel(
  capacityBytes: number,
  cutAfter?: number,
): [MemorySocket, MemorySocket] {
  const ends: [MemorySocket, MemorySocket] = [
    new MemorySocket(capacityBytes, cutAfter),
    new MemorySocket(capacityBytes, cutAfter),
  ];
  ends[0].join(ends[1]);
  ends[1].join(ends[0]);
  return ends;
}
