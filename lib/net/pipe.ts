/** Joins a raw connection and a channel, mostly a stream of the tunnel, with half-close and backpressure both ways. */
import { StreamError } from "../protocol/errors.ts";
import type { ByteSocket } from "./byte_socket.ts";
import type { Channel } from "./channel.ts";

/** For a socket to close, once both ways have ended and all has gone out, in milliseconds. */
const closeTimeoutMs = 30_000;

/** What a pipe tells its owner. */
export interface PipeOptions {
  /** Bytes that were read from the socket before the pipe began. */
  head?: Uint8Array;
  /** Bytes that came on the stream before the pipe began and were not reported as taken. */
  streamHead?: Uint8Array;
  /** Called once, when both directions are over, with the bytes that went to and came from the socket. */
  closed?: (toSocket: number, fromSocket: number) => void;
}

/**
 * Moves bytes both ways until both ways have ended or one side broke.
 *
 * An orderly end passes on as an orderly end of that direction alone; a break passes on as a break:
 * the peer never sees a cut transfer as a finished one.
 */
export function pipe(socket: ByteSocket, stream: Channel, options: PipeOptions = {}): void {
  let unreported = 0;
  let received = 0;
  let sent = 0;
  let hasSocketEnded = false;
  let hasStreamEnded = false;
  let isOver = false;

  const over = (): void => {
    if (isOver) return;
    isOver = true;
    options.closed?.(received, sent);
  };
  // Both ways have ended, so the socket will close, once what is queued has gone out; a socket that
  // can't even say that it broke is ended in time. A peer that reads slowly gets the time it needs.
  const expectClose = (): void => {
    const timer = setInterval(() => {
      if (socket.writableLength === 0) socket.destroy();
    }, closeTimeoutMs);
    socket.on("close", () => clearInterval(timer));
  };
  const send = (bytes: Uint8Array): void => {
    sent += bytes.length;
    if (!stream.write(bytes)) socket.pause();
  };
  const receive = (bytes: Uint8Array): void => {
    received += bytes.length;
    if (socket.write(bytes)) stream.taken(bytes.length);
    else unreported += bytes.length;
  };

  stream.listen({
    data: receive,
    end() {
      hasStreamEnded = true;
      socket.end();
      if (hasSocketEnded) expectClose();
    },
    closed() {
      // After its end the peer only says that it wants nothing more of ours.
      if (hasStreamEnded) {
        socket.destroySoon();
        expectClose();
      } else socket.resetAndDestroy();
      over();
    },
    failed() {
      socket.resetAndDestroy();
      over();
    },
    drained: () => socket.resume(),
  });
  socket.on("data", send);
  socket.on("drain", () => {
    const bytes = unreported;
    unreported = 0;
    stream.taken(bytes);
  });
  socket.on("end", () => {
    hasSocketEnded = true;
    if (hasStreamEnded) expectClose();
    if (stream.canHalfClose) return stream.end();
    // Towards version 1 the end of one way is a Close, behind which nothing comes back.
    stream.finish();
    socket.destroySoon();
    expectClose();
  });
  socket.on("error", () => {
    // After its end everything that it sent has come: what broke is only our way to it.
    if (!hasSocketEnded) stream.fail(new StreamError("reset", "The connection broke"));
  });
  socket.on("close", () => {
    if (hasSocketEnded) stream.finish();
    else stream.close();
    over();
  });

  if (options.head?.length) send(options.head);
  if (options.streamHead?.length) receive(options.streamHead);
  socket.resume();
}
