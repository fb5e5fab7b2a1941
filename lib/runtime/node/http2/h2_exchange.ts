/** An exchange on a stream of an HTTP/2 connection. */
import { constants, type ServerHttp2Stream } from "node:http2";
import { noBytes } from "../../../bytes/bytes.ts";
import type { Framing } from "../../../http1/body.ts";
import { type Field, field, type RequestHead, type ResponseHead } from "../../../http1/head.ts";
import { whenSent } from "../../../net/byte_socket.ts";
import { errorBody } from "../../../net/error_body.ts";
import type {
  BodyConsumer,
  BodyMode,
  EndDecision,
  Exchange,
  ExchangeEnd,
  Peer,
  Progress,
} from "../../../net/exchange.ts";
import { connectionFields, type H2Request } from "./request_head.ts";

/** Takes a body that nobody wants. */
const discarding: BodyConsumer = { data() {}, end() {} };

const nobody = (): void => {};

/** Fields as Node's newer form has them, which keeps their order and repeats. */
type Raw = string[];

/** A request and its response over HTTP/2. */
export class H2Exchange implements Exchange {
  readonly head: RequestHead;
  readonly framing: Framing;
  peer: Peer;
  /** HTTP/2 frames bodies itself. */
  readonly takesChunks = false;
  readonly #stream: ServerHttp2Stream;
  readonly #received: (bytes: number) => void;
  #consumer: BodyConsumer | undefined;
  #isBodyDone: boolean;
  #bodyBytes = 0;
  #hasBody = false;
  #isWithdrawn = false;
  #status = 0;
  #sentBytes = 0;
  readonly #startMs = performance.now();
  #respondedMs: number | undefined;
  /** What is to be sent as soon as it is known whether a body follows. */
  #pendingHead: Raw | undefined;
  #state: "open" | "responding" | "ending" | "finished" | "aborted" = "open";
  answerField: Field | undefined;
  beforeEnd: ((end: ExchangeEnd, settle: (decision: EndDecision) => void) => void) | undefined;
  onAborted: () => void = nobody;
  onDrain: () => void = nobody;
  onEnd: (end: ExchangeEnd) => void = nobody;

  /** @param received The app has got bytes of the body. */
  constructor(
    stream: ServerHttp2Stream,
    { head, framing }: H2Request,
    peer: Peer,
    received: (bytes: number) => void = nobody,
  ) {
    this.#stream = stream;
    this.#received = received;
    this.head = head;
    this.framing = framing;
    this.peer = peer;
    this.#isBodyDone = framing.kind === "none";
    stream.on("aborted", () => this.connectionLost());
    stream.on("close", () => this.connectionLost());
    stream.on("drain", () => {
      if (!this.isOver) this.onDrain();
    });
    stream.on("finish", () => this.#sent());
    if (this.#isBodyDone) stream.resume();
  }

  get isAnswered(): boolean {
    return this.#state !== "open";
  }

  get isOver(): boolean {
    return this.#state === "finished" || this.#state === "aborted";
  }

  get isBodyDone(): boolean {
    return this.#isBodyDone;
  }

  readBody(consumer: BodyConsumer): void {
    const isFirst = this.#consumer === undefined;
    this.#consumer = consumer;
    if (this.#isBodyDone) return consumer.end();
    if (this.isOver) return;
    if (!isFirst) return void this.#stream.resume();
    this.#stream.on("data", (bytes: Uint8Array) => this.#receive(bytes));
    this.#stream.on("end", () => this.#bodyEnded());
  }

  pauseBody(): void {
    if (!this.#isBodyDone && !this.isOver) this.#stream.pause();
  }

  resumeBody(): void {
    if (!this.#isBodyDone && !this.isOver) this.#stream.resume();
  }

  inform({ status }: ResponseHead, fields: readonly Field[]): boolean {
    // RFC 9113 section 8.6: there is no 101.
    if (this.#state !== "open" || status === 101 || this.#stream.destroyed) return true;
    const headers: Record<string, string | string[]> = { ":status": String(status) };
    for (const { key, value } of fields) {
      if (connectionFields.has(key)) continue;
      const before = headers[key];
      headers[key] = before === undefined ? value : [before, value].flat();
    }
    try {
      this.#stream.additionalHeaders(headers as never);
    } catch {
      // One that HTTP/2 has no way to send is one that a caller may do without.
    }
    return true;
  }

  respond(status: number, _reason: string, fields: Field[], mode: BodyMode): void {
    if (this.#state !== "open") return;
    this.#state = "responding";
    this.#responded(status);
    this.#hasBody = mode !== "none" && this.head.method !== "HEAD";
    const all = this.answerField ? [...fields, this.answerField] : fields;
    this.#pendingHead = rawHead(status, all);
    // With an answer that ends in this turn, the head says that it is all.
    queueMicrotask(() => this.#flushHead(false));
  }

  write(bytes: Uint8Array, free?: () => void): boolean {
    if (this.#state !== "responding" || !this.#hasBody || bytes.length === 0) return true;
    this.#flushHead(false);
    if (this.isOver) return true;
    this.#sentBytes += bytes.length;
    return this.#stream.write(bytes, free && whenSent(free));
  }

  finish(last: Uint8Array = noBytes): void {
    if (this.#state !== "responding") return;
    if (this.beforeEnd) this.#endWhenSettled(this.beforeEnd, last);
    else this.#finish(last);
  }

  #endWhenSettled(beforeEnd: NonNullable<Exchange["beforeEnd"]>, last: Uint8Array): void {
    this.#state = "ending";
    this.#discardBody();
    beforeEnd(this.#endOf(true, this.#hasBody ? last.length : 0), (decision) => {
      if (this.#state !== "ending") return; // The caller has gone.
      if (decision === "send") {
        this.#state = "responding";
        this.#finish(last);
      } else if (decision === "replace" && this.#pendingHead) {
        this.#pendingHead = undefined;
        this.#state = "open";
      } else this.abort();
    });
  }

  #finish(last: Uint8Array): void {
    if (this.#hasBody && last.length > 0) this.write(last);
    this.#flushHead(true);
    if (this.isOver) return;
    this.#state = "finished";
    this.#ended(true);
    if (!this.#stream.writableEnded) this.#stream.end();
    this.#discardBody();
  }

  answer(status: number, reason: string, fields: Field[], body: Uint8Array): void {
    const all = [...fields, field("Content-Length", String(body.length))];
    this.respond(status, reason, all, "framed");
    this.finish(body);
  }

  abort(): void {
    if (this.isOver) return;
    this.#state = "aborted";
    this.#reset();
    this.#ended(false);
  }

  /** HTTP/2 has no change of protocols (RFC 9113 section 8.6). */
  switchProtocols(): string {
    return "The request came over HTTP/2, which has no change of protocols";
  }

  progress(): Progress {
    return { bytes: this.#sentBytes, bytesIn: this.#bodyBytes };
  }

  /** Whether the relay has broken the answer off, and not the caller. */
  get isWithdrawn(): boolean {
    return this.#isWithdrawn;
  }

  /** Bytes of the answer that wait for the caller's window or for its connection. */
  get unsentBytes(): number {
    return this.#stream.destroyed ? 0 : this.#stream.writableLength;
  }

  /** The caller takes nothing of what is left of its answer: the rest is withdrawn. */
  giveUp(): void {
    this.#reset();
  }

  /** The caller has reset the stream, or its connection is gone. */
  connectionLost(): void {
    if (this.isOver) return;
    this.#state = "aborted";
    this.#pendingHead = undefined;
    this.#discardBody();
    this.onAborted();
    this.#ended(false);
  }

  #receive(bytes: Uint8Array): void {
    this.#bodyBytes += bytes.length;
    this.#received(bytes.length);
    this.#consumer?.data(bytes);
  }

  /** Node ends a body that was broken off like one that is whole, and says `aborted` before. */
  #bodyEnded(): void {
    if (this.#isBodyDone) return;
    const { aborted, rstCode } = this.#stream;
    const isShort = this.framing.kind === "length" && this.#bodyBytes !== this.framing.bytes;
    if (aborted || rstCode || isShort) return this.connectionLost();
    this.#isBodyDone = true;
    this.#consumer?.end();
  }

  #flushHead(isAll: boolean): void {
    const head = this.#pendingHead;
    if (!head || this.#state === "ending") return;
    this.#pendingHead = undefined;
    if (this.#stream.destroyed || this.#stream.closed) return;
    try {
      sendHead(this.#stream, head, isAll);
    } catch {
      this.#cannotAnswer();
    }
  }

  /** The target's answer is none that HTTP/2 can carry, such as one with status 600. */
  #cannotAnswer(): void {
    this.#state = "aborted";
    this.#status = 502;
    const message = "the target's answer can't be sent over HTTP/2";
    const fields = [field("Content-Type", "application/json"), field("Cache-Control", "no-store")];
    if (this.answerField) fields.push(this.answerField);
    sendHead(this.#stream, rawHead(502, fields), false);
    this.#stream.end(errorBody(502, "protocol", message));
    this.#discardBody();
    // Whoever responds just now is not to be called back in the middle of it.
    queueMicrotask(() => {
      this.onAborted();
      this.#ended(false);
    });
  }

  /** What is left of the request's body is nobody's. */
  #discardBody(): void {
    this.#consumer = discarding;
    if (!this.#stream.destroyed) this.#stream.resume();
  }

  /** The answer has gone: the caller need not send the rest of its body (RFC 9113 section 8.1). */
  #sent(): void {
    if (this.#isBodyDone) return;
    setImmediate(() => {
      if (!this.#stream.destroyed) this.#stream.close(constants.NGHTTP2_NO_ERROR);
    });
  }

  /**
   * Not with `close(code)`: Deno 2.9.6 then sends END_STREAM in front of RST_STREAM, or in place of it,
   * and what there is of the answer looks whole.
   */
  #reset(): void {
    this.#pendingHead = undefined;
    this.#isWithdrawn = true;
    if (!this.#stream.destroyed) this.#stream.destroy(new Error("The answer was broken off"));
  }

  #responded(status: number): void {
    this.#status = status;
    this.#respondedMs = performance.now();
  }

  #ended(isComplete: boolean): void {
    const onEnd = this.onEnd;
    this.onEnd = nobody;
    onEnd(this.#endOf(isComplete, 0));
  }

  /** @param moreBytes Bytes of the response's body that are still to be sent. */
  #endOf(isComplete: boolean, moreBytes: number): ExchangeEnd {
    const nowMs = performance.now();
    return {
      status: this.#status,
      bytes: this.#sentBytes + moreBytes,
      bytesIn: this.#bodyBytes,
      ms: nowMs - this.#startMs,
      firstByteMs: this.#respondedMs === undefined ? undefined : this.#respondedMs - this.#startMs,
      isComplete,
    };
  }
}

/** Sends a head. Its types know neither the form that keeps order and repeats, nor `sendDate`. */
export function sendHead(stream: ServerHttp2Stream, head: readonly string[], isAll: boolean): void {
  const options = { endStream: isAll, sendDate: false };
  stream.respond(head as never, options);
}

/** A response's head in names and values, without what HTTP/2 forbids. */
export function rawHead(status: number, fields: readonly Field[]): Raw {
  const raw = [":status", String(status)];
  for (const { key, value } of fields) if (!connectionFields.has(key)) raw.push(key, value);
  return raw;
}
