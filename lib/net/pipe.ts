/** Joins a raw connection and a channel, mostly a stream of the tunnel, with half-close and backpressure both ways. */
import { StreamError } from "../protocol/errors.ts";
import type { StreamEvents } from "../protocol/stream_events.ts";
import { type ByteSocket, whenSent } from "./byte_socket.ts";
import type { Channel } from "./channel.ts";

/** How long a socket may take to close, once both ways have ended and all is sent, in milliseconds. */
const closeTimeoutMs = 30_000;

/** What a pipe tells its owner. */
export interface PipeOptions {
  /** Bytes that were read from the socket before the pipe began. */
  head?: Uint8Array;
  /** Bytes that came on the stream before the pipe began and were not reported as consumed. */
  streamHead?: Uint8Array;
  /** Whether the stream's end has come before the pipe began. */
  hasStreamEnded?: boolean;
  /** Called once, when both directions are over, with the bytes that went to and came from the socket. */
  closed?: (toSocket: number, fromSocket: number) => void;
}

/** What a pipe has moved so far. */
export interface PipeProgress {
  /** Bytes that went to the socket, and that came from it. */
  readonly toSocket: number;
  readonly fromSocket: number;
}

/**
 * Moves bytes both ways until both ways have ended or one side broke.
 *
 * An orderly end passes on as an orderly end of that direction alone; a break passes on as a break:
 * the peer never sees a cut transfer as a finished one.
 */
export function pipe(
  socket: ByteSocket,
  stream: Channel,
  options: PipeOptions = {},
): PipeProgress {
  return new Pipe(socket, stream, options);
}

class Pipe implements StreamEvents, PipeProgress {
  readonly #socket: ByteSocket;
  readonly #stream: Channel;
  readonly #closed: PipeOptions["closed"];
  /** Bytes that went to the socket, and that came from it. */
  #received = 0;
  #sent = 0;
  /** Bytes handed to the full socket, to be reported as consumed when it drains. */
  #unconsumed = 0;
  #hasSocketEnded = false;
  #hasStreamEnded = false;
  #isSocketClosed = false;
  #isOver = false;
  #closeTimer: ReturnType<typeof setInterval> | undefined;

  constructor(
    socket: ByteSocket,
    stream: Channel,
    { head, streamHead, hasStreamEnded, closed }: PipeOptions,
  ) {
    this.#socket = socket;
    this.#stream = stream;
    this.#closed = closed;
    stream.listen(this);
    socket.on("data", (bytes) => this.#send(bytes));
    socket.on("drain", () => this.#socketDrained());
    socket.on("end", () => this.#socketEnded());
    socket.on("error", () => {
      // After its end everything that it sent has come: what broke is only our way to it.
      if (!this.#hasSocketEnded) stream.fail(new StreamError("reset", "The connection broke"));
    });
    socket.on("close", () => this.#socketClosed());
    if (head?.length) this.#send(head);
    if (streamHead?.length) this.data(streamHead);
    if (hasStreamEnded) this.end();
    socket.resume();
  }

  get toSocket(): number {
    return this.#received;
  }

  get fromSocket(): number {
    return this.#sent;
  }

  data(bytes: Uint8Array, free?: () => void): void {
    this.#received += bytes.length;
    if (this.#socket.write(bytes, free && whenSent(free))) this.#stream.consumed(bytes.length);
    else this.#unconsumed += bytes.length;
  }

  end(): void {
    this.#hasStreamEnded = true;
    this.#socket.end();
    if (this.#hasSocketEnded) this.#expectClose();
  }

  closed(): void {
    // After its end the peer only says that it wants nothing more of ours.
    if (this.#hasStreamEnded) {
      this.#socket.destroySoon();
      this.#expectClose();
    } else this.#socket.resetAndDestroy();
    this.#over();
  }

  failed(): void {
    this.#socket.resetAndDestroy();
    this.#over();
  }

  drained(): void {
    this.#socket.resume();
  }

  #send(bytes: Uint8Array): void {
    this.#sent += bytes.length;
    if (!this.#stream.write(bytes)) this.#socket.pause();
  }

  #socketDrained(): void {
    const bytes = this.#unconsumed;
    this.#unconsumed = 0;
    this.#stream.consumed(bytes);
  }

  #socketEnded(): void {
    this.#hasSocketEnded = true;
    if (this.#hasStreamEnded) this.#expectClose();
    if (this.#stream.canHalfClose) return this.#stream.end();
    // Towards version 1 the end of one way is a Close, behind which nothing comes back.
    this.#stream.finish();
    this.#socket.destroySoon();
    this.#expectClose();
  }

  #socketClosed(): void {
    this.#isSocketClosed = true;
    clearInterval(this.#closeTimer);
    if (this.#hasSocketEnded) this.#stream.finish();
    else this.#stream.close();
    this.#over();
  }

  /**
   * Both ways have ended, so the socket will close, once what is queued has gone out; a socket that
   * can't even say that it broke is ended in time. A peer that reads slowly gets the time it needs.
   */
  #expectClose(): void {
    // The stream's own end may come behind the socket's.
    if (this.#isSocketClosed) return;
    this.#closeTimer ??= setInterval(() => {
      if (this.#socket.writableLength === 0) this.#socket.destroy();
    }, closeTimeoutMs);
  }

  #over(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#closed?.(this.#received, this.#sent);
  }
}
