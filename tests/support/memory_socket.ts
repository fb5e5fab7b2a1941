/**
 * A pair of connected byte sockets in memory, with what makes real ones hard: bytes arrive in turns of
 * their own and in pieces, a writer must wait for a slow reader, each direction ends by itself, and a
 * connection can break. Both ends behave as `node:net` sockets with `allowHalfOpen` do.
 */
import type { ByteSocket, ByteSocketEvents } from "../../lib/net/byte_socket.ts";

/** How a pair is made. */
export interface MemorySocketOptions {
  /** Bytes on their way to the other end at which `write` returns false. */
  readonly highWaterBytes?: number;
  /** The most bytes that arrive at a time. */
  readonly pieceBytes?: number;
}

/** What an event's listener is called with. */
type EventName = keyof ByteSocketEvents;

/** One end of a pair. */
export class MemorySocket implements ByteSocket {
  /** Whether something was written after `end`: the bytes are lost, and it is the writer's bug. */
  hasWrittenAfterEnd = false;
  /** Whether `end` was called again: `node:net` makes an error of it, which costs more than a request. */
  hasEndedTwice = false;
  readonly #highWaterBytes: number;
  readonly #pieceBytes: number;
  readonly #listeners = new Map<EventName, ((argument: never) => void)[]>();
  #peer!: MemorySocket;
  /** Bytes on their way to this end. */
  #inbox: Uint8Array[] = [];
  #outgoingBytes = 0;
  #mustTellDrained = false;
  #isPaused = false;
  #hasStarted = false;
  #hasEnded = false;
  #hasToldEnd = false;
  #closesWhenSent = false;
  #breakCode: string | undefined;
  #state: "open" | "destroyed" | "closed" = "open";
  #isScheduled = false;

  /** Use {@link memorySockets}. */
  constructor(options: MemorySocketOptions) {
    const { highWaterBytes = 16 * 1024, pieceBytes = Infinity } = options;
    this.#highWaterBytes = highWaterBytes;
    this.#pieceBytes = pieceBytes;
  }

  /** Joins two ends. */
  static pair(options: MemorySocketOptions): [MemorySocket, MemorySocket] {
    const ends: [MemorySocket, MemorySocket] = [
      new MemorySocket(options),
      new MemorySocket(options),
    ];
    ends[0].#peer = ends[1];
    ends[1].#peer = ends[0];
    return ends;
  }

  get destroyed(): boolean {
    return this.#state !== "open";
  }

  get writableLength(): number {
    return this.#outgoingBytes;
  }

  /** Whether the socket was told to stop reading. */
  get isPaused(): boolean {
    return this.#isPaused;
  }

  on<E extends EventName>(event: E, listener: ByteSocketEvents[E]): this {
    const listeners = this.#listeners.get(event) ?? [];
    this.#listeners.set(event, [...listeners, listener]);
    if (event === "data") this.#hasStarted = true;
    this.#schedule();
    return this;
  }

  off<E extends EventName>(event: E, listener: ByteSocketEvents[E]): this {
    const listeners = this.#listeners.get(event) ?? [];
    this.#listeners.set(event, listeners.filter((other) => other !== listener));
    return this;
  }

  write(bytes: Uint8Array, sent?: () => void): boolean {
    if (this.#hasEnded || this.#closesWhenSent) this.hasWrittenAfterEnd = true;
    if (this.destroyed || this.#hasEnded || bytes.length === 0) return true;
    if (this.#peer.destroyed) {
      this.#break("EPIPE");
      return false;
    }
    this.#outgoingBytes += bytes.length;
    // Whoever asks when the bytes have gone out may free them then.
    this.#peer.#inbox.push(sent ? new Uint8Array(bytes) : bytes);
    if (sent) queueMicrotask(sent);
    this.#peer.#schedule();
    this.#mustTellDrained = this.#outgoingBytes >= this.#highWaterBytes;
    return !this.#mustTellDrained;
  }

  end(): this {
    if (this.#hasEnded && !this.destroyed) this.hasEndedTwice = true;
    this.#hasEnded = true;
    this.#peer.#schedule();
    this.#schedule();
    return this;
  }

  destroy(): this {
    if (this.destroyed) return this;
    this.#state = "destroyed";
    // What has not arrived never will; the peer sees an end like any other.
    this.#peer.#drop();
    this.#hasEnded = true;
    this.#peer.#schedule();
    this.#schedule();
    return this;
  }

  destroySoon(): this {
    this.#closesWhenSent = true;
    return this.end();
  }

  resetAndDestroy(): this {
    if (this.destroyed) return this;
    this.destroy();
    if (!this.#peer.destroyed) this.#peer.#break("ECONNRESET");
    return this;
  }

  pause(): this {
    this.#isPaused = true;
    return this;
  }

  resume(): this {
    this.#isPaused = false;
    this.#hasStarted = true;
    this.#schedule();
    return this;
  }

  #break(code: string): void {
    this.#state = "destroyed";
    this.#drop();
    this.#peer.#hasEnded = true;
    this.#breakCode = code;
    this.#schedule();
  }

  #drop(): void {
    this.#peer.#outgoingBytes = 0;
    this.#inbox = [];
  }

  #schedule(): void {
    if (this.#isScheduled || this.#state === "closed") return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      if (this.#turn()) this.#schedule();
    });
  }

  /** One thing that happens to this end; false when there is nothing. */
  #turn(): boolean {
    if (this.#state === "destroyed" || this.#isDone) return this.#close();
    if (this.#isPaused || !this.#hasStarted) return false;
    if (this.#inbox.length > 0) return this.#arrive();
    if (!this.#peer.#hasEnded || this.#hasToldEnd) return false;
    this.#hasToldEnd = true;
    this.#emit("end");
    return true;
  }

  /** Whether both directions are over, or ours is and we do not care for the other. */
  get #isDone(): boolean {
    if (!this.#hasEnded || this.#outgoingBytes > 0) return false;
    return this.#hasToldEnd || this.#closesWhenSent;
  }

  #close(): boolean {
    if (this.#state === "closed") return false;
    this.#state = "closed";
    const code = this.#breakCode;
    if (code !== undefined) {
      this.#emit("error", Object.assign(new Error(`The connection broke (${code})`), { code }));
    }
    this.#emit("close");
    this.#peer.#schedule();
    return false;
  }

  #arrive(): boolean {
    const bytes = this.#inbox[0]!;
    const piece = bytes.subarray(0, this.#pieceBytes);
    if (piece.length < bytes.length) this.#inbox[0] = bytes.subarray(piece.length);
    else this.#inbox.shift();
    const peer = this.#peer;
    peer.#outgoingBytes -= piece.length;
    // A copy: on a network the reader's bytes are never the writer's.
    const copy = Uint8Array.from(piece);
    this.#emit("data", copy);
    if (peer.#mustTellDrained && peer.#outgoingBytes === 0 && !peer.destroyed) {
      peer.#mustTellDrained = false;
      peer.#emit("drain");
    }
    peer.#schedule();
    return true;
  }

  #emit<E extends EventName>(event: E, ...args: Parameters<ByteSocketEvents[E]>): void {
    for (const listener of this.#listeners.get(event) ?? []) {
      (listener as (...args: unknown[]) => void)(...args);
    }
  }
}

/** Two connected sockets. */
export function memorySockets(options: MemorySocketOptions = {}): [MemorySocket, MemorySocket] {
  return MemorySocket.pair(options);
}
