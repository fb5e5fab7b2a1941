/** One agent connection and the streams that it carries. */
import { allocate, freeCallback } from "../bytes/bytes.ts";
import { Shares } from "../bytes/shares.ts";
import {
  type Announcement,
  decodeAnnouncement,
  decodeNotice,
  encodeAnnouncement,
  encodeNotice,
  type Notice,
} from "./announcement.ts";
import { CloseCode, decodeStreamError, ExcessError, ProtocolError, StreamError } from "./errors.ts";
import {
  decodeCredit,
  decodeOpen,
  frameName,
  FrameType,
  headerBytes,
  maxStreamId,
  readUint32,
  writeUint32,
} from "./frame.ts";
import { allowanceBurst, allowancePerSecond, FrameAllowance } from "./frame_allowance.ts";
import { Inbox, isBatch } from "./inbox.ts";
import { defaultKeepalive, Keepalive } from "./keepalive.ts";
import { LineProgress } from "./line_progress.ts";
import { Outbox } from "./outbox.ts";
import type { ProtocolVersion, VersionHost } from "./protocol_version.ts";
import type { SessionEnd } from "./session_end.ts";
import type { OpenOptions, SessionOptions, SessionStats } from "./session_options.ts";
import { decodeSettings, encodeSettings, type Settings } from "./settings.ts";
import type { TunnelSocket } from "./socket.ts";
import { Stream, type StreamHost } from "./stream.ts";
import { StreamTable } from "./stream_table.ts";
import { parseTargetKey, type TargetKey } from "./target_key.ts";
import { HeldBytes, Version1 } from "./version1.ts";
import { Version2 } from "./version2.ts";
import { ReceiveWindow, WindowBudget } from "./receive_window.ts";

/**
 * All streams of a session share one line, so what fills it for one of them fills it for all: 16 MiB
 * are 1 Gbit/s over 130 ms.
 */
const defaultWindowBudgetBytes = 16 * 1024 * 1024;

/** How often streams give back credit that they do not use, in milliseconds. */
const returnEveryMs = 1_000;

/**
 * A session over one WebSocket, for either side.
 *
 * It ends once: `closed` resolves with the reason, after every open stream has been told.
 */
export class Session {
  readonly #socket: TunnelSocket;
  readonly #options: SessionOptions;
  readonly #streams = new StreamTable();
  readonly #inbox: Inbox;
  readonly #allowance: FrameAllowance;
  readonly #outbox: Outbox;
  readonly #keepalive: Keepalive;
  readonly #budget: WindowBudget;
  readonly #host: StreamHost;
  readonly #nowMs: () => number;
  readonly #versionHost: VersionHost;
  /** What consumers of version 1 streams have not dealt with. */
  readonly #held = new HeldBytes();
  readonly #ready = Promise.withResolvers<void>();
  readonly #closed = Promise.withResolvers<SessionEnd>();
  readonly #disconnected = Promise.withResolvers<void>();
  readonly stats: SessionStats = { bytesIn: 0, bytesOut: 0, windowStalls: 0 };
  #version: ProtocolVersion;
  #peer: Settings | undefined;
  /** What the peer, or on an agent this side, has said that it serves. */
  #announcement: Announcement | undefined;
  #end: SessionEnd | undefined;
  #nextId = 1;
  /** When streams were last asked for credit that they do not use. */
  #returnedMs = 0;
  #isPaused = false;
  /** Messages have come that are still to be read. */
  #isBehind = false;
  #isDraining = false;
  #isPeerDraining = false;
  /** Our Drain may not have been heard: streams that were opened before that are still to come. */
  #mayOpenCross = false;
  #hasSeenFrame = false;
  /** The Data frame that comes in parts, and where its bytes begin in the next part. */
  #parts = { stream: 0, frameBytes: 0 };
  #partOffset = 0;
  /** Of the memory of what is being read, if it can be freed. */
  #shares: Shares | undefined;
  /** Agents only: the relay's first frame was not Settings. */
  #isVersion1 = false;
  /** Called when no stream is open any more, or never will be. */
  readonly #onIdle = new Set<() => void>();

  constructor(socket: TunnelSocket, options: SessionOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#announcement = options.announcement;
    this.#nowMs = options.nowMs ?? (() => performance.now());
    this.#budget = new WindowBudget(options.windowBudgetBytes ?? defaultWindowBudgetBytes);
    this.#allowance = new FrameAllowance(this.#nowMs);
    this.#inbox = new Inbox({
      begin: (message, shares) => this.#begin(message, shares),
      visit: this.#visit,
      failed: (error) => this.#unreadable(error),
      waits: (doesWait) => {
        this.#isBehind = doesWait;
        this.#pauseOrResume();
      },
      overflowed: () => this.#fatal(CloseCode.Excessive, "More messages than can be read"),
    });
    const { defer = queueMicrotask } = options;
    this.#outbox = new Outbox(socket, this.stats, defer, this.#nowMs);
    const progress = new LineProgress(socket, this.stats);
    this.#keepalive = new Keepalive({
      nowMs: this.#nowMs,
      pingIntervalMs: options.pingIntervalMs ?? defaultKeepalive.pingIntervalMs,
      idleTimeoutMs: options.idleTimeoutMs ?? defaultKeepalive.idleTimeoutMs,
      answerTimeoutMs: options.answerTimeoutMs ?? defaultKeepalive.answerTimeoutMs,
      isWaited: () => this.#version.hasWindows && this.#streams.size > 0,
      movedBytes: () => progress.movedBytes(),
      ping: (payload) => this.#outbox.control(FrameType.Ping, 0, payload),
      dead: (idleMs) => this.abandon(`No frame for ${Math.round(idleMs / 1000)} s`),
      checked: () => this.#returnCredit(),
    });
    this.#host = this.#createHost();
    this.#versionHost = {
      role: options.role,
      sendControl: this.#host.sendControl,
      accept: (id) => this.#accept(id),
      opened: (stream, target) => this.#opened(stream, target),
    };
    this.#version = new Version1(this.#versionHost);
    this.#outbox.overflowed = () =>
      this.#fatal(CloseCode.TryAgainLater, "The peer does not read its control frames");
    socket.listen({
      message: (bytes, free) => this.#receive(bytes, free),
      begins: (first, length) => this.#beginsInParts(first, length),
      part: (bytes, isLast, free) => this.#receivePart(bytes, isLast, free),
      text: () => this.#fatal(CloseCode.ProtocolError, "Text message; frames are binary"),
      control: () => this.#receiveControl(),
      closed: (code, reason) => this.#closedBySocket(code, reason),
      drained: () => this.#outbox.drained(),
    });
    this.#start();
  }

  /** 1 or 2: what both sides speak. It is final once `ready` has resolved. */
  get version(): number {
    return this.#version.number;
  }

  /** What a version 2 peer has said about itself. */
  get peer(): Settings | undefined {
    return this.#peer;
  }

  /** What the agent serves and claims; undefined for an agent that does not announce it. */
  get announced(): Announcement | undefined {
    return this.#announcement;
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
    return this.#isDraining || this.#isPeerDraining;
  }

  /** Whether the session is over. */
  get isClosed(): boolean {
    return this.#end !== undefined;
  }

  /** Resolves once the version is settled; rejects if the session ends before. */
  get ready(): Promise<void> {
    return this.#ready.promise;
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
    return this.#end === undefined && !this.#isPeerDraining;
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
    if (kind !== "http" && !this.#announcement) {
      throw new StreamError("kind_not_supported", "The agent serves HTTP alone");
    }
    const { maxStreams } = this.#options.settings;
    const limit = Math.min(this.#peer?.maxStreams ?? maxStreams, maxStreams);
    if (this.#streams.size >= limit) {
      throw new StreamError("limit", `The session's ${limit} streams are all in use`);
    }
    const stream = this.#createStream(this.#takeId());
    this.#version.open(stream, { name: target, kind }, first);
    return stream;
  }

  /** Agents only: tells the relay what this side serves from now on. */
  announce(announcement: Announcement): void {
    this.#announcement = announcement;
    // Before that, it goes with the Settings.
    if (this.#peer) this.#sendAnnouncement(announcement);
  }

  /** Relays only: tells the agent something for its log. One that announces nothing is not told. */
  notify(notice: Notice): void {
    if (this.#announcement) this.#outbox.control(FrameType.Notice, 0, encodeNotice(notice));
  }

  /** Asks the peer for no new streams; those that are open go on. */
  announceDrain(): void {
    if (!this.#end && !this.#isDraining) this.#beginDrain();
  }

  /**
   * Asks for no new streams and lets the open ones finish.
   *
   * @returns once no stream is open, or after `graceMs`.
   */
  async drain(graceMs: number): Promise<void> {
    this.announceDrain();
    if (this.#end || this.#isIdle) return;
    const idle = Promise.withResolvers<void>();
    const timer = setTimeout(idle.resolve, graceMs);
    this.#onIdle.add(idle.resolve);
    await idle.promise;
    this.#onIdle.delete(idle.resolve);
    clearTimeout(timer);
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

  #start(): void {
    if (this.#options.role === "agent") return;
    if (!this.#options.offersVersion2) return this.#ready.resolve();
    this.#outbox.control(FrameType.Settings, 0, encodeSettings(this.#options.settings));
  }

  #createHost(): StreamHost {
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
    const stream = new Stream(id, this.#host, receive, this.#peer?.window ?? 0);
    this.#streams.add(stream);
    this.#allowance.earn();
    return stream;
  }

  #takeId(): number {
    while (this.#streams.get(this.#nextId)) this.#nextId = this.#nextId % maxStreamId + 1;
    const id = this.#nextId;
    this.#nextId = id % maxStreamId + 1;
    return id;
  }

  #sendCredit(type: number, id: number, bytes: number): void {
    const payload = allocate(4);
    writeUint32(payload, 0, bytes);
    this.#outbox.control(type, id, payload);
  }

  /** Has streams give back what they do not use of the peer's memory, and of ours, now and then. */
  #returnCredit(): void {
    if (!this.#peer || this.#streams.size === 0) return;
    const nowMs = this.#nowMs();
    const elapsedMs = nowMs - this.#returnedMs;
    if (elapsedMs < returnEveryMs) return;
    this.#returnedMs = nowMs;
    const timeMs = Math.max(returnEveryMs, 4 * this.#keepalive.minRoundTripMs);
    const { returns, window } = this.#peer;
    for (const stream of this.#streams.toArray()) {
      if (returns) stream.returnCredit(window, timeMs / elapsedMs);
      else stream.setAsideIfIdle();
    }
  }

  #sendError(id: number, error: StreamError): void {
    this.#outbox.control(FrameType.Error, id, this.#version.encodeError(error));
  }

  #beginDrain(): void {
    this.#isDraining = true;
    this.#mayOpenCross = this.#version.sendDrain();
  }

  #receivePong(payload: Uint8Array): void {
    if (!this.#mayOpenCross || !this.#version.isDrainHeard(payload)) {
      return this.#keepalive.ponged(payload);
    }
    this.#mayOpenCross = false;
    if (this.#isIdle) this.#tellIdle();
  }

  /** Whether no stream is open, and none is on its way. */
  get #isIdle(): boolean {
    return this.#streams.size === 0 && !this.#mayOpenCross;
  }

  #forget(stream: Stream): void {
    this.#streams.delete(stream);
    this.#allowance.expectLate(stream.lateBytes);
    if (this.#isIdle) this.#tellIdle();
  }

  #tellIdle(): void {
    for (const resolve of this.#onIdle) resolve();
  }

  #receive(message: Uint8Array, free = freeCallback(message)): void {
    if (this.#end) return;
    this.#keepalive.heard();
    this.stats.bytesIn += message.length;
    const { maxMessageBytes } = this.#version;
    if (message.length > maxMessageBytes) {
      const reason = `Message of ${message.length} bytes; must have ${maxMessageBytes} at most`;
      return this.#fatal(tooLarge, reason);
    }
    this.#inbox.receive(message, free);
    // Or it would keep the message until the next one. What came while another message is read, as from
    // a socket that answers at once, must not take that one's away: its memory would be freed too early.
    if (this.#inbox.isIdle) this.#shares = undefined;
  }

  /**
   * Whether a message is handed on as it comes: one Data frame of bulk, which needs neither a copy nor
   * memory for the whole of it then. All others are read whole.
   */
  #beginsInParts(first: Uint8Array, length: number): boolean {
    const isData = first.length >= headerBytes && first[0] === FrameType.Data;
    if (!isData || !this.#version.hasWindows || length > this.#version.maxMessageBytes) {
      return false;
    }
    if (this.#end || !this.#inbox.isIdle) return false;
    this.#parts = { stream: readUint32(first, 1), frameBytes: length - headerBytes };
    this.#partOffset = headerBytes;
    return true;
  }

  /** Each part is like a Data frame of its own. */
  #receivePart(bytes: Uint8Array, isLast: boolean, free?: () => void): void {
    if (this.#end) return;
    this.stats.bytesIn += bytes.length;
    const payload = bytes.subarray(this.#partOffset);
    this.#partOffset = 0;
    if (isLast) this.#keepalive.heard();
    if (payload.length === 0) return free?.();
    const shares = this.#shares = free && new Shares(free);
    try {
      this.#visit(FrameType.Data, this.#parts.stream, payload, this.#parts.frameBytes);
    } catch (error) {
      this.#unreadable(error);
    }
    this.#shares = undefined;
    shares?.release();
  }

  /** The WebSocket answers by itself; that is work, and memory where the peer does not read. */
  #receiveControl(): void {
    if (this.#end) return;
    if (this.#socket.bufferedAmount > maxUnreadBytes) {
      return this.#fatal(CloseCode.TryAgainLater, "The peer does not read its control frames");
    }
    if (!this.#allowance.spend()) this.#unreadable(excess());
  }

  /** @returns whether the message is to be read. */
  #begin(message: Uint8Array, shares: Shares | undefined): boolean {
    if (isBatch(message) && this.#version.maxFrameType < FrameType.Batch) {
      this.#spend();
      return false;
    }
    this.#shares = shares;
    return true;
  }

  #unreadable(error: unknown): void {
    if (error instanceof ProtocolError) this.#fatal(CloseCode.ProtocolError, error.message);
    else if (error instanceof ExcessError) this.#fatal(CloseCode.Excessive, error.message);
    else this.#fault(error);
  }

  /** @param frameBytes Of the frame's whole payload, of which this may be a part. */
  readonly #visit = (
    type: number,
    id: number,
    payload: Uint8Array,
    frameBytes = payload.length,
  ): void => {
    if (this.#end) return;
    if (!this.#hasSeenFrame) this.#firstFrame(type);
    try {
      this.#dispatch(type, id, payload);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      const frame = `${frameName(type)} frame on stream ${id} of ${frameBytes} bytes`;
      throw new ProtocolError(`${error.message} (${frame})`);
    }
  };

  #dispatch(type: number, id: number, payload: Uint8Array): void {
    if (type > this.#version.maxFrameType) return this.#spend();
    switch (type) {
      case FrameType.Data:
        return this.#bytesFor(id, payload)?.receiveData(payload, this.#shares?.take());
      case FrameType.End:
        return this.#bytesFor(id, payload)?.receiveEnd(payload, this.#shares?.take());
      case FrameType.Open:
        this.#shares?.keep();
        return this.#receiveOpen(id, payload);
      case FrameType.Connect:
        this.#shares?.keep();
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
        return this.#receiveSettings(payload);
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

  /** The relay's first frame tells an agent which version it speaks. */
  #firstFrame(type: number): void {
    this.#hasSeenFrame = true;
    this.#isVersion1 = this.#options.role === "agent" && type !== FrameType.Settings;
    if (this.#isVersion1) this.#ready.resolve();
  }

  #receiveSettings(payload: Uint8Array): void {
    if (this.#peer) throw new ProtocolError("Settings came twice");
    if (this.#isVersion1) throw new ProtocolError("Settings must be the first frame");
    if (this.#options.role === "relay" && !this.#options.offersVersion2) return;
    this.#peer = decodeSettings(payload);
    if (this.#options.role === "agent") {
      const announces = this.#announcement && { announces: true };
      const settings = { ...this.#options.settings, ...announces };
      this.#outbox.control(FrameType.Settings, 0, encodeSettings(settings));
    }
    this.#version = new Version2(this.#versionHost);
    this.#outbox.useVersion2(this.#peer.maxFrame);
    if (this.#options.role === "agent" && this.#announcement) {
      this.#sendAnnouncement(this.#announcement);
    }
    this.#keepalive.probe();
    // A relay must not choose an agent whose targets it does not know yet.
    if (this.#options.role === "agent" || !this.#peer.announces) this.#ready.resolve();
  }

  #sendAnnouncement(announcement: Announcement): void {
    this.#outbox.control(FrameType.Announce, 0, encodeAnnouncement(announcement));
  }

  /** It counts by its size, as reading it is work. */
  #receiveAnnouncement(payload: Uint8Array): void {
    this.#spend(1 + (payload.length >>> 10));
    if (this.#options.role !== "relay" || !this.#peer?.announces) return;
    this.#announcement = decodeAnnouncement(payload);
    this.#ready.resolve();
    this.#options.events?.announced?.(this.#announcement);
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
    if (this.#isPeerDraining) return;
    this.#isPeerDraining = true;
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
    this.#inbox.whenEmpty(() => this.#finish({ code, reason: reason || "The connection ended" }));
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
    this.#inbox.stop();
    this.#outbox.stop();
    const error = new StreamError("reset", `The session ended: ${end.reason}`);
    for (const stream of this.#streams.toArray()) stream.receiveError(error);
    this.#tellIdle();
    // Nobody may be waiting for it, and that is fine: `closed` tells the same.
    this.#ready.promise.catch(() => {});
    this.#ready.reject(error);
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
