/** One TCP stream of the tunnel: a connection to the target, bytes both ways. */
import { ByteBuffer } from "../bytes/byte_buffer.ts";
import type { ByteSocket } from "../net/byte_socket.ts";
import { pipe } from "../net/pipe.ts";
import { StreamError } from "../protocol/errors.ts";
import type { Stream } from "../protocol/stream.ts";
import type { StreamEvents } from "../protocol/stream_events.ts";

/** What serving a TCP stream needs. */
export interface ServeTcpContext {
  /** Connects to the target. @throws {StreamError} that says why it can't. */
  dial: (signal: AbortSignal) => Promise<ByteSocket>;
  /** The target is connected. */
  connected: () => void;
  /** The connection is over; with the bytes that went to the target, and that came from it. */
  closed: (toTarget: number, fromTarget: number) => void;
  /** There is no connection; the error's text is for the log. */
  failed: (error: StreamError) => void;
}

/** Connects to the target, tells the relay, and joins both. */
export function serveTcp(stream: Stream, context: ServeTcpContext): void {
  new TcpDialling(stream, context);
}

/** Holds a stream until the target is connected; from then on a pipe has it. */
class TcpDialling implements StreamEvents {
  readonly #stream: Stream;
  readonly #context: ServeTcpContext;
  readonly #abort = new AbortController();
  /** What the relay has sent already; its window bounds it, as none of it is reported as consumed. */
  readonly #pending = new ByteBuffer();
  #hasStreamEnded = false;
  #isOver = false;

  constructor(stream: Stream, context: ServeTcpContext) {
    this.#stream = stream;
    this.#context = context;
    stream.listen(this);
    context.dial(this.#abort.signal).then(
      (socket) => this.#connected(socket),
      (error) => this.#failed(error),
    ).catch((error) => stream.crash(error));
  }

  data(bytes: Uint8Array): void {
    this.#pending.append(bytes);
  }

  end(): void {
    this.#hasStreamEnded = true;
  }

  /** The relay gave up: nobody waits for the connection any more. */
  closed(): void {
    this.#isOver = true;
    this.#abort.abort();
  }

  failed(): void {
    this.closed();
  }

  /** Nothing has been written yet. */
  drained(): void {}

  #connected(socket: ByteSocket): void {
    if (this.#isOver) {
      socket.destroy();
      return;
    }
    const { connected, closed } = this.#context;
    connected();
    this.#stream.accept();
    pipe(socket, this.#stream, {
      streamHead: this.#pending.take(),
      hasStreamEnded: this.#hasStreamEnded,
      closed,
    });
  }

  #failed(error: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const failure = error instanceof StreamError
      ? error
      : new StreamError("internal", String(error));
    this.#context.failed(failure);
    this.#stream.fail(failure);
  }
}
