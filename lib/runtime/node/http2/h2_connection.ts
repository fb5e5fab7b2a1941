/** The server's side of an HTTP/2 connection (RFC 9113). */
import {
  constants,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { TLSSocket } from "node:tls";
import { dateField } from "../../../http1/date.ts";
import { field, HeadError, type HeadLimits } from "../../../http1/head.ts";
import { errorBody } from "../../../net/error_body.ts";
import type { Exchange, Peer } from "../../../net/exchange.ts";
import type { ConnectionTimeouts } from "../../../net/http_connection.ts";
import { guardEmitter } from "../guarded_socket.ts";
import { Allowance } from "./allowance.ts";
import { UploadWindow, type WindowSizes } from "./upload_window.ts";
import { H2Exchange, rawHead, sendHead } from "./h2_exchange.ts";
import { type H2Request, readRequest } from "./request_head.ts";

/** What a connection is set up with. */
export interface H2ConnectionOptions {
  readonly peer: Peer;
  readonly limits: HeadLimits;
  readonly timeouts: ConnectionTimeouts;
  /** Deals with a request. It must answer in the end, or abort. */
  readonly handle: (exchange: Exchange) => void;
  /** A request was refused before it became an exchange. */
  readonly refused: (status: number, reason: string) => void;
  /** The connection was ended because of what its client did. */
  readonly abused: (how: H2Abuse) => void;
  /** The connection is over. */
  readonly closed: () => void;
  readonly nowMs: () => number;
}

/** A closed list, as it is a metric's label. */
export type H2Abuse =
  /** Requests that were withdrawn as soon as they were sent (CVE-2023-44487). */
  | "resets"
  /** Pings or settings, each of which wants an answer. */
  | "control_frames"
  /** What is no HTTP/2, or breaks its rules. */
  | "protocol";

/** Requests of one connection at a time; browsers use as many as there are. */
const maxStreams = 100;
/** Besides one for each request that was answered. Each has opened a request to a target. */
const resets = { burst: 200, perSecond: 20 };
const controlFrames = { burst: 500, perSecond: 20 };
/** Bytes that HPACK counts for a field besides its name and value (RFC 9113 section 6.5.2). */
const fieldOverheadBytes = 32;
/** The number of a client's own pseudo-header fields. */
const pseudoFields = 4;

/** Names and values in turn come last, with their order and repeats. */
type StreamEvent = [ServerHttp2Stream, unknown, number, readonly string[]];

/** A stream until it is closed, which is later than its exchange. */
interface Open {
  readonly exchange: H2Exchange | undefined;
  unsentBytes: number;
  unsentSinceMs: number;
}

/** Takes requests off a connection, as many at a time as the client likes. */
export class H2Connection {
  readonly #options: H2ConnectionOptions;
  readonly #socket: TLSSocket;
  readonly #session: ServerHttp2Session;
  readonly #open = new Map<ServerHttp2Stream, Open>();
  readonly #resets: Allowance;
  readonly #control: Allowance;
  readonly #upload = new UploadWindow((sizes) => this.#widen(sizes));
  #deadlineMs: number;
  #isLeaving = false;
  #isAbused = false;
  #isOver = false;

  constructor(socket: TLSSocket, options: H2ConnectionOptions) {
    this.#socket = socket;
    this.#options = options;
    const nowMs = options.nowMs();
    this.#deadlineMs = nowMs + options.timeouts.headMs;
    this.#resets = new Allowance(resets, nowMs);
    this.#control = new Allowance(controlFrames, nowMs);
    const { maxBytes, maxFields } = options.limits;
    this.#session = performServerHandshake(socket, {
      settings: {
        maxConcurrentStreams: maxStreams,
        initialWindowSize: this.#upload.sizes.stream,
        maxHeaderListSize: maxBytes + fieldOverheadBytes * maxFields,
        enablePush: false,
      },
      // One more than is allowed: with fewer the answer says why.
      maxHeaderListPairs: maxFields + pseudoFields + 1,
    });
    const session = this.#session;
    deferEnds(session);
    guardEmitter(session, () => session.destroy(undefined, constants.NGHTTP2_INTERNAL_ERROR));
    session.setLocalWindowSize(this.#upload.sizes.connection);
    session.on("stream", (...args: StreamEvent) => this.#begin(args[0], args[2], args[3]));
    session.on("ping", () => this.#countControl());
    session.on("remoteSettings", () => this.#countControl());
    session.on("error", ({ code }: Error & { code?: string }) => {
      if (code?.startsWith("ERR_HTTP2")) options.abused("protocol");
    });
    session.on("close", () => this.#over());
    // Waiting for an answer with its half closed is given up, as in HTTP/1.1. Deno 2.9.6 does nothing.
    socket.on("end", () => {
      this.#over();
      this.abort();
    });
    socket.on("close", () => this.#over());
  }

  #widen({ stream, connection }: WindowSizes): void {
    if (this.#session.closed || this.#session.destroyed) return;
    this.#session.settings({ initialWindowSize: stream });
    this.#session.setLocalWindowSize(connection);
  }

  /** Streams that are open. */
  get streams(): number {
    return this.#open.size;
  }

  /** Closes the connection if it has outlived its deadline; called now and then. */
  checkDeadline(nowMs: number): void {
    for (const open of this.#open.values()) this.#checkStalled(open, nowMs);
    if (this.#open.size > 0 || nowMs < this.#deadlineMs) return;
    if (this.#session.closed) this.abort();
    else this.close();
  }

  /**
   * Closes the connection with the end of the next answer; requests are taken until then. HTTP/2 has a
   * notice for it, GOAWAY with the highest number (RFC 9113 section 6.8), but Deno 2.9.6 takes no request
   * behind that.
   */
  leave(): void {
    this.#isLeaving = true;
  }

  /** Takes no request any more, and closes behind the last answer. */
  close(): void {
    if (this.#session.closed || this.#session.destroyed) return;
    // A client that does not close an idle connection is cut off by the next deadline.
    this.#deadlineMs = this.#options.nowMs() + this.#options.timeouts.lingerMs;
    this.#session.close();
  }

  /** Ends the connection, with its open requests. */
  abort(): void {
    for (const { exchange } of this.#open.values()) exchange?.abort();
    if (!this.#session.destroyed) this.#session.destroy();
    this.#socket.destroy();
    this.#over();
  }

  #begin(stream: ServerHttp2Stream, flags: number, raw: readonly string[]): void {
    guardEmitter(stream, () => stream.destroy(new Error("A listener failed")));
    stream.on("error", () => {}); // `close` follows, and says all there is to do.
    const hasBody = (flags & constants.NGHTTP2_FLAG_END_STREAM) === 0;
    const request = this.#read(stream, raw, hasBody);
    const exchange = request && new H2Exchange(
      stream,
      request,
      this.#options.peer,
      (bytes) => this.#upload.consumed(bytes, this.#options.nowMs()),
    );
    this.#open.set(stream, { exchange, unsentBytes: 0, unsentSinceMs: 0 });
    stream.on("aborted", () => {
      if (!exchange?.isWithdrawn) this.#countReset();
    });
    stream.on("close", () => this.#streamClosed(stream));
    if (exchange) this.#options.handle(exchange);
  }

  #read(
    stream: ServerHttp2Stream,
    raw: readonly string[],
    hasBody: boolean,
  ): H2Request | undefined {
    try {
      return readRequest(raw, hasBody, this.#options.limits);
    } catch (error) {
      if (!(error instanceof HeadError)) throw error;
      this.#options.refused(error.status, error.message);
      const body = errorBody(error.status, "bad_request", error.message);
      const fields = [
        field("Content-Type", "application/json"),
        field("Content-Length", String(body.length)),
        dateField(),
      ];
      sendHead(stream, rawHead(error.status, fields), false);
      stream.end(body);
      stream.resume();
      return undefined;
    }
  }

  #streamClosed(stream: ServerHttp2Stream): void {
    // A proxy in front has the requests of many on one connection, and some of them leave.
    if (!stream.aborted) this.#resets.give();
    this.#open.delete(stream);
    if (this.#isLeaving) this.close();
    if (this.#open.size > 0) return;
    const { idleMs, lingerMs } = this.#options.timeouts;
    this.#deadlineMs = this.#options.nowMs() + (this.#session.closed ? lingerMs : idleMs);
  }

  /** Whoever waits for an open exchange has a timeout; behind its end nobody waits but the stream. */
  #checkStalled(open: Open, nowMs: number): void {
    const { stallMs } = this.#options.timeouts;
    const unsent = open.exchange?.isOver ? open.exchange.unsentBytes : 0;
    if (unsent === 0 || unsent !== open.unsentBytes) {
      open.unsentBytes = unsent;
      open.unsentSinceMs = nowMs;
    } else if (stallMs > 0 && nowMs - open.unsentSinceMs >= stallMs) open.exchange?.giveUp();
  }

  #countReset(): void {
    if (!this.#resets.take(this.#options.nowMs())) this.#endAbuse("resets");
  }

  #countControl(): void {
    if (!this.#control.take(this.#options.nowMs())) this.#endAbuse("control_frames");
  }

  #endAbuse(how: H2Abuse): void {
    if (this.#isAbused || this.#session.destroyed) return;
    this.#isAbused = true;
    this.#options.abused(how);
    this.#session.destroy(undefined, constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }

  #over(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#upload.release();
    for (const { exchange } of this.#open.values()) exchange?.connectionLost();
    this.#options.closed();
  }
}

/**
 * Has a session end in a turn of its own. Deno 2.9.6 ends it by itself where the client sends GOAWAY, and
 * frees it while nghttp2 is still reading the frame, which then goes on in freed memory and ends the
 * process (denoland/deno#36788).
 */
function deferEnds(session: ServerHttp2Session): void {
  const close = session.close.bind(session);
  const destroy = session.destroy.bind(session);
  session.close = (closed) => void setImmediate(() => close(closed));
  session.destroy = (error, code) => void setImmediate(() => destroy(error, code));
}
