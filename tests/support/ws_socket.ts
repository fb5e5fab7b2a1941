/** The `ws` package's WebSocket as a session sees it: what others implement, to test ours against. */
// @ts-types="npm:@types/ws@8.18.2"
import type { RawData, WebSocket } from "ws";
import type { MessageSocket, TunnelSocketEvents } from "../../lib/protocol/socket.ts";

/** How long the closing handshake may take before the connection is ended, in milliseconds. */
const closeTimeoutMs = 5_000;

/**
 * The close code (RFC 6455 section 7.4.1) for what `ws` can't read; undefined for a connection that
 * broke. `ws` sends the peer this code, and tells us 1006.
 */
function breachCode({ code }: { readonly code?: string }): number | undefined {
  if (!code?.startsWith("WS_ERR_")) return undefined;
  if (code === "WS_ERR_UNSUPPORTED_MESSAGE_LENGTH") return 1009;
  return code === "WS_ERR_INVALID_UTF8" ? 1007 : 1002;
}

/** What is asked of the connection below a WebSocket. */
interface Line {
  readonly bytesRead: number;
}

/** Wraps a WebSocket of the `ws` package. */
export class WsSocket implements MessageSocket {
  readonly #socket: WebSocket;
  readonly #line: Line | undefined;
  #events: TunnelSocketEvents | undefined;
  #closeTimer: ReturnType<typeof setTimeout> | undefined;

  /** @param line The connection below, which counts the bytes of a message that is still coming. */
  constructor(socket: WebSocket, line?: Line) {
    this.#socket = socket;
    this.#line = line;
    // One array per message would be a copy less; "nodebuffer" is that already for whole messages.
    socket.binaryType = "nodebuffer";
    // A connection that broke: `close` follows and tells the session. After a broken frame `ws`
    // would wait half a minute for the peer to answer its closing handshake.
    socket.on("error", (error: Error & { readonly code?: string }) => {
      this.#limitClosing();
      const code = breachCode(error);
      if (code !== undefined) this.#closed(code, error.message);
    });
    // The peer's first message may come in one packet with the handshake; without a listener, as
    // long as whoever waits for this socket has not had its turn, it would be lost.
    socket.pause();
  }

  get bufferedAmount(): number {
    // Nothing leaves any more: what waits is to be known as unsent when the end is reported.
    if (this.#socket.readyState !== this.#socket.OPEN) return Number.MAX_SAFE_INTEGER;
    return this.#socket.bufferedAmount;
  }

  get bytesRead(): number | undefined {
    return this.#line?.bytesRead;
  }

  listen(events: TunnelSocketEvents): void {
    this.#events = events;
    this.#socket.on("message", (data: RawData, isBinary: boolean) => {
      if (isBinary) events.message(data as Uint8Array);
      else events.text(new TextDecoder().decode(data as Uint8Array));
    });
    for (const event of ["ping", "pong"] as const) {
      this.#socket.on(event, () => events.control?.());
    }
    this.#socket.on("close", (code: number, reason: Uint8Array) => {
      clearTimeout(this.#closeTimer);
      this.#closed(code, new TextDecoder().decode(reason));
    });
    this.#socket.resume();
  }

  send(message: Uint8Array, sent?: () => void): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    if (!sent) return this.#socket.send(message, this.#drained);
    this.#socket.send(message, (error) => {
      if (error) return;
      sent();
      this.#drained();
    });
  }

  sendText(text: string): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    this.#socket.send(new TextEncoder().encode(text), { binary: false }, this.#drained);
  }

  close(code: number, reason: string): void {
    this.#limitClosing();
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

  /** Tells the end, once. */
  #closed(code: number, reason: string): void {
    const events = this.#events;
    this.#events = undefined;
    events?.closed(code, reason);
  }

  #limitClosing(): void {
    if (this.#socket.readyState === this.#socket.CLOSED) return;
    this.#closeTimer ??= setTimeout(() => this.#socket.terminate(), closeTimeoutMs);
  }

  /** After an error there is no room, but an end, which is reported next. */
  readonly #drained = (error?: Error): void => {
    if (!error) this.#events?.drained();
  };
}
