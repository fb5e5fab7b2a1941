/**
 * What both version 1 peers share: one WebSocket that carries frames, with every frame recorded, the
 * other side's frames judged, and waits with a deadline.
 */
import { DEFAULT_DEADLINE_MS, within } from "../support/deadline.ts";
import {
  decodeV1Frame,
  encodeV1Frame,
  V1,
  V1_MAX_MESSAGE_BYTES,
  type V1Frame,
  v1TypeName,
} from "./v1_frame.ts";
import { V1Referee } from "./v1_referee.ts";
import type { WsSocket } from "./ws.ts";

/** A frame that crossed the link. */
export interface RecordedFrame extends V1Frame {
  readonly direction: "sent" | "received";
  /** The payload's length; `payload` itself is kept only when the link keeps payloads. */
  readonly payloadBytes: number;
}

/** How a link is to behave. */
export interface V1LinkOptions {
  /** The side that is being tested. */
  readonly watched: "relay" | "agent";
  /** Whether recorded frames keep their payload (the default); a bulk transfer should not. */
  readonly keepsPayloads: boolean;
  /** Called with each frame from the other side, after it has been recorded and judged. */
  readonly onFrame: (frame: V1Frame) => void;
  /** Called once, when the WebSocket has gone. */
  readonly onClose: (close: { readonly code: number; readonly reason: string }) => void;
}

interface FrameWaiter {
  readonly accepts: (frame: RecordedFrame) => boolean;
  readonly resolve: (frame: RecordedFrame) => void;
  readonly reject: (error: Error) => void;
}

/** One end of a version 1 session, as far as it is the same for agent and relay. */
export class V1Link {
  /** All frames, in the order in which they were sent and received. */
  readonly frames: RecordedFrame[] = [];
  /** Resolves when the WebSocket has gone. */
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>;

  readonly #ws: WsSocket;
  readonly #options: V1LinkOptions;
  readonly #referee: V1Referee;
  readonly #waiters = new Set<FrameWaiter>();
  #pausedBy = 0;
  #isClosed = false;

  constructor(ws: WsSocket, options: V1LinkOptions) {
    this.#ws = ws;
    this.#options = options;
    this.#referee = new V1Referee(options.watched);
    this.closed = this.#follow();
  }

  /** What the other side did that version 1 does not allow. */
  get violations(): readonly string[] {
    return this.#referee.violations;
  }

  /** Whether the WebSocket has gone. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Bytes handed to the WebSocket that have not left yet. */
  get bufferedBytes(): number {
    return this.#ws.bufferedAmount;
  }

  /** Sends one frame in a message of its own; resolves once it has been written. */
  async send(type: number, streamId: number, payload = new Uint8Array(0)): Promise<void> {
    const frame: V1Frame = { type, streamId, payload };
    this.#referee.sent(frame);
    this.#record("sent", frame);
    await this.sendMessage(encodeV1Frame(frame));
  }

  /** Sends bytes as one binary message, whatever they are: what a broken peer does. */
  async sendMessage(message: Uint8Array): Promise<void> {
    if (this.#isClosed) return;
    // A write that fails is followed by the close of the WebSocket, which ends every stream.
    const written = new Promise<void>((resolve) => {
      this.#ws.send(message, { binary: true }, () => resolve());
    });
    await Promise.race([written, this.closed]);
  }

  /** Stops reading the WebSocket until each `pause` has had its `resume`. */
  pause(): void {
    this.#pausedBy++;
    if (this.#pausedBy === 1 && !this.#isClosed) this.#ws.pause();
  }

  /** Takes back one {@link pause}. */
  resume(): void {
    if (this.#pausedBy === 0) throw new Error("Link is not paused");
    this.#pausedBy--;
    if (this.#pausedBy === 0 && !this.#isClosed) this.#ws.resume();
  }

  /** Sends Ping and waits for the Pong that answers it. */
  async ping(timeoutMs: number = DEFAULT_DEADLINE_MS): Promise<void> {
    const seen = this.frames.length;
    await this.send(V1.ping, 0);
    const isPong = (frame: RecordedFrame) => frame.type === V1.pong;
    await this.waitForFrame(isPong, { from: seen, timeoutMs, what: "Pong" });
  }

  /**
   * The first frame received, among those recorded since index `from` or still to come, that
   * `accepts` takes; rejects when the WebSocket goes or `timeoutMs` pass before.
   */
  async waitForFrame(
    accepts: (frame: RecordedFrame) => boolean,
    { from = 0, timeoutMs = DEFAULT_DEADLINE_MS, what = "a frame" } = {},
  ): Promise<RecordedFrame> {
    const isWanted = (frame: RecordedFrame) => frame.direction === "received" && accepts(frame);
    const found = this.frames.slice(from).find(isWanted);
    if (found) return found;
    if (this.#isClosed) throw new Error(`Session ended before ${what}\n${this.summary()}`);
    const { promise, resolve, reject } = Promise.withResolvers<RecordedFrame>();
    const waiter: FrameWaiter = { accepts: isWanted, resolve, reject };
    this.#waiters.add(waiter);
    try {
      return await within(promise, () => `${what}\n${this.summary()}`, timeoutMs);
    } finally {
      this.#waiters.delete(waiter);
    }
  }

  /** The last frames in words, without Ping and Pong, for failure messages. */
  summary(): string {
    const ofStreams = this.frames.filter(({ type }) => type !== V1.ping && type !== V1.pong);
    const last = ofStreams.slice(-40).map(({ direction, type, streamId, payloadBytes }) =>
      `  ${direction} ${v1TypeName(type)} stream ${streamId}, ${payloadBytes} bytes`
    );
    return [`The last of ${ofStreams.length} frames on streams:`, ...last].join("\n");
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

  #follow(): Promise<{ readonly code: number; readonly reason: string }> {
    this.#ws.on("message", (message, isBinary) => this.#receive(message, isBinary));
    this.#ws.on("error", (error) => {
      // The package's name for a message over `maxPayload`; other errors only announce a close.
      const isTooLong = "code" in error && error.code === "WS_ERR_UNSUPPORTED_MESSAGE_LENGTH";
      if (isTooLong) this.#referee.note(`A message is over ${V1_MAX_MESSAGE_BYTES} bytes`);
    });
    return new Promise((resolve) => {
      this.#ws.on("close", (code, reason) => {
        this.#isClosed = true;
        const close = { code, reason: new TextDecoder().decode(reason) };
        for (const waiter of this.#waiters) {
          waiter.reject(new Error(`Session ended with ${code} "${close.reason}"`));
        }
        this.#options.onClose(close);
        resolve(close);
      });
    });
  }

  #receive(message: Uint8Array, isBinary: boolean): void {
    const frame = isBinary ? decodeV1Frame(message) : undefined;
    if (!frame) {
      const kind = isBinary ? "binary" : "text";
      this.#referee.note(`A ${kind} message of ${message.length} bytes is no frame`);
      return;
    }
    this.#referee.received(frame);
    this.#record("received", frame);
    if (frame.type === V1.ping) void this.send(V1.pong, 0);
    this.#options.onFrame(frame);
  }

  #record(direction: RecordedFrame["direction"], frame: V1Frame): void {
    const isKept = this.#options.keepsPayloads || frame.type !== V1.data;
    const recorded: RecordedFrame = {
      ...frame,
      direction,
      payload: isKept ? frame.payload.slice() : new Uint8Array(0),
      payloadBytes: frame.payload.length,
    };
    this.frames.push(recorded);
    for (const waiter of this.#waiters) {
      if (waiter.accepts(recorded)) waiter.resolve(recorded);
    }
  }
}
