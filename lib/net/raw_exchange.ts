/** An exchange on a connection of our own, which may carry more of them. */
import { concat, freeCallback, noBytes } from "../bytes/bytes.ts";
import { type BodyScanner, encodeChunk, type Framing, lastChunk } from "../http1/body.ts";
import {
  encodeResponseHead,
  type Field,
  field,
  listHas,
  type RequestHead,
  type ResponseHead,
} from "../http1/head.ts";
import { type ByteSocket, whenSent } from "./byte_socket.ts";
import type { Channel } from "./channel.ts";
import type {
  BodyConsumer,
  BodyMode,
  EndDecision,
  Exchange,
  ExchangeEnd,
  Peer,
  Progress,
} from "./exchange.ts";
import { pipe, type PipeProgress } from "./pipe.ts";

/** What an exchange asks of its connection. */
export interface ExchangeHost {
  readonly socket: ByteSocket;
  readonly peer: Peer;
  /** Milliseconds of a clock that never goes back. */
  nowMs(): number;
  /** Reads on, into the request's body. */
  readBody(): void;
  /** The exchange is over; `keepAlive` says whether another may follow. */
  finished(keepAlive: boolean): void;
  /** Lets go of the socket, and returns what was read from it and not used. */
  detach(): Uint8Array;
}

/** Bytes of a body that nobody wants that are read to keep the connection; more, and it closes. */
const maxDiscardBytes = 64 * 1024;

/** A small body joins its head in one write; a large one is not worth copying. */
const joinedWriteBytes = 16 * 1024;

/** Takes a body that nobody wants. */
const discarding: BodyConsumer = { data() {}, end() {} };

/** Is told what nobody wants to know. */
const nobody = (): void => {};

/** A request and its response over a {@link ByteSocket}. */
export class RawExchange implements Exchange {
  readonly head: RequestHead;
  readonly framing: Framing;
  peer: Peer;
  readonly #host: ExchangeHost;
  readonly #scanner: BodyScanner;
  #wantsKeepAlive: boolean;
  #consumer: BodyConsumer | undefined;
  #isBodyPaused = false;
  #mode: BodyMode = "none";
  #status = 0;
  #sentBytes = 0;
  readonly #startMs: number;
  #respondedMs: number | undefined;
  #pipe: PipeProgress | undefined;
  #pendingHead: Uint8Array = noBytes;
  #isClosing = false;
  /** Whether the caller was told to go on with its body (100). */
  #isContinued = false;
  #state: "open" | "responding" | "ending" | "finished" | "aborted" | "detached" = "open";
  answerField: Field | undefined;
  beforeEnd: ((end: ExchangeEnd, settle: (decision: EndDecision) => void) => void) | undefined;
  onAborted: () => void = nobody;
  onDrain: () => void = nobody;
  onEnd: (end: ExchangeEnd) => void = nobody;

  constructor(host: ExchangeHost, head: RequestHead, scanner: BodyScanner, keepAlive: boolean) {
    this.#host = host;
    this.peer = host.peer;
    this.head = head;
    this.framing = scanner.framing;
    this.#scanner = scanner;
    this.#wantsKeepAlive = keepAlive;
    this.#startMs = host.nowMs();
  }

  get isAnswered(): boolean {
    return this.#state !== "open";
  }

  get isBodyDone(): boolean {
    return this.#scanner.isDone;
  }

  get takesChunks(): boolean {
    return this.head.minor === 1;
  }

  get isOver(): boolean {
    return this.#state === "finished" || this.#state === "aborted" || this.#state === "detached";
  }

  /** What has come already is handed over before this returns. */
  readBody(consumer: BodyConsumer): void {
    this.#consumer = consumer;
    if (this.#scanner.isDone) consumer.end();
    else this.#host.readBody();
  }

  pauseBody(): void {
    if (this.#isBodyPaused || this.#scanner.isDone || this.isOver) return;
    this.#isBodyPaused = true;
    this.#host.socket.pause();
  }

  resumeBody(): void {
    if (!this.#isBodyPaused || this.isOver) return;
    this.#isBodyPaused = false;
    this.#host.readBody();
  }

  /** HTTP/1.0 callers don't know interim responses and get none. */
  inform(head: ResponseHead, fields: readonly Field[]): boolean {
    if (this.#state !== "open" || this.head.minor === 0) return true;
    if (head.status === 100) this.#isContinued = true;
    return this.#host.socket.write(encodeResponseHead(head.status, head.reason, fields));
  }

  respond(status: number, reason: string, fields: Field[], mode: BodyMode): void {
    if (this.#state !== "open") return;
    this.#state = "responding";
    this.#responded(status);
    this.#mode = this.head.method === "HEAD" && mode === "content" ? "none" : mode;
    this.#isClosing = !this.#wantsKeepAlive || !this.#canSkipBody();
    if (this.#mode === "content") {
      if (this.head.minor === 0) this.#isClosing = true;
      else fields.push(field("Transfer-Encoding", "chunked"));
    }
    if (this.#isClosing) fields.push(field("Connection", "close"));
    if (this.answerField) fields.push(this.answerField);
    this.#pendingHead = encodeResponseHead(status, reason, fields);
    // A body that follows in this turn leaves together with the head; else the head leaves alone.
    queueMicrotask(() => this.#flushHead());
  }

  write(bytes: Uint8Array, free?: () => void): boolean {
    if (this.#state !== "responding" || bytes.length === 0) return true;
    const isChunk = this.#mode === "content" && this.head.minor === 1;
    return isChunk ? this.#send(encodeChunk(bytes)) : this.#send(bytes, free);
  }

  finish(last: Uint8Array = noBytes): void {
    if (this.#state !== "responding") return;
    if (this.beforeEnd) this.#endWhenSettled(this.beforeEnd, last);
    else this.#finish(last);
  }

  #endWhenSettled(beforeEnd: NonNullable<Exchange["beforeEnd"]>, last: Uint8Array): void {
    this.#state = "ending";
    this.#discardBody();
    const tail = this.#mode === "content" && this.head.minor === 1 ? lastChunk.length : 0;
    beforeEnd(this.#endOf(true, last.length + tail), (decision) => {
      if (this.#state !== "ending") return; // The caller has gone.
      if (decision === "send") {
        this.#state = "responding";
        this.#finish(last);
      } else if (decision === "replace" && this.#pendingHead.length > 0) {
        this.#pendingHead = noBytes;
        this.#state = "open";
      } else this.abort();
    });
  }

  #finish(last: Uint8Array): void {
    this.write(last);
    if (this.#mode === "content" && this.head.minor === 1) this.#send(lastChunk);
    this.#flushHead();
    this.#state = "finished";
    this.#ended(true);
    this.#discardBody();
    this.#host.finished(!this.#isClosing);
  }

  answer(status: number, reason: string, fields: Field[], body: Uint8Array): void {
    const all = [...fields, field("Content-Length", String(body.length))];
    this.respond(status, reason, all, "framed");
    this.finish(this.head.method === "HEAD" ? noBytes : body);
  }

  abort(): void {
    // What joined the two sides is told by the socket.
    if (this.#state === "detached") this.#host.socket.resetAndDestroy();
    if (this.isOver) return;
    this.#pendingHead = noBytes;
    this.#state = "aborted";
    this.#host.socket.resetAndDestroy();
    this.#ended(false);
  }

  switchProtocols(
    { status, reason }: ResponseHead,
    fields: readonly Field[],
    channel: Channel,
    rest: Uint8Array,
  ): undefined {
    const { socket, head } = this.detach(status);
    const all = this.answerField ? [...fields, this.answerField] : fields;
    socket.write(encodeResponseHead(status, reason, all));
    this.#pipe = pipe(socket, channel, {
      head,
      streamHead: rest,
      closed: (bytes, bytesIn) => this.detachedEnd(bytes, bytesIn),
    });
  }

  progress(): Progress {
    return this.#pipe
      ? { bytes: this.#pipe.toSocket, bytesIn: this.#pipe.fromSocket }
      : { bytes: this.#sentBytes, bytesIn: this.#scanner.contentBytes };
  }

  /** Hands the connection over, with what was read from it. Nothing else may be called then. */
  detach(status: number): { socket: ByteSocket; head: Uint8Array } {
    this.#flushHead();
    this.#state = "detached";
    this.#responded(status);
    const head = this.#host.detach();
    return { socket: this.#host.socket, head };
  }

  /** Reports the end of a connection that {@link detach} has handed over. */
  detachedEnd(bytes: number, bytesIn: number): void {
    this.#sentBytes = bytes;
    this.#ended(true, bytesIn);
  }

  // What follows is between an exchange and its connection.

  /** Whether the next bytes of the connection may be scanned as this request's body. */
  get takesBody(): boolean {
    return this.#consumer !== undefined && !this.#isBodyPaused && !this.#scanner.isDone;
  }

  /** Scans bytes of the connection; returns the offset behind those that belong to the body. */
  receive(bytes: Uint8Array, start: number): number {
    const end = this.#scanner.scan(
      bytes,
      start,
      (from, to) => {
        const piece = bytes.subarray(from, to);
        this.#consumer?.data(piece, freeCallback(piece));
      },
    );
    if (this.#scanner.isDone) this.#consumer?.end();
    return end;
  }

  /** The connection closes after this exchange; the answer says so unless its head has left. */
  makeLast(): void {
    this.#wantsKeepAlive = false;
  }

  drained(): void {
    if (!this.isOver) this.onDrain();
  }

  /** The connection is gone, or the request on it broke. */
  connectionLost(): void {
    if (this.isOver) return;
    this.#state = "aborted";
    this.onAborted();
    this.#ended(false);
  }

  #send(bytes: Uint8Array, free?: () => void): boolean {
    this.#sentBytes += bytes.length;
    if (this.#pendingHead.length > 0 && bytes.length <= joinedWriteBytes) {
      const joined = concat(this.#pendingHead, bytes);
      this.#pendingHead = noBytes;
      return this.#host.socket.write(joined);
    }
    this.#flushHead();
    return this.#host.socket.write(bytes, free && whenSent(free));
  }

  #flushHead(): void {
    if (this.#pendingHead.length === 0 || this.#state === "ending") return;
    const head = this.#pendingHead;
    this.#pendingHead = noBytes;
    if (!this.#host.socket.destroyed) this.#host.socket.write(head);
  }

  /** Whether what may be left of the request's body is small enough to be read and dropped. */
  #canSkipBody(): boolean {
    if (this.#scanner.isDone) return true;
    // A caller that waits for 100 may now send its body or do without: nobody could tell which.
    if (!this.#isContinued && listHas(this.head.fields, "expect", "100-continue")) return false;
    const { framing } = this.#scanner;
    return framing.kind === "length" &&
      framing.bytes - this.#scanner.contentBytes <= maxDiscardBytes;
  }

  #discardBody(): void {
    this.#consumer = discarding;
    this.#isBodyPaused = false;
  }

  #responded(status: number): void {
    this.#status = status;
    this.#respondedMs = this.#host.nowMs();
  }

  #ended(isComplete: boolean, bytesIn?: number): void {
    const onEnd = this.onEnd;
    this.onEnd = nobody;
    onEnd(this.#endOf(isComplete, 0, bytesIn));
  }

  /** @param moreBytes Bytes of the response's body that are still to be sent. */
  #endOf(
    isComplete: boolean,
    moreBytes: number,
    bytesIn = this.#scanner.contentBytes,
  ): ExchangeEnd {
    return {
      status: this.#status,
      bytes: this.#sentBytes + moreBytes,
      bytesIn,
      ms: this.#host.nowMs() - this.#startMs,
      firstByteMs: this.#respondedMs === undefined ? undefined : this.#respondedMs - this.#startMs,
      isComplete,
    };
  }
}
