/** One logical two-way byte channel of a session. */
import { concat, noBytes } from "../bytes/bytes.ts";
import { ProtocolError, StreamError } from "./errors.ts";
import { FrameType } from "./frame.ts";
import { ReceiveWindow } from "./receive_window.ts";
import { SendQueue } from "./send_queue.ts";
import { silent, type StreamEvents } from "./stream_events.ts";

/** What a stream asks of its session. */
export interface StreamHost {
  /** 1 or 2. */
  readonly version: number;
  /** Only an agent of version 1 ends a stream with Close when it has sent everything. */
  readonly role: "relay" | "agent";
  nowMs(): number;
  readonly roundTripMs: number;
  /** The stream has something to send and is to get its turn. */
  wake(stream: Stream): void;
  /** The stream is given up and has nothing to send any more, not even its Open. */
  withdraw(stream: Stream): void;
  sendControl(type: number, stream: number, payload?: Uint8Array): void;
  sendCredit(stream: number, bytes: number): void;
  sendReturn(stream: number, bytes: number): void;
  sendError(stream: number, error: StreamError): void;
  /** Bytes held for consumers of a version 1 session grew or shrank: it has no windows. */
  heldChanged(bytes: number): void;
  /** The stream is over on this side; its id is forgotten. */
  forget(stream: Stream): void;
  /** A sender ran out of credit with bytes in hand. */
  stalled(): void;
  /** A frame with bytes of the stream leaves. */
  carried(): void;
  /** The stream's owner threw; for the log. */
  crashed(stream: Stream, error: unknown): void;
}

/**
 * Bytes that a stream queues before `write` says that it is enough: little at first, so that a
 * thousand streams that nobody reads hold little; more once the peer grants more at a time, so that
 * a fast one never waits for its next bytes.
 */
const minHighWaterBytes = 16 * 1024;
const maxHighWaterBytes = 512 * 1024;

/** Without windows, what a peer has sent by the time that it hears of a Close: its socket's buffers. */
const version1LateBytes = 16 * 1024 * 1024;

/** A slice of a stream's bytes on its way into a frame. */
export interface OutgoingSlice {
  type: number;
  payload: Uint8Array;
}

/**
 * The half of a stream that this side sends.
 *
 * - `held`: bytes wait for a version 1 agent's Connected
 * - `open`: bytes may be written
 * - `ending`: `end` was called; bytes and End are still queued
 * - `finishing`: `finish` was called; bytes and End are still queued, then a Close
 * - `closing`: End is sent, Close is still to be
 * - `ended`: everything is sent
 */
type SendState = "held" | "open" | "ending" | "finishing" | "closing" | "ended";

/** A stream is open until both halves have ended, or one side closed or failed it. */
export class Stream {
  readonly id: number;
  readonly #host: StreamHost;
  readonly #window: ReceiveWindow;
  #events: StreamEvents = silent;
  #sendState: SendState = "open";
  #hasPeerEnded = false;
  /** The peer has closed or failed the stream. */
  #isPeerGone = false;
  #isOver = false;
  readonly #queue = new SendQueue();
  /** Bytes that had left the queue when credit was last looked at. */
  #takenBefore = 0;
  #sendCredit: number;
  #highWaterBytes = minHighWaterBytes;
  #wantsDrain = false;
  /** The target, which goes in front of the first bytes; until then the peer knows nothing of us. */
  #opening: Uint8Array | undefined;
  #isStalled = false;
  /** The peer must send Connected before any byte. */
  #awaitsConnected = false;
  /** Bytes that a version 1 peer sent and the owner has not taken. */
  #heldBytes = 0;
  #unsent: readonly Uint8Array[] | undefined;
  /** The session's mark that the stream waits for its turn. */
  isQueued = false;
  /** The next stream in the same slot of the session's {@link StreamTable}. */
  nextInSlot: Stream | undefined;

  constructor(id: number, host: StreamHost, window: ReceiveWindow, sendCredit: number) {
    this.id = id;
    this.#host = host;
    this.#window = window;
    this.#sendCredit = sendCredit;
  }

  /** Whether nothing more goes out on this stream. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Bytes that wait for credit or for their turn. */
  get queuedBytes(): number {
    return this.#queue.bytes;
  }

  /** Once it is over: bytes that its peer may still send, until it hears of that. */
  get lateBytes(): number {
    if (this.#hasPeerEnded || this.#isPeerGone) return 0;
    return this.#host.version === 1 ? version1LateBytes : this.#window.credit;
  }

  /**
   * After a failure: all that was written, in order, if none of it was sent, so that nobody can have
   * acted upon it; else undefined.
   */
  get unsent(): readonly Uint8Array[] | undefined {
    return this.#unsent;
  }

  /** Says who deals with what arrives. */
  listen(events: StreamEvents): void {
    this.#events = events;
  }

  /**
   * Sends bytes, in turn with the other streams and within the peer's credit. The bytes must not
   * change any more.
   *
   * @param free Called once the stream has no use for the bytes' memory any more; never, when it
   *   ends before.
   * @returns false when the stream holds enough: wait for `drained` before writing more.
   */
  write(bytes: Uint8Array, free?: () => void): boolean {
    if (this.#isOver || this.#isSendClosed) return true;
    if (bytes.length > 0) {
      this.#queue.push(bytes, free);
      if (this.#sendState !== "held") this.#host.wake(this);
    }
    this.#wantsDrain = this.#queue.bytes >= this.#highWaterBytes;
    return !this.#wantsDrain;
  }

  /**
   * Half-close: nothing more comes from this side. A version 1 peer has no word for it; there the
   * bytes themselves must say where they end.
   */
  end(): void {
    if (this.#isOver || this.#isSendClosed) return;
    if (this.#host.version === 1) return;
    this.#sendState = "ending";
    this.#host.wake(this);
  }

  /** Whether the peer has a word for half-close. */
  get canHalfClose(): boolean {
    return this.#host.version > 1;
  }

  /** Says that everything is written and nothing more is wanted: closes once all of it is sent. */
  finish(): void {
    this.#consumeHeld(this.#heldBytes);
    if (this.#isOver || this.#sendState === "closing") return;
    this.#sendState = this.#sendState === "ended" ? "closing" : "finishing";
    this.#host.wake(this);
  }

  /** Gives the stream up, both ways, with nothing to report; what was not taken is let go. */
  close(): void {
    this.#consumeHeld(this.#heldBytes);
    if (this.#isOver) return;
    if (!this.#opening) this.#host.sendControl(FrameType.Close, this.id);
    this.#over();
  }

  /** Ends the stream with a reason, both ways. */
  fail(error: StreamError): void {
    this.#consumeHeld(this.#heldBytes);
    if (this.#isOver) return;
    if (!this.#opening) this.#host.sendError(this.id, error);
    this.#over();
  }

  /** Says that the consumer has dealt with `bytes` of what arrived, so that as many may follow. */
  consumed(bytes: number): void {
    if (this.#host.version === 1) return this.#consumeHeld(Math.min(bytes, this.#heldBytes));
    if (this.#isOver) return;
    const grant = this.#window.consumed(bytes, this.#host.nowMs(), this.#host.roundTripMs);
    if (grant > 0 && !this.#hasPeerEnded) this.#host.sendCredit(this.id, grant);
  }

  /** Agents only: tells the relay that the target of a stream that is confirmed is connected. */
  accept(): void {
    if (!this.#isOver && this.#host.version > 1) {
      this.#host.sendControl(FrameType.Connected, this.id);
    }
  }

  // What follows is between a stream and its session.

  /**
   * Has the first slice be an Open. It waits for its turn like all bytes: a burst of requests waits
   * here, where one that is given up meanwhile leaves nothing behind.
   */
  openWith(target: Uint8Array): void {
    this.#opening = target;
    this.#host.wake(this);
  }

  /** Has the stream take no byte before the peer's Connected. */
  awaitConnected(): void {
    this.#awaitsConnected = true;
  }

  /** Whether Open is still to be sent. */
  get isOpening(): boolean {
    return this.#opening !== undefined;
  }

  /** Keeps bytes back until `startSending`: a version 1 agent loses what comes before its Connected. */
  holdSending(): void {
    this.#sendState = "held";
  }

  /** Lets held bytes go. */
  startSending(): void {
    if (this.#sendState !== "held") return;
    this.#sendState = "open";
    if (this.#queue.bytes > 0) this.#host.wake(this);
  }

  /** Takes the next slice to send, at most `maxBytes`, or nothing when it must wait. */
  nextSlice(maxBytes: number): OutgoingSlice | undefined {
    if (this.#isOver || this.#sendState === "held") return undefined;
    if (this.#opening) return this.#firstSlice(this.#opening, maxBytes);
    if (this.#queue.bytes === 0) return this.#lastWord();
    const isWindowed = this.#host.version > 1;
    const limit = isWindowed ? Math.min(maxBytes, this.#sendCredit) : maxBytes;
    if (limit === 0) {
      this.#stalled();
      return undefined;
    }
    const payload = this.#queue.take(limit);
    this.#host.carried();
    if (isWindowed) {
      this.#sendCredit -= payload.length;
      if (this.#sendCredit === 0 && this.#queue.bytes > 0) this.#stalled();
    }
    const isLast = this.#queue.bytes === 0 && isWindowed &&
      (this.#sendState === "ending" || this.#sendState === "finishing");
    if (!isLast) return { type: FrameType.Data, payload };
    this.#endSent();
    return { type: FrameType.End, payload };
  }

  /** Whether another slice could follow at once. */
  get hasMore(): boolean {
    if (this.#isOver || this.#sendState === "held") return false;
    if (this.#opening) return true;
    if (this.#queue.bytes === 0) return this.#sendState !== "open" && this.#sendState !== "ended";
    return !this.#isOutOfCredit;
  }

  /** Whether credit is used up. Version 1 has no credit. */
  get #isOutOfCredit(): boolean {
    return this.#sendCredit === 0 && this.#host.version > 1;
  }

  /** What was taken is in a message now, which has a copy of it. */
  copied(): void {
    if (!this.#queue.hasPendingFrees) return;
    try {
      this.#queue.freeTaken();
      if (this.#isOutOfCredit) this.#queue.keepOnlyRest();
    } catch (error) {
      this.crash(error);
    }
  }

  /**
   * After slices were taken, or credit came: tells the owner that there is room. Without credit there
   * is none: what came now would only lie here, and for how long is up to whoever reads.
   */
  notifyDrained(): void {
    if (!this.#wantsDrain || this.#isOver || this.#queue.bytes > this.#highWaterBytes / 2) return;
    if (this.#isOutOfCredit) return;
    this.#wantsDrain = false;
    this.#tell("drained");
  }

  /** @param free As for {@link StreamEvents.data}. */
  receiveData(payload: Uint8Array, free?: () => void): void {
    if (this.#hasPeerEnded) throw new ProtocolError(`Data after End on stream ${this.id}`);
    if (this.#awaitsConnected) {
      throw new ProtocolError(`Bytes before Connected on stream ${this.id}`);
    }
    if (payload.length === 0) return;
    if (this.#host.version === 1) {
      this.#heldBytes += payload.length;
      this.#host.heldChanged(payload.length);
    } else if (!this.#window.received(payload.length)) {
      throw new ProtocolError(`Stream ${this.id} went past its credit`);
    }
    try {
      this.#events.data(payload, free);
    } catch (error) {
      this.crash(error);
    }
  }

  receiveEnd(payload: Uint8Array, free?: () => void): void {
    this.receiveData(payload, free);
    if (this.#isOver) return;
    this.#hasPeerEnded = true;
    this.#tell("end");
    // After both Ends a Close that is still to go would say nothing new.
    if (this.#sendState === "ended" || this.#sendState === "closing") this.#over();
  }

  /** One that was not waited for is ignored. */
  receiveConnected(): void {
    if (!this.#awaitsConnected) return;
    this.#awaitsConnected = false;
    this.#tell("connected");
  }

  receiveCredit(bytes: number): void {
    this.#sendCredit += bytes;
    if (this.#sendCredit > 0x7fffffff) {
      throw new ProtocolError(`Credit of stream ${this.id} is past 2^31`);
    }
    this.#isStalled = false;
    this.#highWaterBytes = Math.min(maxHighWaterBytes, Math.max(this.#highWaterBytes, bytes));
    if (this.#queue.bytes > 0) this.#host.wake(this);
    else this.notifyDrained();
  }

  receiveReturn(bytes: number): void {
    if (this.#window.returned(bytes)) return;
    throw new ProtocolError(`Stream ${this.id} returned more credit than it had`);
  }

  /**
   * Gives back credit that is far more than the stream needs at the rate at which it sends, so that
   * the peer can grant it to others.
   *
   * @param least What it keeps in any case: the window that each stream begins with.
   * @param times How many times that which was sent since the last call it needs.
   */
  returnCredit(least: number, times: number): void {
    const sent = this.#queue.takenBytes - this.#takenBefore;
    this.#takenBefore = this.#queue.takenBytes;
    const wanted = Math.max(least, Math.ceil(times * sent), this.#queue.bytes);
    if (this.#isOver || this.#opening || this.#sendCredit <= 2 * wanted) return;
    const unused = this.#sendCredit - wanted;
    this.#sendCredit = wanted;
    this.#host.sendReturn(this.id, unused);
  }

  /** @see {@link ReceiveWindow.setAsideIfIdle} */
  setAsideIfIdle(): void {
    this.#window.setAsideIfIdle();
  }

  receiveClose(): void {
    const isEndOfBytes = this.#host.version === 1 && !this.#hasPeerEnded;
    this.#isPeerGone = true;
    this.#over();
    if (isEndOfBytes) {
      this.#hasPeerEnded = true;
      this.#tell("end");
    }
    try {
      this.#events.closed();
    } catch (error) {
      this.#reportCrash(error);
    }
  }

  receiveError(error: StreamError): void {
    this.#consumeHeld(this.#heldBytes);
    if (this.#opening || this.#sendState === "held") this.#unsent = this.#queue.items;
    this.#isPeerGone = true;
    this.#over();
    this.#tellFailed(error);
  }

  /** The owner threw: the stream ends for both sides, and nothing else does. */
  crash(error: unknown): void {
    const failure = new StreamError("internal", "A fault of the side that serves the stream");
    this.fail(failure);
    const events = this.#events;
    this.#reportCrash(error);
    try {
      events.failed(failure);
    } catch (next) {
      this.#host.crashed(this, next);
    }
  }

  /** What has thrown is told nothing more. */
  #reportCrash(error: unknown): void {
    this.#events = silent;
    this.#host.crashed(this, error);
  }

  #tell(event: "connected" | "drained" | "end"): void {
    try {
      this.#events[event]?.();
    } catch (error) {
      this.crash(error);
    }
  }

  #tellFailed(error: StreamError): void {
    try {
      this.#events.failed(error);
    } catch (thrown) {
      this.#reportCrash(thrown);
    }
  }

  get #isSendClosed(): boolean {
    return this.#sendState !== "open" && this.#sendState !== "held";
  }

  /** Open, with what is there of the bytes, within the credit. */
  #firstSlice(target: Uint8Array, maxBytes: number): OutgoingSlice {
    this.#opening = undefined;
    const room = Math.min(maxBytes - target.length, this.#sendCredit);
    const first = this.#queue.bytes > 0 && room > 0 ? this.#queue.take(room) : noBytes;
    this.#sendCredit -= first.length;
    if (this.#sendCredit === 0 && this.#queue.bytes > 0) this.#stalled();
    return { type: FrameType.Open, payload: concat(target, first) };
  }

  /** The queue is empty: what was asked for besides bytes is all that is left to say. */
  #lastWord(): OutgoingSlice | undefined {
    const isClose = this.#sendState === "closing" ||
      (this.#sendState === "finishing" && this.#host.version === 1);
    if (isClose) {
      this.#over();
      return { type: FrameType.Close, payload: noBytes };
    }
    if (this.#sendState !== "ending" && this.#sendState !== "finishing") return undefined;
    this.#endSent();
    return { type: FrameType.End, payload: noBytes };
  }

  /** Counts each time that the credit runs out, once. */
  #stalled(): void {
    if (!this.#isStalled) this.#host.stalled();
    this.#isStalled = true;
  }

  #endSent(): void {
    const isClosing = this.#sendState === "finishing" && !this.#hasPeerEnded;
    this.#sendState = isClosing ? "closing" : "ended";
    if (this.#hasPeerEnded) this.#over();
  }

  #consumeHeld(bytes: number): void {
    if (bytes === 0) return;
    this.#heldBytes -= bytes;
    this.#host.heldChanged(-bytes);
  }

  #over(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    if (this.#opening) this.#host.withdraw(this);
    this.#queue.clear();
    this.#window.close();
    this.#host.forget(this);
  }
}
