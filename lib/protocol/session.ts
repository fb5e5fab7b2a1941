/** One agent connection and the streams that it carries. */
import { allocate } from "../bytes/bytes.ts";
import { type Announcement, decodeNotice, encodeNotice, type Notice } from "./announcement.ts";
import { CreditReturn } from "./credit_return.ts";
import { Drain } from "./drain.ts";
import { CloseCode, decodeStreamError, ExcessError, ProtocolError, StreamError } from "./errors.ts";
import { decodeCredit, decodeOpen, FrameType, writeUint32 } from "./frame.ts";
import { allowanceBurst, allowancePerSecond, FrameAllowance } from "./frame_allowance.ts";
import { Handshake } from "./handshake.ts";
import { defaultKeepalive, Keepalive } from "./keepalive.ts";
import { LineProgress } from "./line_progress.ts";
import { MessageReader, type MessageReaderHost } from "./message_reader.ts";
import { Outbox } from "./outbox.ts";
import type { ProtocolVersion } from "./protocol_version.ts";
import { ReceiveWindow, WindowBudget } from "./receive_window.ts";
import type { SessionEnd } from "./session_end.ts";
import type { OpenOptions, SessionOptions, SessionStats } from "./session_options.ts";
import type { Settings } from "./settings.ts";
import type { TunnelSocket, TunnelSocketEvents } from "./socket.ts";
import { Stream, type StreamHost } from "./stream.ts";
import { StreamTable } from "./stream_table.ts";
import { parseTargetKey, type TargetKey } from "./target_key.ts";
import { HeldBytes } from "./version1.ts";

/**
 * All streams of a session share one line, so what fills it for one of them fills it for all: 16 MiB
 * are 1 Gbit/s over 130 ms.
 */
const defaultWindowBudgetBytes = 16 * 1024 * 1024;

/**
 * A session over one WebSocket, for either side.
 *
 * It ends once: `closed` resolves with the reason, after every open stream has been told.
 */
export class Session {
  readonly #socket: TunnelSocket;
  readonly #options: SessionOptions;
  readonly #streams = new StreamTable();
  readonly #reader: MessageReader;
  readonly #allowance: FrameAllowance;
  readonly #outbox: Outbox;
  readonly #keepalive: Keepalive;
  readonly #drain = new Drain(() => this.#streams.size);
  readonly #creditReturn: CreditReturn;
  readonly #budget: WindowBudget;
  readonly #host: StreamHost;
  readonly #nowMs: () => number;
  readonly #handshake: Handshake;
  /** What consumers of version 1 streams have not dealt with. */
  readonly #held = new HeldBytes();
  readonly #closed = Promise.withResolvers<SessionEnd>();
  readonly #disconnected = Promise.withResolvers<void>();
  readonly stats: SessionStats = { bytesIn: 0, bytesOut: 0, windowStalls: 0 };
  #end: SessionEnd | undefined;
  #isPaused = false;
  /** Messages have come that are still to be read. */
  #isBehind = false;

  constructor(socket: TunnelSocket, options: SessionOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#nowMs = options.nowMs ?? (() => performance.now());
    this.#budget = new WindowBudget(options.windowBudgetBytes ?? defaultWindowBudgetBytes);
    this.#allowance = new FrameAllowance(this.#nowMs);
    this.#creditReturn = new CreditReturn(this.#streams, this.#nowMs);
    this.#reader = new MessageReader(this.#readerHost());
    const { defer = queueMicrotask } = options;
    this.#outbox = new Outbox(socket, this.stats, defer, this.#nowMs);
    this.#outbox.overflowed = () => this.#unread();
    this.#keepalive = this.#createKeepalive();
    this.#host = this.#streamHost();
    this.#handshake = new Handshake(options, {
      role: options.role,
      sendControl: this.#host.sendControl,
      accept: (id) => this.#accept(id),
      opened: (stream, target) => this.#opened(stream, target),
      upgraded: ({ maxFrame }) => this.#outbox.useVersion2(maxFrame),
      probe: () => this.#keepalive.probe(),
    });
    socket.listen(this.#socketEvents());
    this.#handshake.start();
  }

  /** 1 or 2: what both sides speak. It is final once `ready` has resolved. */
  get version(): number {
    return this.#version.number;
  }

  /** What a version 2 peer has said about itself. */
  get peer(): Settings | undefined {
    return this.#handshake.peer;
  }

  /** What the agent serves and claims; undefined for an agent that does not announce it. */
  get announced(): Announcement | undefined {
    return this.#handshake.announcement;
  }

  get #version(): ProtocolVersion {
    return this.#handshake.version;
  }

  /** Streams that are open. */
  get openStreams(): number {
    return this.#streams.size;
  }

  /** The last measured round trip in milliseconds; 0 before the first Pong. */
  get roundTripMs(): number {
    return this.#keepalive.roundTripMs;
  }

  /** Whether the peer has not answered for a while: another session is the better choice. */
  get isSuspect(): boolean {
    return this.#keepalive.isSuspect;
  }

  /** Whether either side has asked for no new streams. */
  get isDraining(): boolean {
    return this.#drain.isOwn || this.#drain.isPeers;
  }

  /** Whether the session is over. */
  get isClosed(): boolean {
    return this.#end !== undefined;
  }

  /** Resolves once the version is settled; rejects if the session ends before. */
  get ready(): Promise<void> {
    return this.#handshake.ready;
  }

  /** Resolves when the session is over. */
  get closed(): Promise<SessionEnd> {
    return this.#closed.promise;
  }

  /**
   * Resolves when the connection has ended, which may be a while after {@link closed}: only then has
   * all that was sent left this process.
   */
  get disconnected(): Promise<void> {
    return this.#disconnected.promise;
  }

  /** Why the session is over, once it is. */
  get end(): SessionEnd | undefined {
    return this.#end;
  }

  /**
   * Whether a relay may open streams. Its own Drain does not keep it from that: it asks the agent to
   * go elsewhere, and requests come until callers know that too.
   */
  get takesStreams(): boolean {
    return this.#end === undefined && !this.#drain.isPeers;
  }

  /**
   * Opens a stream and sends its first bytes with it; only a relay does.
   *
   * @param target The target's name.
   * @throws {StreamError} `limit` when the peer's streams are all in use, `unreachable` when the
   *   session takes no new ones, `kind_not_supported` when the agent knows no kinds of streams.
   */
  open(target: string, first: Uint8Array, { kind = "http" }: OpenOptions = {}): Stream {
    if (!this.takesStreams) {
      throw new StreamError("unreachable", "The session takes no new streams");
    }
    if (kind !== "http" && !this.announced) {
      throw new StreamError("kind_not_supported", "The agent serves HTTP alone");
    }
    const { maxStreams } = this.#options.settings;
    const limit = Math.min(this.peer?.maxStreams ?? maxStreams, maxStreams);
    if (this.#streams.size >= limit) {
      throw new StreamError("limit", `The session's ${limit} streams are all in use`);
    }
    const stream = this.#createStream(this.#streams.takeId());
    this.#version.open(stream, { name: target, kind }, first);
    return stream;
  }

  /** Agents only: tells the relay what this side serves from now on. */
  announce(announcement: Announcement): void {
    this.#handshake.announce(announcement);
  }

  /** Relays only: tells the agent something for its log. One that announces nothing is not told. */
  notify(notice: Notice): void {
    if (this.announced) this.#outbox.control(FrameType.Notice, 0, encodeNotice(notice));
  }

  /** Asks the peer for no new streams; those that are open go on. */
  announceDrain(): void {
    if (!this.#end && !this.#drain.isOwn) this.#drain.begin(this.#version);
  }

  /**
   * Asks for no new streams and lets the open ones finish.
   *
   * @returns once no stream is open, or after `graceMs`.
   */
  async drain(graceMs: number): Promise<void> {
    this.announceDrain();
    if (!this.#end) await this.#drain.idle(graceMs);
  }

  /** Ends the session; streams that are still open end with an error. */
  close(code: number, reason: string): void {
    if (this.#end) return;
    this.#outbox.flush();
    this.#socket.close(code, reason);
    this.#finish({ code, reason });
  }

  /** Ends the session without a word to the peer: nothing comes from it any more. */
  abandon(reason: string): void {
    if (this.#end) return;
    this.#finish({ code: 1006, reason, isSilence: true });
    this.#socket.terminate();
  }

  #createKeepalive(): Keepalive {
    const progress = new LineProgress(this.#socket, this.stats);
    const { pingIntervalMs, idleTimeoutMs, answerTimeoutMs } = this.#options;
    return new Keepalive({
      nowMs: this.#nowMs,
      pingIntervalMs: pingIntervalMs ?? defaultKeepalive.pingIntervalMs,
      idleTimeoutMs: idleTimeoutMs ?? defaultKeepalive.idleTimeoutMs,
      answerTimeoutMs: answerTimeoutMs ?? defaultKeepalive.answerTimeoutMs,
      isWaited: () => this.#version.hasWindows && this.#streams.size > 0,
      movedBytes: () => progress.movedBytes(),
      ping: (payload) => this.#outbox.control(FrameType.Ping, 0, payload),
      dead: (idleMs) => this.abandon(`No frame for ${Math.round(idleMs / 1000)} s`),
      checked: () => this.#returnCredit(),
    });
  }

  #socketEvents(): TunnelSocketEvents {
    return {
      message: (bytes, free) => this.#reader.receive(bytes, free),
      begins: (first, length) => this.#reader.beginsInParts(first, length),
      part: (bytes, isLast, free) => this.#reader.receivePart(bytes, isLast, free),
      text: () => this.#fatal(CloseCode.ProtocolError, "Text message; frames are binary"),
      control: () => this.#receiveControl(),
      closed: (code, reason) => this.#closedBySocket(code, reason),
      drained: () => this.#outbox.drained(),
    };
  }

  #readerHost(): MessageReaderHost {
    // deno-lint-ignore no-this-alias -- The getters below have a `this` of their own.
    const session = this;
    return {
      get version() {
        return session.#version;
      },
      get isClosed() {
        return session.isClosed;
      },
      heard: (bytes, isWhole) => {
        if (isWhole) this.#keepalive.heard();
        this.stats.bytesIn += bytes;
      },
      frame: (type, id, payload) => this.#receive(type, id, payload),
      ignored: () => this.#spend(),
      failed: (error) => this.#unreadable(error),
      waits: (doesWait) => {
        this.#isBehind = doesWait;
        this.#pauseOrResume();
      },
      tooLong: (messageBytes) => {
        const { maxMessageBytes } = this.#version;
        const reason = `Message of ${messageBytes} bytes; must have ${maxMessageBytes} at most`;
        this.#fatal(tooLarge, reason);
      },
      overflowed: () => this.#fatal(CloseCode.Excessive, "More messages than can be read"),
    };
  }

  #streamHost(): StreamHost {
    // deno-lint-ignore no-this-alias -- The getters below have a `this` of their own.
    const session = this;
    return {
      role: this.#options.role,
      get version() {
        return session.#version.number;
      },
      get roundTripMs() {
        return session.#keepalive.minRoundTripMs;
      },
      nowMs: this.#nowMs,
      wake: (stream) => this.#outbox.wake(stream),
      withdraw: (stream) => this.#outbox.withdraw(stream),
      sendControl: (type, id, payload) => this.#outbox.control(type, id, payload),
      sendCredit: (id, bytes) => this.#sendCredit(FrameType.Credit, id, bytes),
      sendReturn: (id, bytes) => this.#sendCredit(FrameType.Return, id, bytes),
      sendError: (id, error) => this.#sendError(id, error),
      heldChanged: (bytes) => this.#heldChanged(bytes),
      forget: (stream) => this.#forget(stream),
      stalled: () => {
        this.stats.windowStalls++;
      },
      carried: () => this.#allowance.earn(),
      crashed: (stream, error) => this.#streamFault(error, stream.id),
    };
  }

  #createStream(id: number): Stream {
    const { window, maxWindow } = this.#options.settings;
    const receive = new ReceiveWindow(window, maxWindow, this.#budget, this.#nowMs());
    const stream = new Stream(id, this.#host, receive, this.peer?.window ?? 0);
    this.#streams.add(stream);
    this.#allowance.earn();
    return stream;
  }

  #sendCredit(type: number, id: number, bytes: number): void {
    const payload = allocate(4);
    writeUint32(payload, 0, bytes);
    this.#outbox.control(type, id, payload);
  }

  #returnCredit(): void {
    if (!this.peer || this.#streams.size === 0) return;
    this.#creditReturn.ask(this.peer, this.#keepalive.minRoundTripMs);
  }

  #sendError(id: number, error: StreamError): void {
    this.#outbox.control(FrameType.Error, id, this.#version.encodeError(error));
  }

  #receivePong(payload: Uint8Array): void {
    if (!this.#drain.isHeard(payload, this.#version)) this.#keepalive.ponged(payload);
  }

  #forget(stream: Stream): void {
    this.#streams.delete(stream);
    this.#allowance.expectLate(stream.lateBytes);
    this.#drain.streamEnded();
  }

  /** The WebSocket answers by itself; that is work, and memory where the peer does not read. */
  #receiveControl(): void {
    if (this.#end) return;
    if (this.#socket.bufferedAmount > maxUnreadBytes) return this.#unread();
    if (!this.#allowance.spend()) this.#unreadable(excess());
  }

  #unread(): void {
    this.#fatal(CloseCode.TryAgainLater, "The peer does not read its control frames");
  }

  #unreadable(error: unknown): void {
    if (error instanceof ProtocolError) this.#fatal(CloseCode.ProtocolError, error.message);
    else if (error instanceof ExcessError) this.#fatal(CloseCode.Excessive, error.message);
    else this.#fault(error);
  }

  #receive(type: number, id: number, payload: Uint8Array): void {
    this.#handshake.received(type);
    if (type > this.#version.maxFrameType) return this.#spend();
    switch (type) {
      case FrameType.Data:
        return this.#bytesFor(id, payload)?.receiveData(payload, this.#reader.shares?.take());
      case FrameType.End:
        return this.#bytesFor(id, payload)?.receiveEnd(payload, this.#reader.shares?.take());
      case FrameType.Open:
        this.#reader.shares?.keep();
        return this.#receiveOpen(id, payload);
      case FrameType.Connect:
        this.#reader.shares?.keep();
        return this.#version.receiveConnect(id, payload);
      case FrameType.Announce:
        return this.#receiveAnnouncement(payload);
      default:
        this.#spend();
        return this.#control(type, id, payload);
    }
  }

  /** The open stream that a Data or End is for. Bytes for it are free, as its credit bounds them. */
  #bytesFor(id: number, { length }: Uint8Array): Stream | undefined {
    const stream = this.#streams.get(id);
    if (stream && length > 0) this.#allowance.earn();
    else if (stream) this.#spend();
    else if (!this.#allowance.spendLate(length)) throw excess();
    return stream;
  }

  /** Counts a frame that carries no bytes of a stream. */
  #spend(frames = 1): void {
    if (!this.#allowance.spend(frames)) throw excess();
  }

  #control(type: number, id: number, payload: Uint8Array): void {
    switch (type) {
      case FrameType.Credit:
        return this.#streams.get(id)?.receiveCredit(decodeCredit(payload));
      case FrameType.Return:
        return this.#streams.get(id)?.receiveReturn(decodeCredit(payload, "Return"));
      case FrameType.Connected:
        return this.#version.receiveConnected(id, this.#streams.get(id));
      case FrameType.Error:
        return this.#streams.get(id)?.receiveError(decodeStreamError(payload));
      case FrameType.Close:
        return this.#streams.get(id)?.receiveClose();
      case FrameType.Ping:
        // A copy indeed: `slice` of Node's Buffer is none.
        return this.#outbox.control(FrameType.Pong, 0, new Uint8Array(payload.subarray(0, 125)));
      case FrameType.Pong:
        return this.#receivePong(payload);
      case FrameType.Settings:
        return this.#handshake.receiveSettings(payload);
      case FrameType.Drain:
        return this.#receiveDrain();
      case FrameType.Notice:
        return this.#receiveNotice(payload);
      default:
        // Unknown types are ignored, so that later versions may add some.
    }
  }

  #streamFault(error: unknown, stream: number): void {
    this.#options.events?.streamFault?.(error, stream);
  }

  #fault(error: unknown): void {
    this.#options.events?.fault?.(error);
    this.#fatal(CloseCode.InternalError, "Internal error");
  }

  /** It counts by its size, as reading it is work. */
  #receiveAnnouncement(payload: Uint8Array): void {
    this.#spend(1 + (payload.length >>> 10));
    const announcement = this.#handshake.receiveAnnouncement(payload);
    if (announcement) this.#options.events?.announced?.(announcement);
  }

  #receiveNotice(payload: Uint8Array): void {
    if (this.#options.role === "relay") return;
    this.#options.events?.noticed?.(decodeNotice(payload));
  }

  #receiveOpen(id: number, payload: Uint8Array): void {
    const { target, first } = decodeOpen(payload);
    const stream = this.#accept(id);
    if (!stream) return;
    this.#opened(stream, parseTargetKey(decodeText(target)));
    if (!stream.isOver) stream.receiveData(first);
  }

  #opened(stream: Stream, { name, kind }: TargetKey): void {
    try {
      this.#options.events?.opened?.(stream, name, kind);
    } catch (error) {
      stream.crash(error);
    }
  }

  /** Makes room for the peer's new stream, or refuses it. */
  #accept(id: number): Stream | undefined {
    if (this.#options.role === "relay") throw new ProtocolError("An agent opens no streams");
    if (id === 0) throw new ProtocolError("Stream 0 is the session's own");
    if (this.#streams.get(id)) throw new ProtocolError(`Stream ${id} is open already`);
    if (this.#streams.size >= this.#options.settings.maxStreams) {
      this.#spend();
      this.#sendError(id, new StreamError("limit", "The agent's streams are all in use"));
      return undefined;
    }
    return this.#createStream(id);
  }

  #receiveDrain(): void {
    if (this.#drain.isPeers) return;
    this.#drain.isPeers = true;
    this.#options.events?.draining?.();
  }

  #heldChanged(bytes: number): void {
    this.#held.change(bytes);
    this.#pauseOrResume();
  }

  /** The socket is not read while too much is held for version 1 streams, or messages wait. */
  #pauseOrResume(): void {
    const mustPause = this.#held.isFull || this.#isBehind;
    if (mustPause === this.#isPaused) return;
    this.#isPaused = mustPause;
    if (mustPause) this.#socket.pause?.();
    else {
      this.#keepalive.heard();
      this.#socket.resume?.();
    }
    this.#keepalive.isPaused = this.#isPaused;
  }

  #closedBySocket(code: number, reason: string): void {
    this.#disconnected.resolve();
    // What had come before may complete an answer.
    this.#reader.whenEmpty(() => this.#finish({ code, reason: reason || "The connection ended" }));
  }

  /** The session can't go on: tells the peer why and ends everything. */
  #fatal(code: number, reason: string): void {
    if (this.#end) return;
    // First, or a socket that reports its end at once would put its own reason in place of this one.
    this.#finish({ code, reason });
    this.#socket.close(code, reason.slice(0, 120));
  }

  #finish(end: SessionEnd): void {
    if (this.#end) return;
    this.#end = end;
    this.#keepalive.stop();
    this.#reader.stop();
    this.#outbox.stop();
    const error = new StreamError("reset", `The session ended: ${end.reason}`);
    for (const stream of this.#streams.toArray()) stream.receiveError(error);
    this.#drain.stop();
    this.#handshake.fail(error);
    this.#closed.resolve(end);
  }
}

/** Bytes that wait in a socket whose peer reads: less than this, as streams wait before. */
const maxUnreadBytes = 4 * 1024 * 1024;
/** What RFC 6455 section 7.4.1 has for a message that is too big to process. */
const tooLarge = 1009;

function excess(): ExcessError {
  return new ExcessError(
    `More than ${allowanceBurst} frames without bytes, and ${allowancePerSecond} a second`,
  );
}

const textDecoder = new TextDecoder();

function decodeText(bytes: Uint8Array): string {
  return textDecoder.decode(bytes);
}
