/** A WebSocket (RFC 6455) on a socket of Node's: either end, once the opening handshake is done. */
import type { Socket } from "node:net";
import { guarded } from "./guarded_socket.ts";
import type { MessageSocket, TunnelSocketEvents } from "../../protocol/socket.ts";
import {
  CloseStatus,
  encodeClose,
  encodeFrame,
  maskBytes,
  maxHeaderBytes,
  Opcode,
  WebSocketError,
  writeFrameHeader,
} from "../../websocket/frame.ts";
import { MessageReader } from "../../websocket/message_reader.ts";
import { noBytes } from "../../bytes/bytes.ts";

/** How long the closing handshake may take before the connection is ended, in milliseconds. */
const closeTimeoutMs = 5_000;
/** Bytes that may wait in the socket while Pings are answered; with more, the peer reads none. */
const maxUnreadPongBytes = 1024 * 1024;

const zeroMask = new Uint8Array(maskBytes);

/** How an end is set up. */
export interface NodeWebSocketOptions {
  /** Which end this is: a client masks its frames, a server does not. */
  readonly role: "client" | "server";
  /** The largest message that is accepted, in bytes; a larger one ends the WebSocket with 1009. */
  readonly maxMessageBytes: number;
  /** What came behind the opening handshake. */
  readonly rest?: Uint8Array;
  /**
   * Clients only: masks with zeros, which saves touching every byte. Masking (RFC 6455 section 10.3)
   * keeps scripts from writing what an old intermediary takes for a request. Where no script runs and
   * no intermediary can read the frames, as under TLS or on loopback, it protects nothing.
   */
  readonly hasZeroMask?: boolean;
}

/**
 * `open`: messages pass. `closing`: our Close is sent, or the peer's has come; nothing is sent any
 * more. `closed`: the connection is gone.
 */
type State = "open" | "closing" | "closed";

/** One end. It reads nothing before {@link NodeWebSocket.listen} is called. */
export class NodeWebSocket implements MessageSocket {
  readonly headroom = maxHeaderBytes;
  readonly #socket: Socket;
  readonly #options: NodeWebSocketOptions;
  readonly #reader: MessageReader;
  #events: TunnelSocketEvents | undefined;
  #state: State = "open";
  /** How the peer closed, for the report at the connection's end. */
  #peerClose: { readonly code: number; readonly reason: string } | undefined;
  /** The owner has asked for nothing more to be read. */
  #mustPause = false;
  #closeTimer: ReturnType<typeof setTimeout> | undefined;

  /** Takes the socket over: its other listeners for data and its end are removed before. */
  constructor(socket: Socket, options: NodeWebSocketOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#reader = new MessageReader({
      sender: options.role === "client" ? "server" : "client",
      maxMessageBytes: options.maxMessageBytes,
    }, {
      binary: (message, free) => this.#events?.message(message, free),
      begins: (first, length) => this.#events?.begins?.(first, length) ?? false,
      part: (bytes, isLast, free) => this.#events?.part?.(bytes, isLast, free),
      text: (message) => this.#events?.text(message),
      ping: (payload) => this.#pinged(payload),
      pong: () => this.#events?.control?.(),
      emptyFragment: () => this.#events?.control?.(),
      close: (code, reason) => this.#receiveClose(code, reason),
    });
    socket.pause();
    // What follows is `close`, which tells the owner.
    socket.on("error", () => this.#limitClosing());
    socket.on("end", () => {
      this.#socket.destroySoon();
      this.#limitClosing();
    });
    socket.on("close", () => this.#ended());
    if (socket.destroyed) queueMicrotask(() => this.#ended());
  }

  get bufferedAmount(): number {
    // Nothing leaves any more: what waits is to be known as unsent when the end is reported.
    return this.#state === "open" ? this.#socket.writableLength : Number.MAX_SAFE_INTEGER;
  }

  get bytesRead(): number {
    return this.#socket.bytesRead;
  }

  /** Whether the owner has stopped the reading. */
  get isPaused(): boolean {
    return this.#mustPause;
  }

  listen(events: TunnelSocketEvents): void {
    this.#events = events;
    if (this.#state === "closed") return this.#report();
    this.#socket.on("data", (bytes: Uint8Array) => this.#receive(bytes));
    // The owner is still being set up.
    queueMicrotask(() => guarded(this.#socket, () => this.#start()));
  }

  #start(): void {
    const { rest = noBytes } = this.#options;
    if (rest.length > 0) this.#receive(rest);
    if (!this.#mustPause) this.#socket.resume();
  }

  send(message: Uint8Array, sent?: () => void): void {
    this.#sendFrame(Opcode.Binary, message, sent);
  }

  sendWithHeadroom(memory: Uint8Array, sent?: () => void): void {
    if (this.#state !== "open") return;
    const start = writeFrameHeader(memory, this.headroom, Opcode.Binary, this.#nextMask());
    this.#write(memory.subarray(start), sent);
  }

  sendText(text: string): void {
    this.#sendFrame(Opcode.Text, new TextEncoder().encode(text));
  }

  /** Asks the peer for a sign of life. */
  ping(): void {
    this.#sendFrame(Opcode.Ping, noBytes);
  }

  close(code: number, reason: string): void {
    if (this.#state !== "open") return;
    this.#sendClose(code, reason);
    this.#limitClosing();
  }

  terminate(): void {
    this.#socket.destroy();
    this.#ended();
  }

  pause(): void {
    this.#mustPause = true;
    this.#socket.pause();
  }

  resume(): void {
    this.#mustPause = false;
    this.#socket.resume();
  }

  #sendFrame(opcode: number, payload: Uint8Array, sent?: () => void): void {
    if (this.#state === "open") this.#write(encodeFrame(opcode, payload, this.#nextMask()), sent);
  }

  #nextMask(): Uint8Array | undefined {
    const { role, hasZeroMask } = this.#options;
    if (role === "server") return undefined;
    return hasZeroMask ? zeroMask : crypto.getRandomValues(new Uint8Array(maskBytes));
  }

  #write(frame: Uint8Array, sent?: () => void): void {
    if (!sent) return void this.#socket.write(frame, this.#drained);
    this.#socket.write(frame, (error) => {
      if (!error) sent();
      this.#drained(error);
    });
  }

  /** Reports room after a write. After an error there is none, but an end, which is reported next. */
  readonly #drained = (error?: Error | null): void => {
    if (!error) this.#events?.drained();
  };

  #receive(bytes: Uint8Array): void {
    try {
      this.#reader.receive(bytes);
    } catch (error) {
      if (!(error instanceof WebSocketError)) throw error;
      this.#reader.stop();
      this.#sendClose(error.code, error.message);
      this.#limitClosing();
      this.#report(error.code, error.message);
    }
  }

  #pinged(payload: Uint8Array): void {
    this.#events?.control?.();
    // A peer that reads nothing gets no more answers (RFC 6455 section 5.5.3 allows to skip some).
    if (this.#socket.writableLength <= maxUnreadPongBytes) this.#sendFrame(Opcode.Pong, payload);
  }

  #receiveClose(code: number, reason: string): void {
    this.#peerClose = { code, reason };
    this.#sendClose(code, "");
    // The server ends the connection first (RFC 6455 section 7.1.1).
    if (this.#options.role === "server") this.#socket.end();
    this.#limitClosing();
  }

  /** Our Close, once; nothing follows it. */
  #sendClose(code: number, reason: string): void {
    if (this.#state !== "open") return;
    this.#state = "closing";
    this.#socket.write(encodeFrame(Opcode.Close, encodeClose(code, reason), this.#nextMask()));
  }

  #limitClosing(): void {
    if (this.#state === "closed") return;
    // What still comes is read up to the peer's Close, whoever had stopped reading.
    this.#socket.resume();
    this.#closeTimer ??= setTimeout(() => this.terminate(), closeTimeoutMs);
  }

  #ended(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    clearTimeout(this.#closeTimer);
    this.#reader.stop();
    this.#report();
  }

  /** Tells the owner of the end, once. */
  #report(
    code = this.#peerClose?.code ?? CloseStatus.Abnormal,
    reason = this.#peerClose?.reason ?? "",
  ): void {
    const events = this.#events;
    this.#events = undefined;
    events?.closed(code, reason);
  }
}
