/** One agent connection and the streams that it carries. */
import { type Announcement, encodeNotice, type Notice } from "./announcement.ts";
import { Drain } from "./drain.ts";
import { CloseCode, ExcessError, ProtocolError, StreamError } from "./errors.ts";
import { FrameType } from "./frame.ts";
import { FrameAllowance } from "./frame_allowance.ts";
import { FrameReceiver } from "./frame_receiver.ts";
import { Handshake } from "./handshake.ts";
import { defaultKeepalive, Keepalive } from "./keepalive.ts";
import { LineProgress } from "./line_progress.ts";
import { MessageReader, type MessageReaderHost } from "./message_reader.ts";
import { Outbox } from "./outbox.ts";
import type { ProtocolVersion } from "./protocol_version.ts";
import { ReadPause } from "./read_pause.ts";
import type { SessionEnd } from "./session_end.ts";
import type { OpenOptions, SessionOptions, SessionStats } from "./session_options.ts";
import { SessionStreams } from "./session_streams.ts";
import type { Settings } from "./settings.ts";
import type { TunnelSocket, TunnelSocketEvents } from "./socket.ts";
import type { Stream } from "./stream.ts";

/** Bytes that wait in a socket whose peer reads: less than this, as streams wait before. */
const maxUnreadBytes = 4 * 1024 * 1024;
/** What RFC 6455 section 7.4.1 has for a message that is too big to process. */
const tooLarge = 1009;

/**
 * A session over one WebSocket, for either side.
 *
 * It ends once: `closed` resolves with the reason, after every open stream has been told.
 */
export class Session {
  readonly #socket: TunnelSocket;
  readonly #options: SessionOptions;
  readonly #nowMs: () => number;
  readonly #handshake: Handshake;
  readonly #streams: SessionStreams;
  readonly #receiver: FrameReceiver;
  readonly #reader: MessageReader;
  readonly #readPause: ReadPause;
  readonly #allowance: FrameAllowance;
  readonly #outbox: Outbox;
  readonly #keepalive: Keepalive;
  readonly #drain = new Drain(() => this.#streams.size);
  readonly #closed = Promise.withResolvers<SessionEnd>();
  readonly #disconnected = Promise.withResolvers<void>();
  readonly stats: SessionStats = { bytesIn: 0, bytesOut: 0, windowStalls: 0 };
  #end: SessionEnd | undefined;

  constructor(socket: TunnelSocket, options: SessionOptions) {
    const nowMs = options.nowMs ?? (() => performance.now());
    this.#socket = socket;
    this.#options = options;
    this.#nowMs = nowMs;
    const allowance = this.#allowance = new FrameAllowance(nowMs);
    const outbox = this.#outbox = this.#createOutbox();
    const keepalive = this.#keepalive = this.#createKeepalive();
    const handshake = this.#handshake = this.#createHandshake();
    const drain = this.#drain;
    const readPause = this.#readPause = new ReadPause(socket, keepalive);
    const parts = { options, nowMs, allowance, outbox, keepalive, handshake, drain };
    const streams = this.#streams = new SessionStreams({ ...parts, readPause, stats: this.stats });
    this.#receiver = new FrameReceiver({ ...parts, streams });
    this.#reader = new MessageReader(this.#readerHost());
    socket.listen(this.#socketEvents());
    handshake.start();
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
    return this.#streams.open({ name: target, kind }, first);
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

  #createOutbox(): Outbox {
    const { defer = queueMicrotask } = this.#options;
    const outbox = new Outbox(this.#socket, this.stats, defer, this.#nowMs);
    outbox.overflowed = () => this.#unread();
    return outbox;
  }

  #createHandshake(): Handshake {
    return new Handshake(this.#options, {
      role: this.#options.role,
      sendControl: (type, id, payload) => this.#outbox.control(type, id, payload),
      accept: (id) => this.#streams.accept(id),
      opened: (stream, target) => this.#streams.opened(stream, target),
      upgraded: ({ maxFrame }) => this.#outbox.useVersion2(maxFrame),
      probe: () => this.#keepalive.probe(),
    });
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
      checked: () => this.#streams.returnCredit(),
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
      frame: (type, id, payload, shares) => this.#receiver.receive(type, id, payload, shares),
      ignored: () => this.#allowance.spend(),
      failed: (error) => this.#unreadable(error),
      waits: (doesWait) => this.#readPause.messagesWait(doesWait),
      tooLong: (messageBytes) => {
        const { maxMessageBytes } = this.#version;
        const reason = `Message of ${messageBytes} bytes; must have ${maxMessageBytes} at most`;
        this.#fatal(tooLarge, reason);
      },
      overflowed: () => this.#fatal(CloseCode.Excessive, "More messages than can be read"),
    };
  }

  /** The WebSocket answers by itself; that is work, and memory where the peer does not read. */
  #receiveControl(): void {
    if (this.#end) return;
    if (this.#socket.bufferedAmount > maxUnreadBytes) return this.#unread();
    try {
      this.#allowance.spend();
    } catch (error) {
      this.#unreadable(error);
    }
  }

  #unread(): void {
    this.#fatal(CloseCode.TryAgainLater, "The peer does not read its control frames");
  }

  #unreadable(error: unknown): void {
    if (error instanceof ProtocolError) this.#fatal(CloseCode.ProtocolError, error.message);
    else if (error instanceof ExcessError) this.#fatal(CloseCode.Excessive, error.message);
    else this.#fault(error);
  }

  #fault(error: unknown): void {
    this.#options.events?.fault?.(error);
    this.#fatal(CloseCode.InternalError, "Internal error");
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
    this.#streams.fail(error);
    this.#drain.stop();
    this.#handshake.fail(error);
    this.#closed.resolve(end);
  }
}
