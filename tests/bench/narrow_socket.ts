/**
 * A blocking TCP socket with a small segment size and receive buffer, straight from the C library:
 * neither Deno nor node: can set these.
 *
 * It exists for readers that stall. With ordinary sockets on loopback (segments of 64 KiB) the
 * kernel takes some 3 MB for a connection that nobody reads: a thousand of them hold more than the
 * kernel grants all TCP connections together, and nothing is left for the tunnel to hold. With small
 * segments it takes some 50 KiB, as on a network.
 */

/** Linux, the same on x86-64 and ARM64. */
const AF_INET = 2;
const SOCK_STREAM_CLOEXEC = 0o2000001;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_RCVTIMEO = 20;
const IPPROTO_TCP = 6;
const TCP_MAXSEG = 2;

/** The smallest that every network carries (RFC 9293, 3.7.1). */
const SEGMENT_BYTES = 536;

const RECEIVE_BUFFER_BYTES = 4096;

/** Deno for Linux is built for glibc, so this is there. */
const LIBRARY = "libc.so.6";

function openLibrary() {
  return Deno.dlopen(LIBRARY, {
    socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
    setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
    connect: { parameters: ["i32", "buffer", "u32"], result: "i32", nonblocking: true },
    send: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
    recv: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize", nonblocking: true },
    close: { parameters: ["i32"], result: "i32" },
  });
}

let library: ReturnType<typeof openLibrary> | undefined;

/** The C library's functions, looked up when first needed and kept until the process ends. */
function libc() {
  library ??= openLibrary();
  return library.symbols;
}

/** One connection to an IPv4 address. */
export class NarrowSocket implements Disposable {
  readonly #descriptor: number;
  #isClosed = false;

  private constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  /** Connects to `host` (dotted decimal) and `port`; reads later wait at most `readTimeoutMs`. */
  static async connect(host: string, port: number, readTimeoutMs: number): Promise<NarrowSocket> {
    const descriptor = libc().socket(AF_INET, SOCK_STREAM_CLOEXEC, 0);
    if (descriptor < 0) throw new Error("Socket could not be made: too many open files?");
    const socket = new NarrowSocket(descriptor);
    try {
      socket.#setOption(SOL_SOCKET, SO_RCVBUF, int32(RECEIVE_BUFFER_BYTES));
      socket.#setOption(IPPROTO_TCP, TCP_MAXSEG, int32(SEGMENT_BYTES));
      socket.#setOption(SOL_SOCKET, SO_RCVTIMEO, timeval(readTimeoutMs));
      const address = socketAddress(host, port);
      if (await libc().connect(descriptor, address, address.length) !== 0) {
        throw new Error(`Connection to ${host}:${port} failed`);
      }
    } catch (error) {
      socket[Symbol.dispose]();
      throw error;
    }
    return socket;
  }

  /** Sends a few bytes at once. */
  send(bytes: Uint8Array<ArrayBuffer>): void {
    const sent = libc().send(this.#descriptor, bytes, BigInt(bytes.length), 0);
    if (Number(sent) !== bytes.length) throw new Error("Request could not be sent");
  }

  /** Reads what is there, waiting for something; 0 at the end. Throws when the time is up. */
  async read(into: Uint8Array<ArrayBuffer>): Promise<number> {
    const count = Number(await libc().recv(this.#descriptor, into, BigInt(into.length), 0));
    if (count < 0) throw new Error("Nothing came in time, or the connection was reset");
    return count;
  }

  #setOption(level: number, option: number, value: Uint8Array<ArrayBuffer>): void {
    if (libc().setsockopt(this.#descriptor, level, option, value, value.length) !== 0) {
      throw new Error(`Socket option ${option} of level ${level} could not be set`);
    }
  }

  [Symbol.dispose](): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    libc().close(this.#descriptor);
  }
}

function int32(value: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Int32Array.of(value).buffer);
}

function timeval(ms: number): Uint8Array<ArrayBuffer> {
  const microseconds = (ms % 1000) * 1000;
  return new Uint8Array(
    BigInt64Array.of(BigInt(Math.floor(ms / 1000)), BigInt(microseconds)).buffer,
  );
}

/** A sockaddr_in: family in the machine's order, port and address in the network's. */
function socketAddress(host: string, port: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, AF_INET, true);
  view.setUint16(2, port);
  bytes.set(host.split(".").map(Number), 4);
  return bytes;
}
