/**
 * One TCP connection in a WebSocket (docs/protocol.md, "TCP over WebSocket"): what `access` and relay
 * speak. Binary messages carry bytes, a text message ends one direction, and the Close ends both.
 */
import { truncateUtf8 } from "../truncate_utf8.ts";
import { StreamError } from "../protocol/errors.ts";
import type { MessageSocket } from "../protocol/socket.ts";
import type { StreamEvents } from "../protocol/stream_events.ts";
import type { Channel } from "./channel.ts";

/** The WebSocket subprotocol. */
export const tcpProtocol = "culvert.tcp.v1";

/** Says that its sender sends no more bytes. */
export const endMessage = '{"end":true}';

/** Why the WebSocket closes. Everything but `Done` means that bytes may be missing. */
export const TcpClose = {
  /** Both directions have ended. */
  Done: 1000,
  /** The relay stops. */
  GoingAway: 1001,
  /** The peer sent a message that the subprotocol does not have. */
  BadMessage: 1002,
  /** The caller may not use the service any more. */
  Withdrawn: 1008,
  /** The connection to the target broke. */
  TargetBroke: 1011,
  /** Its sender goes on sending though nobody reads, and can't be stopped. */
  TryAgainLater: 1013,
  /** The caller's own connection broke. */
  CallerBroke: 4000,
} as const;

/** Stands for a connection that broke (RFC 6455 section 7.4.1); never sent. */
const brokenClose = 1006;

/** Bytes of one message at the most: what every platform passes on, and a turn of others' streams. */
const maxMessageBytes = 64 * 1024;
/** Bytes that wait in the socket before `write` says that it is enough. */
const highWaterBytes = 256 * 1024;
/** Bytes that the consumer may hold before the socket is read no further, and when it goes on. */
const maxUnconsumedBytes = 256 * 1024;
const resumeBytes = 64 * 1024;
/**
 * The same where a platform's WebSocket can't be stopped from reading: whoever sends on meanwhile is
 * cut off.
 */
const maxUnstoppableBytes = 8 * 1024 * 1024;

/** How a connection ended. */
export interface TcpEnd {
  /** One of {@link TcpClose}, or what else the peer or the network has made of it. */
  readonly code: number;
  /** In words, for people; may be empty. */
  readonly reason: string;
  /** Whether the other side has ended it, or the network. */
  readonly isRemote: boolean;
}

/** What a Close says. */
export interface TcpFault {
  readonly code: number;
  /** The text for the user at the other end; it may be empty. */
  readonly reason: string;
}

/** How a channel is set up. */
export interface TcpChannelOptions {
  /** What the other side is told when this one breaks, or is given up. */
  readonly broken: (error: StreamError | undefined) => TcpFault;
  /** Called once. */
  readonly over?: (end: TcpEnd) => void;
}

const silent: StreamEvents = { data() {}, end() {}, closed() {}, failed() {}, drained() {} };

/** A WebSocket of {@link tcpProtocol} as a channel. */
export class TcpChannel implements Channel {
  readonly canHalfClose = true;
  readonly #socket: MessageSocket;
  readonly #options: TcpChannelOptions;
  #events: StreamEvents = silent;
  #hasEnded = false;
  #hasPeerEnded = false;
  #isOver = false;
  #isFull = false;
  #isPaused = false;
  #unconsumed = 0;

  constructor(socket: MessageSocket, options: TcpChannelOptions) {
    this.#socket = socket;
    this.#options = options;
  }

  listen(events: StreamEvents): void {
    const isFirst = this.#events === silent;
    this.#events = events;
    if (!isFirst) return;
    this.#socket.listen({
      message: (bytes) => this.#received(bytes),
      text: (text) => this.#receivedText(text),
      closed: (code, reason) => this.#closed(code, reason),
      drained: () => this.#drained(),
    });
  }

  write(bytes: Uint8Array, free?: () => void): boolean {
    if (this.#isOver || this.#hasEnded) return true;
    for (let at = 0; at < bytes.length; at += maxMessageBytes) {
      const end = at + maxMessageBytes;
      if (end >= bytes.length) this.#socket.send(bytes.subarray(at), free);
      else this.#socket.send(bytes.subarray(at, end));
    }
    this.#isFull = this.#socket.bufferedAmount > highWaterBytes;
    return !this.#isFull;
  }

  end(): void {
    if (this.#isOver || this.#hasEnded) return;
    this.#hasEnded = true;
    this.#socket.sendText(endMessage);
  }

  finish(): void {
    this.end();
    // Until the peer has ended too, its last bytes may be on their way: its own Close comes behind.
    this.closeWith(TcpClose.Done, "");
  }

  close(): void {
    this.#break(undefined);
  }

  fail(error: StreamError): void {
    this.#break(error);
  }

  #break(error: StreamError | undefined): void {
    const { code, reason } = this.#options.broken(error);
    this.closeWith(code, reason);
  }

  /** Ends both directions. The reason is cut to what a Close holds. */
  closeWith(code: number, reason: string): void {
    if (this.#isOver) return;
    this.#over({ code, reason, isRemote: false });
    this.#socket.close(code, truncateUtf8(reason, maxReasonBytes));
    // What still comes is dropped, so that the peer's Close is read.
    this.#socket.resume?.();
  }

  consumed(bytes: number): void {
    this.#unconsumed -= bytes;
    if (!this.#isPaused || this.#unconsumed > resumeBytes) return;
    this.#isPaused = false;
    this.#socket.resume?.();
  }

  #received(bytes: Uint8Array): void {
    if (this.#isOver) return;
    if (this.#hasPeerEnded) return this.#broken(TcpClose.BadMessage, "Bytes came after the end");
    this.#unconsumed += bytes.length;
    this.#events.data(bytes);
    if (this.#unconsumed <= maxUnconsumedBytes || this.#isPaused || this.#isOver) return;
    if (this.#socket.pause) {
      this.#isPaused = true;
      this.#socket.pause();
    } else if (this.#unconsumed > maxUnstoppableBytes) {
      this.#broken(TcpClose.TryAgainLater, "The other side reads too slowly");
    }
  }

  #receivedText(text: string): void {
    if (this.#isOver) return;
    if (!isEndMessage(text)) {
      return this.#broken(TcpClose.BadMessage, "A text message is not the end of a direction");
    }
    if (this.#hasPeerEnded) return;
    this.#hasPeerEnded = true;
    this.#events.end();
  }

  #closed(code: number, reason: string): void {
    if (this.#isOver) return;
    const known = standardCode(code);
    if (known === TcpClose.Done && this.#hasPeerEnded) {
      this.#over({ code: known, reason, isRemote: true });
      return this.#events.closed();
    }
    const isEarly = known === TcpClose.Done;
    const why = isEarly ? "the peer closed the connection before its end" : reason;
    this.#over({ code: isEarly ? brokenClose : known, reason: why, isRemote: true });
    this.#events.failed(new StreamError("reset", why || `Closed with ${known}`));
  }

  /** Ends both directions by this side's own finding, of which its owner has to hear too. */
  #broken(code: number, reason: string): void {
    this.closeWith(code, reason);
    this.#events.failed(new StreamError("reset", reason));
  }

  #drained(): void {
    if (!this.#isFull || this.#isOver || this.#socket.bufferedAmount > highWaterBytes / 2) return;
    this.#isFull = false;
    this.#events.drained();
  }

  #over(end: TcpEnd): void {
    this.#isOver = true;
    this.#options.over?.(end);
  }
}

/** Whether a text message ends a direction; further keys are for versions to come. */
function isEndMessage(text: string): boolean {
  try {
    return JSON.parse(text)?.end === true;
  } catch {
    return false;
  }
}

/** Platforms that may send no code below 3000 add 2000 to it. */
function standardCode(code: number): number {
  return code >= 3000 && code < 4000 ? code - 2000 : code;
}

/** What a Close has room for (RFC 6455 section 5.5). */
const maxReasonBytes = 123;
