/** A socket to the target that reads no more than is wanted, into memory that all of them share. */
import type { Socket } from "node:net";
import { copyOf } from "../../bytes/bytes.ts";
import type { ByteSocket, ByteSocketEvents } from "../../net/byte_socket.ts";

/**
 * Sizes of a read. A socket begins small and grows while reads come back full, so that a thousand
 * connections whose answers nobody takes hold little, and a fast one is read in large pieces.
 */
const readBytes = [16 * 1024, 32 * 1024, 64 * 1024] as const;

/** A read and its callback are one step of the event loop: no two sockets use it at once. */
const readMemory = new Uint8Array(readBytes.at(-1)!);
const readBuffers = readBytes.map((bytes) => readMemory.subarray(0, bytes));

/**
 * Node's own reading gives each read memory of its own, 64 KiB of it, and reads one piece more after
 * `pause`. With the `onread` option of `connect` it doesn't; then `data` events are up to us.
 */
export class OnReadSocket implements ByteSocket {
  #socket: Socket | undefined;
  #level = 0;
  #isPaused = false;
  #data: ((bytes: Uint8Array) => void) | undefined;

  /** The option to make the connection with. */
  readonly onread = {
    buffer: (): Uint8Array => readBuffers[this.#level]!,
    callback: (length: number, buffer: Uint8Array): boolean => this.#read(length, buffer),
  };

  /** Says which connection was made with {@link onread}. */
  attach(socket: Socket): this {
    this.#socket = socket;
    return this;
  }

  get destroyed(): boolean {
    return this.#connection.destroyed;
  }

  get writableLength(): number {
    return this.#connection.writableLength;
  }

  on<E extends keyof ByteSocketEvents>(event: E, listener: ByteSocketEvents[E]): this {
    if (event === "data") this.#data = listener as ByteSocketEvents["data"];
    else this.#connection.on(event, listener);
    return this;
  }

  off<E extends keyof ByteSocketEvents>(event: E, listener: ByteSocketEvents[E]): this {
    if (event !== "data") this.#connection.off(event, listener);
    else if (this.#data === listener) this.#data = undefined;
    return this;
  }

  write(bytes: Uint8Array): boolean {
    return this.#connection.write(bytes);
  }

  end(): void {
    this.#connection.end();
  }

  destroy(): void {
    this.#connection.destroy();
  }

  destroySoon(): void {
    this.#connection.destroySoon();
  }

  resetAndDestroy(): void {
    this.#connection.resetAndDestroy();
  }

  pause(): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    this.#level = 0;
    this.#connection.pause();
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#connection.resume();
  }

  get #connection(): Socket {
    if (!this.#socket) throw new TypeError("The connection has not been made");
    return this.#socket;
  }

  /** @returns whether to read on. */
  #read(length: number, buffer: Uint8Array): boolean {
    const isFull = length === readBytes[this.#level];
    const bytes = copyOf(buffer.subarray(0, length));
    if (isFull && this.#level < readBytes.length - 1) this.#level++;
    this.#data?.(bytes);
    return !this.#isPaused;
  }
}
