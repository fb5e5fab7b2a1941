/** A `Deno.Conn` as the rooms above see a connection. */
import { allocate } from "../../bytes/bytes.ts";
import type { ByteSocket, ByteSocketEvents } from "../../net/byte_socket.ts";

type Listeners = { [E in keyof ByteSocketEvents]: ByteSocketEvents[E][] };

/** Bytes of a read: small until reads come back full, as an idle connection waits with one. */
const smallReadBytes = 16 * 1024;
const largeReadBytes = 64 * 1024;
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
    this.#listeners[event].push(listener);
    if (event === "data" && !this.#isReading) this.#readLoop();
    return this;
  }

  off<E extends keyof ByteSocketEvents>(event: E, listener: ByteSocketEvents[E]): this {
    const index = this.#listeners[event].indexOf(listener);
    if (index !== -1) this.#listeners[event].splice(index, 1);
    return this;
  }

  write(bytes: Uint8Array, sent?: () => void): boolean {
    if (this.#isDestroyed || this.#ending !== "no") return true;
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

  #over(error?: Error): void {
    if (this.#isDestroyed) return;
    this.#isDestroyed = true;
    this.#queue = [];
    this.#resumed();
    this.#conn.close();
    queueMicrotask(() => {
      if (error) { for (const listener of [...this.#listeners.error]) listener(error); }
      for (const listener of [...this.#listeners.close]) listener();
    });
  }

  async #readLoop(): Promise<void> {
    this.#isReading = true;
    let size = smallReadBytes;
    try {
      for (;;) {
        // A read that waits holds its buffer: while nothing is wanted, nothing is read.
        if (this.#isPaused) await this.#untilResumed();
        if (this.#isDestroyed) return;
        const buffer = allocate(size);
        const count = await this.#conn.read(buffer);
        if (this.#isPaused) await this.#untilResumed();
        if (this.#isDestroyed) return;
        if (count === null) break;
        size = count === size ? largeReadBytes : smallReadBytes;
        const bytes = sized(buffer, count);
        for (const listener of [...this.#listeners.data]) listener(bytes);
      }
      this.#hasPeerEnded = true;
      for (const listener of [...this.#listeners.end]) listener();
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
        await this.#writeAll(next.bytes);
        if (this.#isDestroyed) return;
        this.#queuedBytes -= length;
        sent?.();
        this.#tellDrained();
      }
      if (this.#ending === "asked") await this.#closeWrite();
    } catch (error) {
      this.#over(asError(error));
    } finally {
      this.#isWriting = false;
    }
  }

  async #writeAll(bytes: Uint8Array): Promise<void> {
    for (let sent = 0; sent < bytes.length && !this.#isDestroyed;) {
      sent += await this.#conn.write(bytes.subarray(sent));
    }
  }

  #tellDrained(): void {
    if (!this.#wantsDrain || this.#queuedBytes > highWaterBytes / 2) return;
    this.#wantsDrain = false;
    for (const listener of [...this.#listeners.drain]) listener();
  }

  async #closeWrite(): Promise<void> {
    await this.#conn.closeWrite();
    this.#ending = "done";
    if (this.#hasPeerEnded || this.#closesWhenSent) this.#over();
  }
}

/**
 * The first bytes of a read. Those of a large one get memory of their own size: the rest would be
 * held for as long as nobody takes them, and what is whole can be freed once it was sent.
 */
function sized(buffer: Uint8Array, count: number): Uint8Array {
  if (buffer.length < largeReadBytes || count === buffer.length) return buffer.subarray(0, count);
  return new Uint8Array((buffer.buffer as ArrayBuffer).transfer(count));
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
