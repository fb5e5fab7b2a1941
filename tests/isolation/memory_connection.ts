/** A TCP connection in memory: two ends, with backpressure, half-close and reset between them. */
import { Duplex } from "node:stream";
import type { ByteSocket } from "../../lib/net/byte_socket.ts";

/** What one end holds before the other has to wait. */
const highWaterBytes = 64 * 1024;

/** One end of a {@link memoryConnection}. */
export class MemoryConnection extends Duplex {
  #peer: MemoryConnection | undefined;
  /** Called when there is room again for what the other end writes. */
  #wanted: (() => void) | undefined;

  constructor() {
    super({ allowHalfOpen: true, highWaterMark: highWaterBytes });
    // Whoever cares listens too; without any listener a reset would end the process.
    this.on("error", () => {});
  }

  /** Joins two ends. */
  join(peer: MemoryConnection): void {
    this.#peer = peer;
  }

  /** Half-close behind what is queued, then the end of both ways. */
  destroySoon(): void {
    if (this.writableFinished) return void this.destroy();
    this.once("finish", () => this.destroy());
    this.end();
  }

  /** The end of both ways, which the other end sees as an error. */
  resetAndDestroy(): void {
    this.destroy();
    this.#peer?.destroy(new Error("The connection was reset"));
  }

  override _read(): void {
    const wanted = this.#wanted;
    this.#wanted = undefined;
    wanted?.();
  }

  override _write(chunk: Uint8Array, _encoding: string, written: (error?: Error) => void): void {
    const peer = this.#peer;
    if (!peer || peer.destroyed) return written(new Error("The connection is closed"));
    // A copy: on a network the reader's bytes are never the writer's.
    if (peer.push(new Uint8Array(chunk))) written();
    else peer.#wanted = written;
  }

  override _final(done: () => void): void {
    if (!this.#peer?.destroyed) this.#peer?.push(null);
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const peer = this.#peer;
    this.#peer = undefined;
    // What an end has been told already it may still read; the rest of the connection is gone.
    if (peer && !peer.destroyed) setImmediate(() => peer.destroy());
    done(error);
  }
}

/** Two ends of one connection. */
export function memoryConnection(): [MemoryConnection, MemoryConnection] {
  const ends: [MemoryConnection, MemoryConnection] = [
    new MemoryConnection(),
    new MemoryConnection(),
  ];
  ends[0].join(ends[1]);
  ends[1].join(ends[0]);
  return ends;
}

/** An end as the product sees it. */
export function asByteSocket(end: MemoryConnection): ByteSocket {
  return end as unknown as ByteSocket;
}
