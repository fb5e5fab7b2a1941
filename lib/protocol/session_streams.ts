/** The streams of one session: how they are opened, what they send by, and what they share. */
import { allocate } from "../bytes/bytes.ts";
import { CreditReturn } from "./credit_return.ts";
import type { Drain } from "./drain.ts";
import { ProtocolError, StreamError } from "./errors.ts";
import { FrameType, writeUint32 } from "./frame.ts";
import type { FrameAllowance } from "./frame_allowance.ts";
import type { Handshake } from "./handshake.ts";
import type { Keepalive } from "./keepalive.ts";
import type { Outbox } from "./outbox.ts";
import type { OpenTarget } from "./protocol_version.ts";
import type { ReadPause } from "./read_pause.ts";
import { ReceiveWindow, WindowBudget } from "./receive_window.ts";
import type { SessionOptions, SessionStats } from "./session_options.ts";
import { Stream, type StreamHost } from "./stream.ts";
import { StreamTable } from "./stream_table.ts";
import type { TargetKey } from "./target_key.ts";

/**
 * All streams of a session share one line, so what fills it for one of them fills it for all: 16 MiB
 * are 1 Gbit/s over 130 ms.
 */
const defaultWindowBudgetBytes = 16 * 1024 * 1024;

/** The parts of a session that its streams use. */
export interface SessionStreamsParts {
  readonly options: SessionOptions;
  readonly nowMs: () => number;
  readonly stats: SessionStats;
  readonly allowance: FrameAllowance;
  readonly outbox: Outbox;
  readonly keepalive: Keepalive;
  readonly handshake: Handshake;
  readonly drain: Drain;
  readonly readPause: ReadPause;
}

/** The open streams of one session. */
export class SessionStreams {
  readonly #parts: SessionStreamsParts;
  readonly #table = new StreamTable();
  readonly #budget: WindowBudget;
  readonly #creditReturn: CreditReturn;
  readonly #host: StreamHost;

  constructor(parts: SessionStreamsParts) {
    this.#parts = parts;
    this.#budget = new WindowBudget(parts.options.windowBudgetBytes ?? defaultWindowBudgetBytes);
    this.#creditReturn = new CreditReturn(this.#table, parts.nowMs);
    this.#host = this.#createHost(parts);
  }

  /** How many are open. */
  get size(): number {
    return this.#table.size;
  }

  /** The open stream with this id. */
  get(id: number): Stream | undefined {
    return this.#table.get(id);
  }

  /**
   * Relays only: opens a stream, with its first bytes.
   *
   * @throws {StreamError} `limit` when the peer's streams are all in use, `kind_not_supported` when the
   *   agent knows no kinds of streams.
   */
  open(target: OpenTarget, first: Uint8Array): Stream {
    const { handshake, options: { settings: { maxStreams } } } = this.#parts;
    if (target.kind !== "http" && !handshake.announcement) {
      throw new StreamError("kind_not_supported", "The agent serves HTTP alone");
    }
    const limit = Math.min(handshake.peer?.maxStreams ?? maxStreams, maxStreams);
    if (this.size >= limit) {
      throw new StreamError("limit", `The session's ${limit} streams are all in use`);
    }
    const stream = this.#create(this.#table.takeId());
    handshake.version.open(stream, target, first);
    return stream;
  }

  /**
   * Agents only: makes room for the peer's new stream.
   *
   * @returns undefined if the stream was refused, because too many are open.
   * @throws {ProtocolError} for a peer that may not open it.
   */
  accept(id: number): Stream | undefined {
    const { allowance, options: { role, settings } } = this.#parts;
    if (role === "relay") throw new ProtocolError("An agent opens no streams");
    if (id === 0) throw new ProtocolError("Stream 0 is the session's own");
    if (this.#table.get(id)) throw new ProtocolError(`Stream ${id} is open already`);
    if (this.size >= settings.maxStreams) {
      allowance.spend();
      this.#sendError(id, new StreamError("limit", "The agent's streams are all in use"));
      return undefined;
    }
    return this.#create(id);
  }

  /** Agents only: tells the session's owner of the peer's new stream. */
  opened(stream: Stream, { name, kind }: TargetKey): void {
    try {
      this.#parts.options.events?.opened?.(stream, name, kind);
    } catch (error) {
      stream.crash(error);
    }
  }

  /** Has streams give back credit that they do not use, now and then. */
  returnCredit(): void {
    const { handshake: { peer }, keepalive } = this.#parts;
    if (!peer || this.size === 0) return;
    this.#creditReturn.ask(peer, keepalive.minRoundTripMs);
  }

  /** The session has ended: so do all of its streams. */
  fail(error: StreamError): void {
    for (const stream of this.#table.toArray()) stream.receiveError(error);
  }

  #create(id: number): Stream {
    const { options: { settings }, handshake: { peer }, allowance, nowMs } = this.#parts;
    const receive = new ReceiveWindow(settings.window, settings.maxWindow, this.#budget, nowMs());
    const stream = new Stream(id, this.#host, receive, peer?.window ?? 0);
    this.#table.add(stream);
    allowance.earn();
    return stream;
  }

  #createHost(parts: SessionStreamsParts): StreamHost {
    const { options, nowMs, stats, allowance, outbox, keepalive, handshake, readPause } = parts;
    return {
      role: options.role,
      get version() {
        return handshake.version.number;
      },
      get roundTripMs() {
        return keepalive.minRoundTripMs;
      },
      nowMs,
      wake: (stream) => outbox.wake(stream),
      withdraw: (stream) => outbox.withdraw(stream),
      sendControl: (type, id, payload) => outbox.control(type, id, payload),
      sendCredit: (id, bytes) => outbox.control(FrameType.Credit, id, encodeCredit(bytes)),
      sendReturn: (id, bytes) => outbox.control(FrameType.Return, id, encodeCredit(bytes)),
      sendError: (id, error) => this.#sendError(id, error),
      heldChanged: (bytes) => readPause.heldChanged(bytes),
      forget: (stream) => this.#forget(stream),
      stalled: () => {
        stats.windowStalls++;
      },
      carried: () => allowance.earn(),
      crashed: (stream, error) => options.events?.streamFault?.(error, stream.id),
    };
  }

  #sendError(id: number, error: StreamError): void {
    const { outbox, handshake } = this.#parts;
    outbox.control(FrameType.Error, id, handshake.version.encodeError(error));
  }

  #forget(stream: Stream): void {
    this.#table.delete(stream);
    this.#parts.allowance.expectLate(stream.lateBytes);
    this.#parts.drain.streamEnded();
  }
}

/** The payload of a Credit or a Return. */
function encodeCredit(bytes: number): Uint8Array {
  const payload = allocate(4);
  writeUint32(payload, 0, bytes);
  return payload;
}
