/** One request of a caller and the answer to it, on a connection that may carry more of them. */
import { concat, noBytes } from "../bytes/bytes.ts";
import { type BodyScanner, encodeChunk, type Framing, lastChunk } from "../http1/body.ts";
import {
  encodeResponseHead,
  type Field,
  field,
  listHas,
  type RequestHead,
  type ResponseHead,
} from "../http1/head.ts";
import type { ByteSocket } from "./byte_socket.ts";

/** Who is at the other end of a connection. */
export interface Peer {
  /** The address, without its port. */
  readonly address: string;
  /** Whether the connection came in over TLS. */
  readonly isTls: boolean;
  /** The client certificate that the TLS handshake verified; there is none without mutual TLS. */
  readonly certificate?: PeerCertificate | undefined;
}

/** Whom a verified certificate names. */
export interface PeerCertificate {
  /** Common names of the subject, then DNS names and URIs; no other kinds. */
  readonly names: readonly string[];
}

/** Takes a request's body as it comes. */
export interface BodyConsumer {
  /** Content, without its chunks. */
  data(bytes: Uint8Array): void;
  /** The whole body has come. */
  end(): void;
}

/** How a response's body is handed over. */
export type BodyMode =
  /** There is none. */
  | "none"
  /** The bytes are framed already, and the head says how. */
  | "framed"
  /** Bare content of unknown length: it is chunked, or for HTTP/1.0 ends with the connection. */
  | "content";

/** What an exchange asks of its connection. */
export interface ExchangeHost {
  readonly socket: ByteSocket;
  readonly peer: Peer;
  /** Reads on, into the request's body. */
  readBody(): void;
  /** The exchange is over; `keepAlive` says whether another may follow. */
  finished(keepAlive: boolean): void;
  /** Lets go of the socket, and returns what was read from it and not used. */
  detach(): Uint8Array;
}

/** How an exchange ended, for logs and metrics. */
export interface ExchangeEnd {
  /** The status that was sent; 0 when there was none. */
  status: number;
  /** Bytes of the response's body on the wire. */
  bytes: number;
  /** Whether the whole response was handed to the socket. */
  isComplete: boolean;
}

/** Bytes of a body that nobody wants that are read to keep the connection; more, and it closes. */
const maxDiscardBytes = 64 * 1024;

/** A small body joins its head in one write; a large one is not worth copying. */
const joinedWriteBytes = 16 * 1024;

/** A request and its response. All methods may be called after the caller has gone; they do nothing then. */
export class Exchange {
  readonly head: RequestHead;
  readonly framing: Framing;
  readonly #host: ExchangeHost;
  readonly #scanner: BodyScanner;
  readonly #wantsKeepAlive: boolean;
  #consumer: BodyConsumer | undefined;
  #isBodyPaused = false;
  #mode: BodyMode = "none";
  #status = 0;
  #sentBytes = 0;
  #pendingHead: Uint8Array = noBytes;
  #isClosing = false;
  /** Whether the caller was told to go on with its body (100). */
  #isContinued = false;
  #state: "open" | "responding" | "finished" | "aborted" | "detached" = "open";
  /** The caller went away before its answer was complete. */
  onAborted: () => void = () => {};
  /** After `write` has returned false: there is room again. */
  onDrain: () => void = () => {};
  /** The exchange is over, in whatever way; called once. */
  onEnd: (end: ExchangeEnd) => void = () => {};

  constructor(host: ExchangeHost, head: RequestHead, scanner: BodyScanner, keepAlive: boolean) {
    this.#host = host;
    this.head = head;
    this.framing = scanner.framing;
    this.#scanner = scanner;
    this.#wantsKeepAlive = keepAlive;
  }

  /** Who asks. */
  get peer(): Peer {
    return this.#host.peer;
  }

  /** Whether an answer has been begun, or can't be given any more. */
  get isAnswered(): boolean {
    return this.#state !== "open";
  }

  /** Whether the exchange is over. */
  get isOver(): boolean {
    return this.#state === "finished" || this.#state === "aborted" || this.#state === "detached";
  }

  /** Says who takes the body; what has come already is handed over before this returns. */
  readBody(consumer: BodyConsumer): void {
    this.#consumer = consumer;
    if (this.#scanner.isDone) consumer.end();
    else this.#host.readBody();
  }

  /** Stops the body, and with it, in time, the caller. */
  pauseBody(): void {
    if (this.#isBodyPaused || this.#scanner.isDone || this.isOver) return;
    this.#isBodyPaused = true;
    this.#host.socket.pause();
  }

  /** Lets the body come again. */
  resumeBody(): void {
    if (!this.#isBodyPaused || this.isOver) return;
    this.#isBodyPaused = false;
    this.#host.readBody();
  }

  /**
   * Sends an interim response (1xx); HTTP/1.0 callers don't know them and get none.
   *
   * @returns false: wait for `onDrain`.
   */
  inform(head: ResponseHead, fields: readonly Field[]): boolean {
    if (this.#state !== "open" || this.head.minor === 0) return true;
    if (head.status === 100) this.#isContinued = true;
    return this.#host.socket.write(encodeResponseHead(head.status, head.reason, fields));
  }

  /** Sends the final response's head. `fields` hold no hop-by-hop field; framing is added. */
  respond(status: number, reason: string, fields: Field[], mode: BodyMode): void {
    if (this.#state !== "open") return;
    this.#state = "responding";
    this.#status = status;
    this.#mode = this.head.method === "HEAD" && mode === "content" ? "none" : mode;
    this.#isClosing = !this.#wantsKeepAlive || !this.#canSkipBody();
    if (this.#mode === "content") {
      if (this.head.minor === 0) this.#isClosing = true;
      else fields.push(field("Transfer-Encoding", "chunked"));
    }
    if (this.#isClosing) fields.push(field("Connection", "close"));
    this.#pendingHead = encodeResponseHead(status, reason, fields);
    // A body that follows in this turn leaves together with the head; else the head leaves alone.
    queueMicrotask(() => this.#flushHead());
  }

  /** Sends a part of the body, as `mode` says. @returns false: wait for `onDrain`. */
  write(bytes: Uint8Array): boolean {
    if (this.#state !== "responding" || bytes.length === 0) return true;
    const isChunk = this.#mode === "content" && this.head.minor === 1;
    return this.#send(isChunk ? encodeChunk(bytes) : bytes);
  }

  /** The response is complete. */
  finish(): void {
    if (this.#state !== "responding") return;
    if (this.#mode === "content" && this.head.minor === 1) this.#send(lastChunk);
    this.#flushHead();
    this.#state = "finished";
    this.#ended(true);
    this.#discardBody();
    this.#host.finished(!this.#isClosing);
  }

  /** Answers at once with a whole body. */
  answer(status: number, reason: string, fields: Field[], body: Uint8Array): void {
    const all = [...fields, field("Content-Length", String(body.length))];
    this.respond(status, reason, all, "framed");
    if (this.head.method !== "HEAD") this.write(body);
    this.finish();
  }

  /** Breaks the connection, so that the caller can't take what it has for the whole. */
  abort(): void {
    if (this.isOver) return;
    this.#pendingHead = noBytes;
    this.#state = "aborted";
    this.#host.socket.resetAndDestroy();
    this.#ended(false);
  }

  /** Hands the connection over after the head of a 101 was sent. Nothing else may be called then. */
  detach(status: number): { socket: ByteSocket; head: Uint8Array } {
    this.#flushHead();
    this.#state = "detached";
    this.#status = status;
    const head = this.#host.detach();
    return { socket: this.#host.socket, head };
  }

  /** For {@link detach}: the connection that was handed over is over. */
  detachedEnd(bytes: number): void {
    this.#sentBytes = bytes;
    this.#ended(true);
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
      (from, to) => this.#consumer?.data(bytes.subarray(from, to)),
    );
    if (this.#scanner.isDone) this.#consumer?.end();
    return end;
  }

  /** Whether the whole request has been read. */
  get isBodyDone(): boolean {
    return this.#scanner.isDone;
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

  #send(bytes: Uint8Array): boolean {
    this.#sentBytes += bytes.length;
    if (this.#pendingHead.length > 0 && bytes.length <= joinedWriteBytes) {
      const joined = concat(this.#pendingHead, bytes);
      this.#pendingHead = noBytes;
      return this.#host.socket.write(joined);
    }
    this.#flushHead();
    return this.#host.socket.write(bytes);
  }

  #flushHead(): void {
    if (this.#pendingHead.length === 0) return;
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
    this.#consumer = { data() {}, end() {} };
    this.#isBodyPaused = false;
  }

  #ended(isComplete: boolean): void {
    const onEnd = this.onEnd;
    this.onEnd = () => {};
    onEnd({ status: this.#status, bytes: this.#sentBytes, isComplete });
  }
}
