/** One stream of the tunnel: a request from the relay, the target's answer back. */
import { ByteBuffer } from "../bytes/byte_buffer.ts";
import { concat, freeCallback, noBytes } from "../bytes/bytes.ts";
import {
  BodyError,
  BodyScanner,
  repeatsLength,
  requestFraming,
  responseFraming,
  withLengthOnce,
} from "../http1/body.ts";
import { dateField } from "../http1/date.ts";
import { endToEnd, keepsAlive, requestedUpgrade } from "../http1/fields.ts";
import {
  encodeRequestHead,
  encodeResponseHead,
  type Field,
  field,
  HeadError,
  type HeadLimits,
  type RequestHead,
  type ResponseHead,
} from "../http1/head.ts";
import { headFaults } from "../http1/faults.ts";
import { HeadReader, parseResponseHead } from "../http1/head_reader.ts";
import { allowedMethods, mayEcho } from "../http1/methods.ts";
import { foldedName } from "../http1/folded_name.ts";
import { isRepeatable } from "../http1/repeatable.ts";
import { checkRequest } from "../http1/request_target.ts";
import { whenSent } from "../net/byte_socket.ts";
import { pipe } from "../net/pipe.ts";
import { StreamError } from "../protocol/errors.ts";
import type { Stream } from "../protocol/stream.ts";
import type { StreamEvents } from "../protocol/stream_events.ts";
import { type Span, withTrace } from "../trace.ts";
import type { Credentials } from "./credentials.ts";
import { type Impersonator, ProofError } from "./impersonator.ts";
import type { UpstreamConnection, UpstreamEvents, UpstreamPool } from "../net/upstream_pool.ts";

/** What serving a stream needs. */
export interface ServeContext {
  pool: UpstreamPool;
  /** What each request gets; nothing for a target that needs no credential. */
  credentials?: Credentials | undefined;
  /** What stands in `Host` in place of the target's name, where that is not its address. */
  hosts?: { readonly name: string; readonly address: string } | undefined;
  /** Verifies whom each request is from, and has the target act for them. */
  impersonator?: Impersonator | undefined;
  limits: HeadLimits;
  /** A request has reached the target's connection. */
  forwarded: () => void;
  /** The target answered 401 to a request that carried the agent's own credential. */
  credentialRefused?: (() => void) | undefined;
  /** A request failed; the error's text is for the log, the relay gets its code and text too. */
  failed: (error: StreamError, request: RequestHead | undefined) => void;
  /** Begins a request's span, where spans are wanted. */
  trace?: ((request: RequestHead) => Span) | undefined;
}

const uncertainEnd =
  "The answer has no length, and over TLS without verification, or with a client certificate for " +
  "another name, a cut connection looks closed: verify the target, by its CA (--ca-cert, or tls.ca in the targets file)";

/** What a request is served with whose target only its head tells. */
export interface ChoosingContext extends Pick<ServeContext, "limits" | "failed"> {
  /** @throws {StreamError} where the request has no target. */
  choose: (request: RequestHead) => ServeContext;
}

/** Serves the request that comes on a stream. */
export function serve(stream: Stream, context: ServeContext | ChoosingContext): void {
  new Serving(stream, context);
}

/**
 * `head`: the request's head is still coming. `proving`: whom it is from is being verified.
 * `dialling`: its connection is still coming. `sending`: both
 * directions run. `over`: answered, failed, given up or handed to a pipe.
 *
 * It hears its stream's events itself, for the reason that `ExchangeForwarder` on the relay does, and those of
 * its connection through a {@link Answering}.
 */
class Serving implements StreamEvents {
  readonly #stream: Stream;
  readonly #given: ServeContext | ChoosingContext;
  /** There once the request's head has been read, which may be needed to choose it. */
  #context!: ServeContext;
  #state: "head" | "proving" | "dialling" | "sending" | "over" = "head";
  readonly #requestHeads: HeadReader<RequestHead>;
  /** Bytes behind the request's head that can't be passed on yet. */
  readonly #pending = new ByteBuffer();
  #request: RequestHead | undefined;
  #requestBytes: Uint8Array = noBytes;
  /** Whether the request carries the agent's credential. */
  #isAuthorized = false;
  #requestBody: BodyScanner | undefined;
  #connection: UpstreamConnection | undefined;
  #dialling: AbortController | undefined;
  #hasRetried = false;
  #unconsumed = 0;
  #responseHeads: HeadReader<ResponseHead> | undefined;
  #responseBody: BodyScanner | undefined;
  #isAnswerBegun = false;
  #keepsAlive = false;
  #span: Span | undefined;
  #status: number | undefined;

  constructor(stream: Stream, context: ServeContext | ChoosingContext) {
    this.#stream = stream;
    this.#given = context;
    this.#requestHeads = HeadReader.forRequests(context.limits);
    stream.listen(this);
  }

  /** Bytes of the request. */
  data(bytes: Uint8Array, free?: () => void): void {
    if (this.#state === "over") return this.#stream.consumed(bytes.length);
    if (this.#state === "sending") return this.#sendBody(bytes, noBytes, free);
    if (this.#state === "head") this.#readHead(bytes);
    else this.#pending.append(bytes);
  }

  #readHead(bytes: Uint8Array): void {
    try {
      const head = this.#requestHeads.read(bytes);
      // A head may be longer than the stream's window: what follows must be let in.
      if (!head) return this.#stream.consumed(bytes.length);
      this.#request = checkRequest(head);
      this.#context = "choose" in this.#given ? this.#given.choose(this.#request) : this.#given;
      this.#span = this.#context.trace?.(this.#request);
      this.#requestBody = new BodyScanner(requestFraming(this.#request));
      if (!this.#context.impersonator) this.#requestBytes = this.#encodeRequest(this.#request);
    } catch (error) {
      if (error instanceof StreamError) return this.#fail(error);
      if (!(error instanceof HeadError)) throw error;
      return this.#fail(new StreamError("protocol", error.message));
    }
    const rest = this.#requestHeads.takeRest();
    this.#pending.append(rest);
    this.#stream.consumed(bytes.length - rest.length);
    if (mayEcho(this.#request.method)) this.#refuseMethod();
    else if (this.#context.impersonator) this.#prove(this.#context.impersonator, this.#request);
    else this.#connect();
  }

  /** Nothing is dialled before it is known whom the request is from. */
  #prove(impersonator: Impersonator, head: RequestHead): void {
    this.#state = "proving";
    impersonator.fieldsFor(head).then((fields) => {
      if (this.#state === "over") return;
      this.#requestBytes = this.#encodeRequest({ ...head, fields });
      this.#connect();
    }).catch((error: unknown) =>
      this.#fail(
        error instanceof ProofError
          ? new StreamError("credentials", error.message)
          : asStreamError(error),
      )
    );
  }

  /**
   * The target's answer would hold our credential. A relay of ours sends no such request, but the
   * credential must not depend on a relay.
   */
  #refuseMethod(): void {
    this.#state = "over";
    const { method } = this.#request!;
    const fault = new StreamError("forbidden", `${method} would return the target's credential`);
    this.#context.failed(fault, this.#request);
    this.#endSpan(fault.code);
    const fields = [field("Allow", allowedMethods), field("Content-Length", "0"), dateField()];
    this.#stream.write(encodeResponseHead(405, "Method Not Allowed", fields));
    this.#stream.finish();
  }

  /** The head for the target: the relay's, with our credential and our own connection options. */
  #encodeRequest(head: RequestHead): Uint8Array {
    const { credentials } = this.#context;
    const credential = credentials?.value();
    const fields: Field[] = withTrace(this.#passedFields(head), this.#span);
    if (this.#requestBody!.framing.kind === "chunked") {
      fields.push(field("Transfer-Encoding", "chunked"));
    }
    const upgrade = requestedUpgrade(head);
    if (upgrade !== undefined) {
      fields.push(field("Connection", "Upgrade"), field("Upgrade", upgrade));
    }
    this.#isAuthorized = credential !== undefined;
    if (credential !== undefined) fields.push(field(credentials!.header, credential));
    return encodeRequestHead(head.method, head.target, fields);
  }

  /** The relay's fields but those in whose place the agent has its own. */
  #passedFields({ fields }: RequestHead): Field[] {
    const { credentials, hosts } = this.#context;
    const own = credentials?.foldedKey;
    const all = endToEnd(fields);
    // A target that reads `X_Api_Key` as `X-Api-Key` would take the caller's for the agent's.
    const passed = own === undefined
      ? all
      : all.filter(({ key }) => key.length !== own.length || foldedName(key) !== own);
    if (!hosts || hosts.name === hosts.address) return passed;
    return passed.map((one) =>
      one.key === "host" && one.value === hosts.name ? field(one.name, hosts.address) : one
    );
  }

  #connect(): void {
    const pooled = this.#context.pool.take();
    if (pooled) return this.#begin(pooled);
    this.#dial();
  }

  #dial(): void {
    this.#state = "dialling";
    this.#dialling = new AbortController();
    this.#context.pool.dial(this.#dialling.signal).then(
      (connection) => {
        // The caller may have gone just now; the connection serves the next one.
        if (this.#state === "over") this.#context.pool.putBack(connection);
        else this.#begin(connection);
      },
      (error) => this.#fail(asStreamError(error)),
    );
  }

  #begin(connection: UpstreamConnection): void {
    this.#state = "sending";
    this.#connection = connection;
    connection.use(new Answering(this));
    if (!this.#hasRetried) this.#context.forwarded();
    const body = this.#pending.take();
    if (body.length > 0 && !this.#requestBody!.isDone) this.#sendBody(body, this.#requestBytes);
    else {
      connection.socket.write(this.#requestBytes);
      // An upgrade's first bytes may come before its answer; they wait for it.
      this.#pending.append(body);
    }
  }

  /** Passes on a piece of the body, which is scanned for its end, together with the head if given. */
  #sendBody(bytes: Uint8Array, head: Uint8Array = noBytes, free?: () => void): void {
    const body = this.#requestBody!;
    if (body.isDone) {
      this.#pending.append(bytes);
      return;
    }
    let end: number;
    try {
      end = body.scan(bytes, 0);
    } catch (error) {
      if (!(error instanceof BodyError)) throw error;
      return this.#fail(new StreamError("protocol", error.message));
    }
    const piece = concat(head, bytes.subarray(0, end));
    // What waits behind this request has its bytes in the same memory.
    const sent = free && end === bytes.length ? whenSent(free) : undefined;
    if (this.#connection!.socket.write(piece, sent)) this.#stream.consumed(end);
    else this.#unconsumed += end;
    if (end < bytes.length) this.#pending.append(bytes.subarray(end));
  }

  /** The target takes bytes again. */
  targetDrained(): void {
    const bytes = this.#unconsumed;
    this.#unconsumed = 0;
    this.#stream.consumed(bytes);
  }

  /** The relay sends no more: fine after a whole request, else there will never be one. */
  end(): void {
    if (this.#state === "over") return;
    const isWhole = this.#requestBody?.isDone ||
      ((this.#state === "dialling" || this.#state === "proving") && this.#pendingHoldsRest());
    if (!isWhole) this.#fail(new StreamError("protocol", "The request ended too soon"));
  }

  /** Whether the bytes that wait for a connection complete the request. */
  #pendingHoldsRest(): boolean {
    const probe = new BodyScanner(this.#requestBody!.framing);
    try {
      probe.scan(this.#pending.bytes, 0);
    } catch {
      return false; // It is refused when it is sent.
    }
    return probe.isDone;
  }

  /** Bytes of the target's answer. */
  answer(bytes: Uint8Array): void {
    this.#isAnswerBegun = true;
    try {
      if (this.#responseBody) this.#passAnswer(bytes, 0);
      else this.#receiveAnswerHead(bytes);
    } catch (error) {
      if (!(error instanceof HeadError || error instanceof BodyError)) throw error;
      this.#fail(new StreamError("protocol", `The target's answer: ${error.message}`));
    }
  }

  #receiveAnswerHead(bytes: Uint8Array): void {
    const heads = this.#responseHeads ??= HeadReader.forFramingOfResponses(this.#context.limits);
    /** Interim heads, to be passed on together. */
    let passed: ByteBuffer | undefined;
    let piece = bytes;
    while (piece.length > 0) {
      const head = heads.read(piece);
      if (!head) break;
      this.#status = head.status;
      if (head.status === 401 && this.#isAuthorized) this.#context.credentialRefused?.();
      if (head.status === 101) return this.#switchProtocols(passed);
      if (head.status >= 200) return this.#beginAnswer(head, passed);
      passed ??= new ByteBuffer();
      passed.append(heads.all.subarray(0, heads.end));
      piece = heads.takeRest();
    }
    if (passed) this.#write(passed.bytes);
  }

  /** @param passed Interim heads that come in front. */
  #beginAnswer(head: ResponseHead, passed: ByteBuffer | undefined): void {
    this.#keepsAlive = keepsAlive(head);
    const framing = responseFraming(head, this.#request!.method);
    this.#responseBody = new BodyScanner(framing, true);
    const { all, end } = this.#responseHeads!;
    const rest = this.#responseHeads!.takeRest();
    this.#responseHeads = undefined;
    if (!passed && !repeatsLength(head)) return this.#passAnswer(all, end);
    const answer = passed ?? new ByteBuffer();
    answer.append(
      repeatsLength(head) ? this.#withLengthOnce(all.subarray(0, end)) : all.subarray(0, end),
    );
    const bodyStart = answer.length;
    answer.append(rest);
    this.#passAnswer(answer.bytes, bodyStart);
  }

  /** Written anew: what is behind us may refuse what we take. */
  #withLengthOnce(bytes: Uint8Array): Uint8Array {
    const { status, reason, fields, minor } = parseResponseHead(bytes, this.#context.limits);
    return encodeResponseHead(status, reason, withLengthOnce(fields), minor);
  }

  /** Passes on bytes of the answer, of which those from `bodyStart` are its body's. */
  #passAnswer(bytes: Uint8Array, bodyStart: number): void {
    const body = this.#responseBody!;
    const end = body.scan(bytes, bodyStart);
    const isExact = end === bytes.length;
    const passed = body.clean(bytes, 0, end);
    // What was read is whole in this one write, and nothing else refers to it.
    this.#write(passed, isExact && passed === bytes ? freeCallback(bytes) : undefined);
    if (body.isDone) this.#complete(isExact);
  }

  #write(bytes: Uint8Array, free?: () => void): void {
    if (!this.#stream.write(bytes, free)) this.#connection!.socket.pause();
  }

  /** @param isExact Whether the target sent nothing behind its answer. */
  #complete(isExact: boolean): void {
    const connection = this.#connection!;
    this.#state = "over";
    this.#endSpan();
    this.targetDrained();
    this.#stream.finish();
    const isReusable = isExact && this.#keepsAlive && this.#requestBody!.isDone;
    if (isReusable) this.#context.pool.putBack(connection);
    else connection.destroy();
  }

  /** The connection to the target has ended; `isOrderly` when the target closed its half. */
  connectionEnded(isOrderly: boolean): void {
    if (this.#state !== "sending") return;
    const connection = this.#connection!;
    if (!this.#isAnswerBegun && this.#mayRetry(connection)) {
      connection.destroy();
      this.#hasRetried = true;
      return this.#dial();
    }
    if (!isOrderly || !this.#responseBody?.ended()) {
      return this.#fail(new StreamError("reset", "The target broke off"));
    }
    // Such an answer ends where its connection does (RFC 9112 section 6.3).
    if (connection.socket.hidesCuts) return this.#fail(new StreamError("reset", uncertainEnd));
    this.#keepsAlive = false;
    this.#complete(true);
  }

  /**
   * A pooled connection may have been closed by the target just as it was used. A request is sent
   * again, once, only if it may be carried out twice.
   */
  #mayRetry(connection: UpstreamConnection): boolean {
    return connection.isReused && !this.#hasRetried &&
      isRepeatable(this.#request!, this.#requestBody!.framing);
  }

  #switchProtocols(passed: ByteBuffer | undefined): void {
    if (requestedUpgrade(this.#request!) === undefined || !this.#requestBody!.isDone) {
      throw new HeadError(400, headFaults.unasked);
    }
    this.#state = "over";
    const socket = this.#connection!.detach();
    const { all, end } = this.#responseHeads!;
    const rest = this.#responseHeads!.takeRest();
    if (passed) this.#stream.write(passed.bytes);
    this.#stream.write(all.subarray(0, end));
    pipe(socket, this.#stream, {
      head: rest,
      streamHead: this.#pending.take(),
      closed: () => this.#endSpan(),
    });
  }

  #fail(error: StreamError): void {
    if (this.#state === "over") return;
    this.#state = "over";
    this.#endSpan(error.code);
    this.#connection?.destroy();
    (this.#context ?? this.#given).failed(error, this.#request);
    this.#stream.fail(error);
  }

  /** The stream has room again for the answer. */
  drained(): void {
    // Afterwards the connection is another request's.
    if (this.#state === "sending") this.#connection?.socket.resume();
  }

  failed(): void {
    this.closed();
  }

  /** The caller went away, or the session ended: the target is told at once. */
  closed(): void {
    if (this.#state === "over") return;
    // Attempts that nobody waits for would pile up before a target that does not answer.
    if (this.#state === "dialling") this.#dialling?.abort();
    this.#state = "over";
    this.#endSpan("abandoned");
    this.#connection?.destroy();
    this.#stream.close();
  }

  /** @param fault The kind of error, if it was one; a target's 4xx and 5xx are errors too. */
  #endSpan(fault?: string): void {
    if (!this.#span) return;
    const status = this.#status;
    const hasFailed = fault !== undefined || (status !== undefined && status >= 400);
    this.#span.end({
      "http.response.status_code": status,
      "http.request.resend_count": this.#hasRetried ? 1 : undefined,
      "error.type": fault ?? (hasFailed ? String(status) : undefined),
    }, hasFailed);
  }
}

/** What a connection to the target tells a request. */
class Answering implements UpstreamEvents {
  readonly #serving: Serving;

  constructor(serving: Serving) {
    this.#serving = serving;
  }

  data(bytes: Uint8Array): void {
    this.#serving.answer(bytes);
  }

  drained(): void {
    this.#serving.targetDrained();
  }

  ended(isOrderly: boolean): void {
    this.#serving.connectionEnded(isOrderly);
  }
}

function asStreamError(error: unknown): StreamError {
  return error instanceof StreamError ? error : new StreamError("internal", String(error));
}
