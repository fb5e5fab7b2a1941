/** The `ws` package's WebSocket as a session sees it: it knows when its buffer has fallen. */
// @ts-types="npm:@types/ws@8.18.2"
import type { RawData, WebSocket } from "ws";
import type { TunnelSocket, TunnelSocketEvents } from "../../protocol/socket.ts";

/** How long the closing handshake may take before the connection is ended, in milliseconds. */
const closeTimeoutMs = 5_000;

/** Wraps a WebSocket of the `ws` package. */
export class WsSocket implements TunnelSocket {
  readonly #socket: WebSocket;
  #events: TunnelSocketEvents | undefined;
  #closeTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(socket: WebSocket) {
    this.#socket = socket;
    // One array per message would be a copy less; "nodebuffer" is that already for whole messages.
    socket.binaryType = "nodebuffer";
    // A broken frame or connection: `close` follows and tells the session.
    socket.on("error", () => {});
  }

  get bufferedAmount(): number {
    return this.#socket.bufferedAmount;
  }

  listen(events: TunnelSocketEvents): void {
    this.#events = events;
    this.#socket.on("message", (data: RawData, isBinary: boolean) => {
      if (isBinary) events.message(data as Uint8Array);
      else events.text();
    });
    this.#socket.on("close", (code: number, reason: Uint8Array) => {
      clearTimeout(this.#closeTimer);
      events.closed(code, new TextDecoder().decode(reason));
    });
  }

  send(message: Uint8Array): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    this.#socket.send(message, this.#sent);
  }

  close(code: number, reason: string): void {
    this.#closeTimer ??= setTimeout(() => this.#socket.terminate(), closeTimeoutMs);
    this.#socket.close(code, reason);
  }

  terminate(): void {
    this.#socket.terminate();
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  readonly #sent = (): void => this.#events?.drained();
}
