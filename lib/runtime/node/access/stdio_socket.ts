/** Standard input and output as one connection, for ssh's ProxyCommand. */
import process from "node:process";
import type { ByteSocket, ByteSocketEvents } from "../../../net/byte_socket.ts";

type Listeners = { [E in keyof ByteSocketEvents]: Set<ByteSocketEvents[E]> };

/** The two streams of this process; there is one of it. */
export class StdioSocket implements ByteSocket {
  readonly #listeners: Listeners = {
    data: new Set(),
    end: new Set(),
    drain: new Set(),
    close: new Set(),
    error: new Set(),
  };
  #hasInputEnded = false;
  #hasOutputEnded = false;
  destroyed = false;

  constructor() {
    const { stdin, stdout } = process;
    stdin.pause();
    stdin.on("data", (bytes: Uint8Array) => this.#emit("data", bytes));
    stdin.on("end", () => this.#inputEnded());
    stdin.on("error", (error: Error) => this.#broke(error));
    stdout.on("drain", () => this.#emit("drain"));
    // Whoever started this has closed its end.
    stdout.on("error", (error: Error) => this.#broke(error));
  }

  on<E extends keyof ByteSocketEvents>(event: E, listener: ByteSocketEvents[E]): void {
    this.#listeners[event].add(listener);
  }

  off<E extends keyof ByteSocketEvents>(event: E, listener: ByteSocketEvents[E]): void {
    this.#listeners[event].delete(listener);
  }

  write(bytes: Uint8Array, sent?: (error?: Error | null) => void): boolean {
    if (this.destroyed || this.#hasOutputEnded) return true;
    return process.stdout.write(bytes, sent);
  }

  /** The other side sends no more: the end of this process tells that to who reads the output. */
  end(): void {
    this.#hasOutputEnded = true;
    this.#endWhenDone();
  }

  destroy(): void {
    if (this.destroyed) return;
    this.destroyed = true;
    process.stdin.pause();
    queueMicrotask(() => this.#emit("close"));
  }

  destroySoon(): void {
    this.end();
    process.stdout.write("", () => this.destroy());
  }

  resetAndDestroy(): void {
    this.destroy();
  }

  pause(): void {
    process.stdin.pause();
  }

  resume(): void {
    if (!this.destroyed && !this.#hasInputEnded) process.stdin.resume();
  }

  get writableLength(): number {
    return process.stdout.writableLength;
  }

  #inputEnded(): void {
    this.#hasInputEnded = true;
    this.#emit("end");
    this.#endWhenDone();
  }

  #endWhenDone(): void {
    if (this.#hasInputEnded && this.#hasOutputEnded) {
      process.stdout.write("", () => this.destroy());
    }
  }

  #broke(error: Error): void {
    if (this.destroyed) return;
    this.#emit("error", error);
    this.destroy();
  }

  #emit<E extends keyof ByteSocketEvents>(
    event: E,
    ...values: Parameters<ByteSocketEvents[E]>
  ): void {
    for (const listener of this.#listeners[event]) {
      (listener as (...values: Parameters<ByteSocketEvents[E]>) => void)(...values);
    }
  }
}
