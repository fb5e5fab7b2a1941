/** The server's side of an HTTP/1.1 connection: requests one after the other (RFC 9112 section 9). */
import { ByteBuffer } from "../bytes/byte_buffer.ts";
import { concat, encodeLatin1 } from "../bytes/bytes.ts";
import { BodyError, BodyScanner, requestFraming } from "../http1/body.ts";
import { keepsAlive } from "../http1/fields.ts";
import { HeadError, type HeadLimits, type RequestHead } from "../http1/head.ts";
import { HeadReader } from "../http1/head_reader.ts";
import { dateField } from "../http1/date.ts";
import { checkRequest } from "../http1/request_target.ts";
import type { ByteSocket, ByteSocketEvents } from "./byte_socket.ts";
import { errorBody } from "./error_body.ts";
import type { Peer } from "./exchange.ts";
import { type ExchangeHost, RawExchange } from "./raw_exchange.ts";

/** How long a connection may take, in milliseconds. */
export interface ConnectionTimeouts {
  /** How long a head may take, from its first byte or the connection's start, in milliseconds. */
  headMs: number;
  /**
   * Between two requests. It must be longer than clients keep theirs (90 s for Go's), or a request
   * would meet a connection that is just being closed.
   */
  idleMs: number;
  /** How long a caller may take for the rest of its answer and to close, once we have closed our half. */
  lingerMs: number;
  /** How long a caller may take nothing of the rest of its answer; 0 for no limit. */
  stallMs: number;
}

/** The timeouts unless told otherwise. */
export const defaultConnectionTimeouts: ConnectionTimeouts = {
  headMs: 30_000,
  idleMs: 180_000,
  lingerMs: 5_000,
  stallMs: 300_000,
};

/** What a connection is set up with. */
export interface ConnectionOptions {
  peer: Peer;
  limits: HeadLimits;
  timeouts: ConnectionTimeouts;
  /** Deals with a request. It must answer in the end, or abort. */
  handle: (exchange: RawExchange) => void;
  /** A request was refused before it became an exchange. */
  refused: (status: number, reason: string) => void;
  /** The connection is over, or was handed over. */
  closed: () => void;
  nowMs: () => number;
}

/** Bytes of pipelined requests that are kept while one is being answered. */
const maxPipelinedBytes = 64 * 1024;

/**
 * Reads requests from a socket and has them answered in order.
 *
 * `idle`: between requests. `head`: a head has begun. `busy`: an exchange is open. `lingering`: our
 * half is closed and what still comes is thrown away. `over`: closed or handed over.
 */
export class HttpConnection implements ExchangeHost {
  readonly socket: ByteSocket;
  readonly #options: ConnectionOptions;
  readonly #listeners: ByteSocketEvents;
  #state: "idle" | "head" | "busy" | "lingering" | "over" = "idle";
  readonly #heads: HeadReader<RequestHead>;
  /** What was read and has no place yet: a body that nobody takes, or the next requests. */
  readonly #buffer = new ByteBuffer();
  #exchange: RawExchange | undefined;
  #deadlineMs: number;
  /** What a caller has yet to take of its last answer, and since when it takes nothing. */
  #unsentBytes = 0;
  #unsentSinceMs = 0;
  #isReading = false;
  /** Whether the connection closes after the answer that is on its way. */
  #isLast = false;

  constructor(socket: ByteSocket, options: ConnectionOptions) {
    this.socket = socket;
    this.#options = options;
    this.#heads = HeadReader.forRequests(options.limits);
    this.#deadlineMs = options.nowMs() + options.timeouts.headMs;
    this.#listeners = {
      data: (bytes) => this.#receive(bytes),
      end: () => this.#ended(),
      drain: () => this.#exchange?.drained(),
      close: () => this.#closed(),
      error: () => {}, // `close` follows, and says all there is to do.
    };
    for (const event of eventNames) socket.on(event, this.#listeners[event]);
  }

  get peer(): Peer {
    return this.#options.peer;
  }

  nowMs(): number {
    return this.#options.nowMs();
  }

  /** Closes the connection if it has outlived its deadline; called now and then. */
  checkDeadline(nowMs: number): void {
    const isAnswering = this.#state === "busy" && !this.#exchange?.isOver;
    if (isAnswering || nowMs < this.#deadlineMs) return;
    if (this.socket.writableLength > 0) this.#awaitCaller(nowMs);
    else if (this.#state === "head") this.#refuse(408, "Request Timeout");
    else this.socket.destroy();
  }

  /** The caller is still taking its last answer, at its own pace: its time begins afterwards. */
  #awaitCaller(nowMs: number): void {
    const { lingerMs, idleMs, stallMs } = this.#options.timeouts;
    const unsent = this.socket.writableLength;
    if (unsent !== this.#unsentBytes) {
      this.#unsentBytes = unsent;
      this.#unsentSinceMs = nowMs;
    } else if (stallMs > 0 && nowMs - this.#unsentSinceMs >= stallMs) {
      this.socket.resetAndDestroy();
      return;
    }
    this.#deadlineMs = nowMs + (this.#state === "lingering" ? lingerMs : idleMs);
  }

  /** Closes the connection after the next answer, which says so. */
  leave(): void {
    this.#isLast = true;
    this.#exchange?.makeLast();
  }

  /** Closes the connection now if it is idle, else after the answer to the request that has begun. */
  close(): void {
    // A request that comes now would meet a half that is closed: it must not be carried out.
    if (this.#state === "idle") this.#linger();
    else this.leave();
  }

  /**
   * Ends the connection now. With a reset where an answer is not yet the caller's: behind an orderly
   * end an answer without a length, as HTTP/1.0 has them, would look whole.
   */
  abort(): void {
    this.#exchange?.abort();
    if (this.socket.writableLength > 0) this.socket.resetAndDestroy();
    else this.socket.destroy();
  }

  readBody(): void {
    this.#pump();
    this.#flow();
  }

  finished(keepAlive: boolean): void {
    if (this.#state !== "busy") return;
    if (!keepAlive || this.#isLast) return this.#linger();
    // What is left of the request's body has as long as a head has.
    this.#deadlineMs = this.#options.nowMs() + this.#options.timeouts.headMs;
    // `pump` goes on to the next request once the body is read, in a turn of its own: many small
    // pipelined requests must not grow the stack.
    queueMicrotask(() => {
      this.#pump();
      this.#flow();
    });
  }

  detach(): Uint8Array {
    for (const event of eventNames) this.socket.off(event, this.#listeners[event]);
    const head = this.#buffer.take();
    this.#over();
    return head;
  }

  #receive(bytes: Uint8Array): void {
    if (this.#state === "lingering" || this.#state === "over") return;
    this.#buffer.append(bytes);
    this.#pump();
    this.#flow();
  }

  /** Does what can be done with the bytes that are there. */
  #pump(): void {
    if (this.#isReading) return;
    this.#isReading = true;
    try {
      while (this.#step());
    } finally {
      this.#isReading = false;
    }
  }

  /** One piece of work; false when more bytes, or an answer, must come first. */
  #step(): boolean {
    if (this.#state === "busy") return this.#stepBusy();
    if (this.#state !== "idle" && this.#state !== "head") return false;
    return this.#stepHead();
  }

  #stepBusy(): boolean {
    const exchange = this.#exchange!;
    if (exchange.takesBody && this.#buffer.length > 0) return this.#stepBody(exchange);
    if (!exchange.isOver || !exchange.isBodyDone) return false;
    this.#exchange = undefined;
    this.#state = "idle";
    this.#deadlineMs = this.#options.nowMs() + this.#options.timeouts.idleMs;
    return true;
  }

  #stepBody(exchange: RawExchange): boolean {
    const bytes = this.#buffer.take();
    const { length } = bytes;
    try {
      const end = exchange.receive(bytes, 0);
      // A consumer may have detached or paused meanwhile; what is behind the body is kept. Bytes
      // that are all of the body may have been freed.
      if (end < length) this.#buffer.append(bytes.subarray(end));
      return true;
    } catch (error) {
      if (!(error instanceof BodyError)) throw error;
      this.#refuse(400, error.message);
      return false;
    }
  }

  #stepHead(): boolean {
    let bytes = this.#buffer.take();
    if (this.#state === "idle") {
      bytes = withoutEmptyLines(bytes);
      if (bytes.length === 0) return false;
      if (bytes.length === 1 && bytes[0] === 13) {
        this.#buffer.append(bytes);
        return false;
      }
      this.#state = "head";
      this.#deadlineMs = this.#options.nowMs() + this.#options.timeouts.headMs;
    }
    if (bytes.length === 0) return false;
    try {
      const head = this.#heads.read(bytes);
      if (!head) return false;
      this.#buffer.append(this.#heads.takeRest());
      this.#begin(checkRequest(head));
      return true;
    } catch (error) {
      if (!(error instanceof HeadError)) throw error;
      this.#refuse(error.status, error.message);
      return false;
    }
  }

  #begin(head: RequestHead): void {
    const scanner = new BodyScanner(requestFraming(head));
    this.#state = "busy";
    const exchange = new RawExchange(this, head, scanner, keepsAlive(head) && !this.#isLast);
    this.#exchange = exchange;
    this.#options.handle(exchange);
  }

  /** Keeps the socket flowing, except while bytes would only pile up. */
  #flow(): void {
    if (this.#state === "over" || this.socket.destroyed) return;
    const exchange = this.#exchange;
    const isBodyBlocked = exchange !== undefined && !exchange.isBodyDone && !exchange.takesBody;
    const isPipelineFull = exchange !== undefined && this.#buffer.length > maxPipelinedBytes;
    if (isBodyBlocked || isPipelineFull) this.socket.pause();
    else this.socket.resume();
  }

  /** The request can't be understood: says so and closes, as nothing after it can be either. */
  #refuse(status: number, reason: string): void {
    this.#options.refused(status, reason);
    const exchange = this.#exchange;
    if (exchange?.isAnswered) {
      // An answer is on its way: a second one would be taken for a part of it.
      this.socket.resetAndDestroy();
      return;
    }
    exchange?.connectionLost();
    const body = errorBody(status, "bad_request", reason);
    const head = encodeLatin1(
      `HTTP/1.1 ${status} ${reasonPhrases[status] ?? "Bad Request"}\r\n` +
        `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n` +
        `Date: ${dateField().value}\r\nConnection: close\r\n\r\n`,
    );
    this.socket.write(concat(head, body));
    this.#linger();
  }

  /**
   * Closes our half and throws away what still comes, for a while: to close at once with bytes
   * unread would reset the connection, and the caller could lose its answer (RFC 9112 section 9.6).
   */
  #linger(): void {
    this.#state = "lingering";
    this.#exchange = undefined;
    this.#buffer.take();
    this.#deadlineMs = this.#options.nowMs() + this.#options.timeouts.lingerMs;
    this.socket.end();
    this.socket.resume();
  }

  /** The caller closed its half. Waiting for an answer with it closed is given up, as Go does. */
  #ended(): void {
    if (this.#state === "busy" && !this.#exchange?.isOver) {
      // What it has sent may hold whole requests, but nobody is left who would read the answers.
      this.#exchange?.connectionLost();
      this.socket.destroy();
    } else if (this.#state !== "lingering") {
      // To end it twice would be an error, of which Node makes an object with a stack, for nobody.
      this.socket.end();
    }
  }

  #closed(): void {
    const exchange = this.#exchange;
    this.#exchange = undefined;
    this.#over();
    exchange?.connectionLost();
  }

  #over(): void {
    if (this.#state === "over") return;
    this.#state = "over";
    this.#options.closed();
  }
}

const eventNames = ["data", "end", "drain", "close", "error"] as const;

/** A server is to ignore empty lines in front of a request (RFC 9112 section 2.2). */
function withoutEmptyLines(bytes: Uint8Array): Uint8Array {
  let at = 0;
  while (bytes[at] === 13 && bytes[at + 1] === 10) at += 2;
  return at > 0 ? bytes.subarray(at) : bytes;
}

/** Reason phrases of the statuses that are answered without a handler. */
const reasonPhrases: Record<number, string> = {
  400: "Bad Request",
  408: "Request Timeout",
  431: "Request Header Fields Too Large",
  501: "Not Implemented",
  505: "HTTP Version Not Supported",
};
