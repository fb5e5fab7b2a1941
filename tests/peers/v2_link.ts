/**
 * What both version 2 peers share: one WebSocket that carries frames, with every frame that was
 * received recorded, and waits with a deadline. It judges nothing and sends whatever it is told to.
 */
import { within } from "../support/deadline.ts";
import {
  decodeV2Message,
  encodeV2Frame,
  V2,
  type V2Frame,
  type V2Settings,
  v2TypeName,
} from "./v2_frame.ts";
import type { WsSocket } from "./ws.ts";

/** A frame that was received, with the number of the message that it came in. */
export interface ReceivedFrame extends V2Frame {
  readonly message: number;
}

/** How a session ended. */
export interface V2Close {
  readonly code: number;
  readonly reason: string;
}

/** How a link is to behave. */
export interface V2LinkOptions {
  /** Called with each frame from the other side, after it has been recorded. */
  readonly onFrame: (frame: V2Frame) => void;
  /** Called once, when the WebSocket has gone. */
  readonly onClose: (close: V2Close) => void;
}

interface FrameWaiter {
  readonly accepts: (frame: ReceivedFrame) => boolean;
  readonly resolve: (frame: ReceivedFrame) => void;
  readonly reject: (error: Error) => void;
}

/** One end of a version 2 session, as far as it is the same for agent and relay. */
export class V2Link {
  /** All frames that the other side sent, in order. */
  readonly received: ReceivedFrame[] = [];
  /** Resolves when the WebSocket has gone. */
  readonly closed: Promise<V2Close>;
  readonly #ws: WsSocket;
  readonly #options: V2LinkOptions;
  readonly #waiters = new Set<FrameWaiter>();
  #messages = 0;
  #close: V2Close | undefined;

  constructor(ws: WsSocket, options: V2LinkOptions) {
    this.#ws = ws;
    this.#options = options;
    this.closed = this.#follow();
  }

  /** Whether the WebSocket has gone. */
  get isClosed(): boolean {
    return this.#close !== undefined;
  }

  /** Sends one frame in a message of its own; resolves once it has been written. */
  async send(type: number, streamId: number, payload?: Uint8Array): Promise<void> {
    await this.sendMessage(encodeV2Frame(type, streamId, payload));
  }

  /** Sends bytes as one binary message, whatever they are. */
  async sendMessage(message: Uint8Array): Promise<void> {
    if (this.#close) return;
    // A write that fails is followed by the close of the WebSocket, which ends every stream.
    const written = new Promise<void>((resolve) => {
      this.#ws.send(message, { binary: true }, () => resolve());
    });
    await Promise.race([written, this.closed]);
  }

  /** Sends a text message, which no peer of this protocol does. */
  sendText(text: string): void {
    const socket = this.#ws as unknown as { send(text: string, options: { binary: false }): void };
    socket.send(text, { binary: false });
  }

  /**
   * The first frame, among those received since index `from` or still to come, that `accepts`
   * takes; rejects when the WebSocket goes or the deadline passes before.
   */
  async waitForFrame(
    accepts: (frame: ReceivedFrame) => boolean,
    what: string,
    from = 0,
  ): Promise<ReceivedFrame> {
    const found = this.received.slice(from).find(accepts);
    if (found) return found;
    if (this.#close) throw this.#endedError(what, this.#close);
    const { promise, resolve, reject } = Promise.withResolvers<ReceivedFrame>();
    const waiter: FrameWaiter = { accepts, resolve, reject };
    this.#waiters.add(waiter);
    try {
      return await within(promise, () => `${what}\n${this.summary()}`);
    } finally {
      this.#waiters.delete(waiter);
    }
  }

  /**
   * Sends Ping and waits for its Pong: everything that was sent before has been dealt with then, and
   * what the other side had to say about it at once has come.
   */
  async ping(): Promise<void> {
    const payload = crypto.getRandomValues(new Uint8Array(8));
    await this.send(V2.ping, 0, payload);
    const isEcho = (frame: V2Frame): boolean =>
      frame.type === V2.pong && frame.payload.toHex() === payload.toHex();
    await this.waitForFrame(isEcho, "Pong");
  }

  /** Reads nothing any more; what the other side sends fills the line. */
  pauseReading(): void {
    this.#ws.pause();
  }

  /** The last frames in words, for failure messages. */
  summary(): string {
    const last = this.received.slice(-20).map(({ type, streamId, payload }) =>
      `  ${v2TypeName(type)} stream ${streamId}, ${payload.length} bytes`
    );
    return [`The last of ${this.received.length} frames received:`, ...last].join("\n");
  }

  /** Closes the WebSocket in good order and waits until it has gone. */
  async close(code = 1000, reason = ""): Promise<void> {
    this.#ws.close(code, reason);
    await this.closed;
  }

  /** Destroys the TCP connection, as a crash would, and waits until it has gone. */
  async terminate(): Promise<void> {
    this.#ws.terminate();
    await this.closed;
  }

  #follow(): Promise<V2Close> {
    this.#ws.on("message", (message) => this.#receive(message));
    // An error only announces a close.
    this.#ws.on("error", () => undefined);
    return new Promise((resolve) => {
      this.#ws.on("close", (code, reason) => {
        const close = { code, reason: new TextDecoder().decode(reason) };
        this.#close = close;
        for (const waiter of this.#waiters) waiter.reject(this.#endedError("a frame", close));
        this.#options.onClose(close);
        resolve(close);
      });
    });
  }

  #receive(message: Uint8Array): void {
    this.#messages++;
    for (const frame of decodeV2Message(message)) this.#take(frame);
  }

  #take(frame: V2Frame): void {
    const received = { ...frame, payload: frame.payload.slice(), message: this.#messages };
    this.received.push(received);
    if (frame.type === V2.ping) void this.send(V2.pong, 0, received.payload);
    this.#options.onFrame(received);
    for (const waiter of this.#waiters) {
      if (waiter.accepts(received)) waiter.resolve(received);
    }
  }

  #endedError(what: string, { code, reason }: V2Close): Error {
    return new Error(`Session ended with ${code} "${reason}" before ${what}\n${this.summary()}`);
  }
}

/** Settings for a peer of the tests: small windows, so that credit matters. */
export function v2Settings(settings: Partial<V2Settings> = {}): V2Settings {
  return {
    version: 2,
    window: 65_536,
    maxWindow: 65_536,
    maxFrame: 65_536,
    maxStreams: 1024,
    instance: crypto.randomUUID(),
    software: "test-peer/2",
    ...settings,
  };
}
