/**
 * One TCP connection as the tests see it, from either end: exact bytes in and out, half-close,
 * reset, and a reader that stops the socket when the test does not read.
 */
import { connect, type Socket } from "node:net";
import { once } from "node:events";
import { ByteQueue, ByteReader, concatBytes } from "./byte_reader.ts";

/** Bytes that arrive while the test reads nothing, before the socket is told to stop reading. */
const UNREAD_HIGH_WATER_BYTES = 64 * 1024;

/** What a connection keeps of the bytes it received, for assertions at the end of a test. */
const RECORD_LIMIT_BYTES = 16 * 1024 * 1024;

/** Thrown by reads and writes on a connection that has gone; `cause` is the socket's error, if any. */
export class ConnectionGoneError extends Error {
  override name = "ConnectionGoneError";
}

/** A TCP connection under a test's control. */
export class RawConnection implements AsyncDisposable {
  /** Reads what the other side sends; backpressure reaches the sender while nobody reads. */
  readonly reader: ByteReader;
  /** Resolves when the connection has gone, with the socket's error if it ended in one. */
  readonly closed: Promise<Error | undefined>;

  readonly #socket: Socket;
  readonly #recorded: Uint8Array[] = [];
  #receivedBytes = 0;
  #writtenBytes = 0;
  #isEnded = false;
  #isClosed = false;

  /** The socket must have `allowHalfOpen` set, so that the test decides when its side ends. */
  constructor(socket: Socket) {
    this.#socket = socket;
    const queue = new ByteQueue({
      highWaterBytes: UNREAD_HIGH_WATER_BYTES,
      pause: () => socket.pause(),
      resume: () => socket.resume(),
    });
    this.reader = new ByteReader(() => queue.next());
    this.closed = this.#follow(queue);
  }

  #follow(queue: ByteQueue): Promise<Error | undefined> {
    const socket = this.#socket;
    socket.setNoDelay(true);
    socket.on("data", (chunk: Uint8Array) => {
      this.#record(chunk);
      queue.push(chunk);
    });
    socket.on("end", () => {
      this.#isEnded = true;
      queue.end();
    });
    let failure: Error | undefined;
    socket.on("error", (error: Error) => failure = error);
    return new Promise((resolve) => {
      socket.on("close", () => {
        this.#isClosed = true;
        queue.end(gone("while reading", failure));
        resolve(failure);
      });
    });
  }

  #record(chunk: Uint8Array): void {
    this.#receivedBytes += chunk.length;
    if (this.#receivedBytes <= RECORD_LIMIT_BYTES) this.#recorded.push(chunk);
  }

  /** All bytes received so far; throws once they are more than the 16 MiB that are kept. */
  get received(): Uint8Array {
    if (this.#receivedBytes > RECORD_LIMIT_BYTES) {
      throw new Error(`Received ${this.#receivedBytes} bytes: more than what is kept`);
    }
    return concatBytes(this.#recorded);
  }

  /** The bytes received so far, as text. */
  get receivedText(): string {
    return new TextDecoder().decode(this.received);
  }

  /** How many bytes came in. */
  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /** How many bytes {@link write} has taken, whether or not they have left. */
  get writtenBytes(): number {
    return this.#writtenBytes;
  }

  /** Whether the other side ended its direction in good order. */
  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** Whether the connection has gone, from either side. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Sends bytes and resolves when the socket wants more; rejects if the connection is gone. */
  async write(bytes: Uint8Array | string): Promise<void> {
    const socket = this.#socket;
    const chunk = typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
    if (socket.destroyed || !socket.writable) throw gone("before writing");
    this.#writtenBytes += chunk.length;
    if (socket.write(chunk)) return;
    const abandoned = new AbortController();
    try {
      await Promise.race([
        once(socket, "drain", { signal: abandoned.signal }),
        this.closed.then((error) => {
          throw gone("while bytes were waiting to leave", error);
        }),
      ]);
    } finally {
      abandoned.abort();
    }
  }

  /** Ends this side's direction (FIN) after what was written; the other direction stays open. */
  end(): void {
    this.#socket.end();
  }

  /** Gives up the connection at once, in both directions. */
  destroy(): void {
    this.#socket.destroy();
  }

  /** Gives up the connection with a reset (RST), as a crashed peer's kernel does. */
  reset(): void {
    this.#socket.resetAndDestroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.destroy();
    await this.closed;
  }
}

function gone(when: string, cause?: Error): ConnectionGoneError {
  return new ConnectionGoneError(`Connection is gone ${when}`, { cause });
}

/** Connects to `address` (`host:port`). */
export async function openConnection(address: string): Promise<RawConnection> {
  const { host, port } = splitAddress(address);
  const socket = connect({ host, port, allowHalfOpen: true });
  try {
    await once(socket, "connect");
  } catch (error) {
    socket.destroy();
    throw error;
  }
  return new RawConnection(socket);
}

/** The host and port of a `host:port` text; the host may be an IPv6 address in brackets. */
export function splitAddress(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(":");
  const port = Number(address.slice(colon + 1));
  if (colon <= 0 || !Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new TypeError(`Address must be host:port, got "${address}"`);
  }
  return { host: address.slice(0, colon).replace(/^\[(.*)\]$/, "$1"), port };
}
