/** A `Deno.Conn` as the rooms above see a connection. */
import { reportFault } from "../../faults.ts";
import { allocate } from "../../bytes/bytes.ts";
import type { ByteSocket, ByteSocketEvents } from "../../net/byte_socket.ts";

/** Lists are replaced, not changed: who is told of an event may add and remove listeners. */
type Listeners = { [E in keyof ByteSocketEvents]: readonly ByteSocketEvents[E][] };

/** Bytes of a read: small until reads come back full, as an idle connection waits with one. */
const smallReadBytes = 16 * 1024;
const largeReadBytes = 64 * 1024;
/** A read of no more leaves its buffer to the next one. */
const maxCopiedBytes = 4 * 1024;
/** Queued bytes from which `write` says that it is enough. */
const highWaterBytes = 64 * 1024;

interface Queued {
  readonly bytes: Uint8Array;
  readonly sent: (() => void) | undefined;
}

/** Reads and writes in two loops, each of which ends with its direction, or with the connection. */
export class ConnSocket implements ByteSocket {
  readonly #conn: Deno.Conn;
  readonly #listeners: Listeners = { data: [], end: [], drain: [], close: [], error: [] };
  #queue: Queued[] = [];
  #queuedBytes = 0;
  #isWriting = false;
  #wantsDrain = false;
  /** Our half: open, to be closed behind what is queued, closed. */
  #ending: "no" | "asked" | "done" = "no";
  #closesWhenSent = false;
  #hasPeerEnded = false;
  #isPaused = false;
  #isReading = false;
  #isDestroyed = false;
  #resumed: () => void = () => {};

  constructor(conn: Deno.Conn) {
    this.#conn = conn;
  }

  get destroyed(): boolean {
    return this.#isDestroyed;
  }

  get writableLength(): number {
    return this.#queuedBytes;
  }

  on<E extends keyof ByteSocketEvents>(event: E, listener: ByteSocketEvents[E]): this {
    this.#listeners[event] = [...this.#listeners[event], listener] as Listeners[E];
    if (event === "data" && !this.#isReading) this.#readLoop();
    return this;
  }

  off<E extends keyof ByteSocketEvents>(event: E, listener: ByteSocketEvents[E]): this {
    const left = this.#listeners[event].filter((other) => other !== listener);
    this.#listeners[event] = left as Listeners[E];
    return this;
  }

  write(bytes: Uint8Array, sent?: () => void): boolean {
    if (this.#isDestroyed || this.#ending !== "no" || bytes.length === 0) return true;
    this.#queue.push({ bytes, sent });
    this.#queuedBytes += bytes.length;
    if (!this.#isWriting) this.#writeLoop();
    this.#wantsDrain = this.#queuedBytes >= highWaterBytes;
    return !this.#wantsDrain;
  }

  end(): void {
    if (this.#isDestroyed || this.#ending !== "no") return;
    this.#ending = "asked";
    if (!this.#isWriting) this.#writeLoop();
  }

  destroySoon(): void {
    this.#closesWhenSent = true;
    this.end();
    if (this.#ending === "done") this.destroy();
  }

  destroy(): void {
    this.#over();
  }

  /** Deno has no reset; over TLS, an end without a closing alert says the same. */
  resetAndDestroy(): void {
    this.#over();
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    this.#resumed();
  }

  /** An exception of whoever uses the connection ends it, and nothing else. */
  #guarded(tell: () => void): void {
    try {
      tell();
    } catch (error) {
      reportFault("connection", error);
      this.#over();
    }
  }

  #over(error?: Error): void {
    if (this.#isDestroyed) return;
    this.#isDestroyed = true;
    this.#queue = [];
    this.#resumed();
    this.#conn.close();
    queueMicrotask(() => {
      if (error) {
        for (const listener of this.#listeners.error) this.#guarded(() => listener(error));
      }
      for (const listener of this.#listeners.close) this.#guarded(listener);
    });
  }

  async #readLoop(): Promise<void> {
    this.#isReading = true;
    let buffer: Uint8Array | undefined;
    try {
      for (;;) {
        // A read that waits holds its buffer: while nothing is wanted, nothing is read.
        if (this.#isPaused) await this.#untilResumed();
        if (this.#isDestroyed) return;
        buffer ??= new Uint8Array(smallReadBytes);
        const count = await this.#conn.read(buffer);
        if (this.#isPaused) await this.#untilResumed();
        if (this.#isDestroyed) return;
        if (count === null) break;
        const isFull = count === buffer.length;
        const bytes = sized(buffer, count);
        if (isFull) buffer = new Uint8Array(largeReadBytes);
        else if (count > maxCopiedBytes || buffer.length !== smallReadBytes) buffer = undefined;
        for (const listener of this.#listeners.data) this.#guarded(() => listener(bytes));
      }
      this.#hasPeerEnded = true;
      for (const listener of this.#listeners.end) this.#guarded(listener);
      if (this.#ending === "done") this.#over();
    } catch (error) {
      this.#over(asError(error));
    }
  }

  async #untilResumed(): Promise<void> {
    while (this.#isPaused && !this.#isDestroyed) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#resumed = resolve;
      await promise;
    }
  }

  async #writeLoop(): Promise<void> {
    this.#isWriting = true;
    try {
      for (let next = this.#queue.shift(); next; next = this.#queue.shift()) {
        const { bytes: { length }, sent } = next;
        // In here: each further promise would cost a small answer as much as its bytes do.
        let count = await this.#conn.write(next.bytes);
        while (count < length && !this.#isDestroyed) {
          count += await this.#conn.write(next.bytes.subarray(count));
        }
        if (this.#isDestroyed) return;
        this.#queuedBytes -= length;
        if (sent) this.#guarded(sent);
        this.#tellDrained();
      }
      if (this.#ending === "asked") await this.#closeWrite();
    } catch (error) {
      this.#over(asError(error));
    } finally {
      this.#isWriting = false;
    }
  }

  #tellDrained(): void {
    if (!this.#wantsDrain || this.#queuedBytes > highWaterBytes / 2) return;
    this.#wantsDrain = false;
    for (const listener of this.#listeners.drain) this.#guarded(listener);
  }

  async #closeWrite(): Promise<void> {
    await this.#conn.closeWrite();
    this.#ending = "done";
    if (this.#hasPeerEnded || this.#closesWhenSent) this.#over();
  }
}

/**
 * The first bytes of a read. A few are copied, so that the buffer can be read into again. Those of a
 * large read get memory of their own size: the rest would be held for as long as nobody takes them,
 * and what is whole can be freed once it was sent.
 */
function sized(buffer: Uint8Array, count: number): Uint8Array {
  if (count === buffer.length) return buffer;
  if (buffer.length === largeReadBytes) {
    return new Uint8Array((buffer.buffer as ArrayBuffer).transfer(count));
  }
  const bytes = buffer.subarray(0, count);
  if (count > maxCopiedBytes) return bytes;
  const copy = allocate(count);
  copy.set(bytes);
  return copy;
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
