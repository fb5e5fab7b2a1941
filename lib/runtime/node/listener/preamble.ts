/** Reads what comes in front of a connection's own protocol: a PROXY header, or a ClientHello. */
import type { Socket } from "node:net";

/** What becomes of a preamble. */
export interface PreambleEvents {
  /** Bytes came. */
  receive(bytes: Uint8Array): void;
  /** It was not complete in time. */
  timeout(): void;
}

/** Begins to read. @returns what ends that; the socket does not flow afterwards */
export function readPreamble(
  socket: Socket,
  timeoutMs: number,
  events: PreambleEvents,
): () => void {
  const timer = setTimeout(() => {
    stop();
    events.timeout();
  }, timeoutMs);
  const receive = (bytes: Uint8Array): void => events.receive(bytes);
  const stop = (): void => {
    clearTimeout(timer);
    socket.off("data", receive);
    socket.off("close", stop);
    socket.off("error", ignore);
    socket.off("end", leave);
    socket.pause();
  };
  /** A port check, or a client that gives up. */
  const leave = (): void => {
    stop();
    socket.destroy();
  };
  socket.on("data", receive);
  socket.on("end", leave);
  socket.on("close", stop);
  socket.on("error", ignore);
  return stop;
}

/** `close` follows. */
function ignore(): void {}
