/** Joins a caller's WebSocket, as a platform hands it over, and the target's, in a channel's bytes. */
import {
  CloseStatus,
  encodeClose,
  encodeFrame,
  isCloseCode,
  Opcode,
  WebSocketError,
} from "../websocket/frame.ts";
import { MessageReader } from "../websocket/message_reader.ts";
import { StreamError } from "../protocol/errors.ts";
import type { Channel } from "./channel.ts";

/** A message of the target's at the most, in bytes: 1 MiB is what every platform passes on. */
const maxMessageBytes = 1024 * 1024;
/**
 * What a caller may send while the target reads nothing, in bytes. A standard WebSocket can't be
 * stopped from reading, so a caller that goes on is cut off.
 */
const maxWaitingBytes = 8 * 1024 * 1024;
/** What may wait for the caller, in bytes, before the target is stopped. */
const highWaterBytes = 256 * 1024;
/** How often the caller's socket is asked whether its buffer has fallen, in milliseconds. */
const drainPollMs = 5;
/** How long the target may take to answer a Close, in milliseconds. */
const closeTimeoutMs = 5_000;

/** How a bridge is set up. */
export interface BridgeOptions {
  /** Bytes behind the target's 101, not yet reported as consumed. */
  readonly rest: Uint8Array;
  /** See `WebSocketTraits`. */
  readonly cut?: ((socket: WebSocket) => void) | undefined;
  /** Something here threw: a bug, for the log. */
  readonly fault?: ((error: unknown) => void) | undefined;
  /** Called once, when both sides are over, with the bytes of content sent to the caller and by it. */
  readonly closed: (bytes: number, bytesIn: number) => void;
}

/** Moves messages both ways until either side closes or breaks. The socket is open, or about to be. */
export function bridge(socket: WebSocket, channel: Channel, options: BridgeOptions): void {
  new Bridge(socket, channel, options);
}

/**
 * `open`: messages pass. `closing`: the caller has closed, and the target's Close is awaited.
 * `over`: both sides are told.
 */
class Bridge {
  readonly #socket: WebSocket;
  readonly #channel: Channel;
  readonly #options: BridgeOptions;
  readonly #reader: MessageReader;
  #state: "open" | "closing" | "over" = "open";
  #sentBytes = 0;
  #receivedBytes = 0;
  #isChannelFull = false;
  /** Bytes that were written since the channel said that it is full. */
  #waitingBytes = 0;
  #unconsumed = 0;
  /** What came before the caller's socket was open. */
  #early: Uint8Array[] = [];
  #drainTimer: ReturnType<typeof setInterval> | undefined;
  #closeTimer: ReturnType<typeof setTimeout> | undefined;
  /** Ends a caller's socket that doesn't answer a Close. */
  #cutTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(socket: WebSocket, channel: Channel, options: BridgeOptions) {
    this.#socket = socket;
    this.#channel = channel;
    this.#options = options;
    this.#reader = new MessageReader({ sender: "server", maxMessageBytes }, {
      text: (message, bytes) => this.#toCaller(message, bytes),
      binary: (message) => this.#toCaller(message as Uint8Array<ArrayBuffer>, message.length),
      ping: (payload) => this.#send(Opcode.Pong, payload),
      close: (code, reason) => this.#targetClosed(code, reason),
    });
    this.#listenToChannel();
    this.#listenToSocket();
    if (options.rest.length > 0) this.#receive(options.rest);
  }

  #listenToSocket(): void {
    this.#socket.binaryType = "arraybuffer";
    this.#socket.addEventListener("open", () => {
      const early = this.#early;
      this.#early = [];
      this.#guarded(() => {
        for (const bytes of early) this.#receive(bytes);
      });
    });
    this.#socket.addEventListener("message", ({ data }) => {
      this.#guarded(() => this.#fromCaller(data));
    });
    this.#socket.addEventListener("close", ({ code, reason, wasClean }) => {
      clearTimeout(this.#cutTimer);
      this.#guarded(() => wasClean ? this.#callerClosed(code, reason) : this.#callerBroke());
    });
    this.#socket.addEventListener("error", (event) => {
      // Some runtimes end the process for an error that nobody handles.
      if ("preventDefault" in event) event.preventDefault();
      this.#guarded(() => this.#callerBroke());
    });
  }

  #fromCaller(data: string | ArrayBuffer): void {
    if (this.#state !== "open") return;
    const isText = typeof data === "string";
    const content = isText ? new TextEncoder().encode(data) : new Uint8Array(data);
    this.#receivedBytes += content.length;
    this.#send(isText ? Opcode.Text : Opcode.Binary, content);
  }

  /** What a listener throws ends this bridge; in Deno it would end the process. */
  #guarded(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.#options.fault?.(error);
      this.#fail(CloseStatus.InternalError, "The relay failed");
    }
  }

  #listenToChannel(): void {
    const broken = () =>
      this.#fail(CloseStatus.InternalError, "The connection to the target broke");
    this.#channel.listen({
      data: (bytes) => this.#receive(bytes),
      end: broken,
      closed: broken,
      failed: broken,
      drained: () => {
        this.#isChannelFull = false;
        this.#waitingBytes = 0;
      },
    });
  }

  #receive(bytes: Uint8Array): void {
    if (this.#state === "over") return this.#channel.consumed(bytes.length);
    if (this.#socket.readyState === 0) {
      this.#early.push(bytes);
      return;
    }
    try {
      this.#reader.receive(bytes);
    } catch (error) {
      if (!(error instanceof WebSocketError)) throw error;
      this.#send(Opcode.Close, encodeClose(error.code, error.message));
      const isTooBig = error.code === CloseStatus.TooBig;
      this.#fail(
        isTooBig ? CloseStatus.TooBig : CloseStatus.InternalError,
        isTooBig ? error.message : "The target broke the WebSocket protocol",
      );
    }
    this.#unconsumed += bytes.length;
    this.#takeWhenSent();
  }

  /** Lets the target send as much again once the caller's socket has room. */
  #takeWhenSent(): void {
    if (this.#drainTimer !== undefined) return;
    // Not every platform has it; there the channel's window is all that bounds what waits.
    if (this.#isSocketFull) {
      this.#drainTimer = setInterval(() => this.#checkDrain(), drainPollMs);
      return;
    }
    const bytes = this.#unconsumed;
    this.#unconsumed = 0;
    this.#channel.consumed(bytes);
  }

  get #isSocketFull(): boolean {
    return this.#state !== "over" && (this.#socket.bufferedAmount ?? 0) > highWaterBytes;
  }

  #checkDrain(): void {
    if (this.#isSocketFull) return;
    clearInterval(this.#drainTimer);
    this.#drainTimer = undefined;
    this.#takeWhenSent();
  }

  #toCaller(message: string | Uint8Array<ArrayBuffer>, bytes: number): void {
    if (this.#state !== "open" || this.#socket.readyState > 1) return;
    try {
      this.#socket.send(message);
    } catch {
      // workerd throws where the standard drops the message: after the socket has closed.
      return this.#callerBroke();
    }
    this.#sentBytes += bytes;
  }

  #send(opcode: number, payload: Uint8Array): void {
    const frame = encodeFrame(opcode, payload, crypto.getRandomValues(new Uint8Array(4)));
    if (this.#isChannelFull) this.#waitingBytes += frame.length;
    if (this.#waitingBytes > maxWaitingBytes) {
      return this.#fail(CloseStatus.TryAgainLater, "The target reads too slowly");
    }
    if (!this.#channel.write(frame)) this.#isChannelFull = true;
  }

  #targetClosed(code: number, reason: string): void {
    if (this.#state === "over") return;
    if (this.#state === "open") this.#send(Opcode.Close, encodeClose(code, ""));
    this.#closeSocket(code, reason);
    this.#over();
    this.#channel.finish();
  }

  #callerClosed(code: number, reason: string): void {
    if (this.#state !== "open") return;
    this.#state = "closing";
    this.#send(Opcode.Close, encodeClose(isCloseCode(code) ? code : CloseStatus.None, reason));
    // Some runtimes want the answering Close from us.
    this.#closeSocket(code, reason);
    this.#closeTimer = setTimeout(() => {
      this.#over();
      this.#channel.close();
    }, closeTimeoutMs);
  }

  /** The caller went away without a Close: the target must not take that for an orderly end. */
  #callerBroke(): void {
    if (this.#state !== "open") return;
    this.#over();
    this.#channel.fail(new StreamError("reset", "The caller's connection broke"));
  }

  /** Ends both sides, the caller's with this code. */
  #fail(code: number, reason: string): void {
    if (this.#state === "over") return;
    this.#over();
    this.#channel.close();
    this.#closeSocket(code, reason);
  }

  #closeSocket(code: number, reason: string): void {
    if (this.#socket.readyState > 2) return;
    const { cut } = this.#options;
    if (cut) this.#cutTimer ??= setTimeout(() => cut(this.#socket), closeTimeoutMs);
    // A standard WebSocket lets a program send 1000 and 3000 to 4999 only.
    const allowed = code >= 1000 && code < 2000 ? code + 2000 : 1000;
    const attempts: (() => void)[] = [
      () => isCloseCode(code) ? this.#socket.close(code, reason) : this.#socket.close(),
      () => this.#socket.close(allowed, reason),
      () => this.#socket.close(),
    ];
    for (const attempt of attempts) if (isDone(attempt)) return;
  }

  #over(): void {
    this.#state = "over";
    clearTimeout(this.#closeTimer);
    clearInterval(this.#drainTimer);
    this.#drainTimer = undefined;
    this.#options.closed(this.#sentBytes, this.#receivedBytes);
  }
}

/** Platforms differ in what they refuse to send, and in what they throw then. */
function isDone(attempt: () => void): boolean {
  try {
    attempt();
    return true;
  } catch {
    return false;
  }
}
