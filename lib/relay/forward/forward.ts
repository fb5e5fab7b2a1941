/** One tunnelled request: the caller's exchange on one side, a stream on the other. */
import { noBytes } from "../../bytes/bytes.ts";
import {
  BodyError,
  BodyScanner,
  encodeChunk,
  lastChunk,
  repeatsLength,
  responseFraming,
  withLengthOnce,
} from "../../http1/body.ts";
import { dateField } from "../../http1/date.ts";
import { headFaults } from "../../http1/faults.ts";
import { keepsAlive } from "../../http1/fields.ts";
import {
  type Field,
  field,
  getField,
  HeadError,
  type HeadLimits,
  listHas,
  type ResponseHead,
} from "../../http1/head.ts";
import { HeadReader } from "../../http1/head_reader.ts";
import type { Channel } from "../../net/channel.ts";
import type { Exchange } from "../../net/exchange.ts";
import { StreamError } from "../../protocol/errors.ts";
import type { StreamEvents } from "../../protocol/stream_events.ts";
import type { Span } from "../../trace.ts";
import type { Bandwidth } from "../limits/bandwidth.ts";
import type { Deadline, Deadlines } from "../limits/deadlines.ts";
import { badResponse, responseTimeout, transferTimeout } from "../availability_errors.ts";
import { answerError } from "../error_response.ts";
import type { RelayError } from "../relay_error.ts";
import { bodyTimeout, bodyTooLarge } from "../request_errors.ts";
import { because } from "../stream_errors.ts";
import { returnedFields } from "./headers.ts";
import type { IdleTimeout, IdleTimer, Transfer } from "../limits/idle_timeout.ts";
import { PacedChannel } from "../limits/paced_channel.ts";

/** What a tunnelled request is bound by. */
export interface ForwardLimits {
  /** The target's response head. */
  head: HeadLimits;
  /** Bytes of a request's body; 0 for no limit. */
  maxBodyBytes: number;
  /** Bodies that should move. */
  transfers: IdleTimeout;
}

/** Who is told about a request, and what it is known by. */
export interface ForwardObserver {
  /** Goes with the request as `X-Request-Id`. */
  readonly requestId: string;
  /** Goes with the request as `traceparent`, if there is one. */
  readonly span: Span | undefined;
  /** What the relay's log says about a request that failed; the caller gets less. */
  failed(error: RelayError, detail: string): void;
}

/** What becomes of a request whose channel ended before its answer did. */
export interface ForwardHost extends ForwardObserver {
  /** The protocol that the caller wants to change to. */
  readonly upgrade: string | undefined;
  /** Waits for the target's response head, once the request is whole. */
  readonly responses: Deadlines;
  /** What the request's bytes have to keep to. */
  readonly bandwidths: readonly Bandwidth[];
  /** What a caller is told whose request ended with this error. */
  answerTo(error: StreamError): RelayError;
  /**
   * The channel failed before a byte of the answer: another one that has got the request's head, and
   * what of its body had been written, if that is safe.
   */
  again?(error: StreamError): Channel | undefined;
  /** The same, where the whole exchange goes on without this channel: what sets it going. */
  handOver?(error: StreamError): (() => void) | undefined;
  /** What of a response's head reaches the caller, where the service changes it. */
  returned?(fields: Field[], status: number): Field[];
}

/** Has a channel answer a request whose head it has got already. */
export function forward(
  channel: Channel,
  exchange: Exchange,
  limits: ForwardLimits,
  host: ForwardHost,
): void {
  new ExchangeForwarder(exchange, channel, limits, host);
}

/** Is told what is of no interest any more. */
const nobody = (): void => {};

function paced(channel: Channel, bandwidths: readonly Bandwidth[]): Channel {
  return bandwidths.length > 0 ? new PacedChannel(channel, bandwidths) : channel;
}

/**
 * It hears its channel's events itself. An object of closures for them would be made by a literal, and
 * of literals that live for long V8 makes all that follow in the old generation, where they kept the
 * whole requests of which they knew until the next full collection.
 */
class ExchangeForwarder implements Transfer, StreamEvents {
  readonly #exchange: Exchange;
  readonly #limits: ForwardLimits;
  readonly #host: ForwardHost;
  #stream: Channel;
  readonly #upgrade: string | undefined;
  /** Whether a byte of the answer has come: from then on there is no second try. */
  #hasAnswer = false;
  #deadline: Deadline | undefined;
  #idleTimer: IdleTimer | undefined;
  #sentBodyBytes = 0;
  /** The target takes no more of the request's body for now. */
  #isStreamFull = false;
  /** The bytes that have moved, for the {@link IdleTimeout}. */
  moved = 0;
  readonly #heads: HeadReader<ResponseHead>;
  #body: BodyScanner | undefined;
  #isContent = false;
  /** Whether the answer lets what carries it carry another. */
  #isReusable = false;
  /** Bytes handed to the caller's full socket, to be reported as consumed when it drains. */
  #unconsumed = 0;
  #isOver = false;

  constructor(
    exchange: Exchange,
    stream: Channel,
    limits: ForwardLimits,
    host: ForwardHost,
  ) {
    this.#exchange = exchange;
    this.#stream = paced(stream, host.bandwidths);
    this.#upgrade = host.upgrade;
    this.#limits = limits;
    this.#heads = HeadReader.forResponses(limits.head);
    this.#host = host;
    this.#start();
  }

  #start(): void {
    this.#stream.listen(this);
    this.#exchange.onAborted = () => this.#abandon();
    this.#exchange.onDrain = () => this.#callerDrained();
    this.#sendBody();
  }

  /** The request is whole: from now on the target has to answer in time. */
  #awaitHead(): void {
    if (this.#body || this.#isOver) return;
    this.#host.responses.end(this.#deadline);
    this.#deadline = this.#host.responses.begin(() =>
      this.#fail(responseTimeout, "No response head")
    );
  }

  #sendBody(): void {
    const { framing } = this.#exchange;
    // A request that wants to change protocols goes on with that protocol's bytes, or not at all.
    if (framing.kind === "none") {
      if (this.#upgrade === undefined) this.#stream.end();
      return this.#awaitHead();
    }
    // The caller sends nothing more before the target has said something: that is waited for.
    if (listHas(this.#exchange.head.fields, "expect", "100-continue")) this.#awaitHead();
    const isChunked = framing.kind === "chunked";
    this.#exchange.readBody({
      data: (bytes, free) => this.#sendContent(bytes, isChunked, free),
      end: () => {
        if (isChunked) this.#stream.write(lastChunk);
        if (this.#upgrade === undefined) this.#stream.end();
        this.#awaitHead();
      },
    });
    if (!this.#exchange.isBodyDone && !this.#isOver) this.#beWatched();
  }

  #beWatched(): void {
    this.#idleTimer ??= this.#limits.transfers.start(this);
  }

  #sendContent(bytes: Uint8Array, isChunked: boolean, free?: () => void): void {
    this.#sentBodyBytes += bytes.length;
    const { maxBodyBytes } = this.#limits;
    if (maxBodyBytes > 0 && this.#sentBodyBytes > maxBodyBytes) {
      return this.#fail(bodyTooLarge, `Body is over ${maxBodyBytes} bytes`);
    }
    this.moved++;
    const hasRoom = isChunked
      ? this.#stream.write(encodeChunk(bytes))
      : this.#stream.write(bytes, free);
    if (hasRoom) return;
    this.#isStreamFull = true;
    this.#exchange.pauseBody();
  }

  /** The stream has room again for the request's body. */
  drained(): void {
    this.moved++;
    this.#isStreamFull = false;
    this.#exchange.resumeBody();
  }

  /**
   * A request's body has to move, or else its answer, and so have an answer whose length was announced
   * and bytes that wait for the other side. Behind a whole request, an answer without a length may be a
   * watch or a followed log, which have nothing to say for hours.
   */
  get stuck(): string | undefined {
    if (this.#isStreamFull) return "the target stopped reading the request's body";
    if (this.#unconsumed > 0) return "the caller takes no more of the answer";
    if (!this.#exchange.isBodyDone) return "the request's body stalled";
    if (this.#body?.framing.kind === "length") return "the answer's body stopped coming";
    return undefined;
  }

  idled(): void {
    const isCallerLate = !this.#isStreamFull && !this.#exchange.isBodyDone;
    this.#fail(isCallerLate ? bodyTimeout : transferTimeout, `No progress: ${this.stuck}`);
  }

  /** Bytes of the answer. */
  data(bytes: Uint8Array, free?: () => void): void {
    if (this.#isOver) return this.#stream.consumed(bytes.length);
    if (this.#body) return this.#receiveBody(bytes, 0, free);
    this.#hasAnswer = true;
    try {
      this.#receiveHeads(bytes);
    } catch (error) {
      if (!(error instanceof HeadError)) throw error;
      this.#fail(because(badResponse, error.message), error.message);
    }
  }

  /** Reads interim heads and the final one out of what has come. */
  #receiveHeads(bytes: Uint8Array): void {
    let piece = bytes;
    while (!this.#body && !this.#isOver && piece.length > 0) {
      const head = this.#heads.read(piece);
      // A head may be longer than the stream's window: what follows must be let in.
      if (!head) return this.#stream.consumed(piece.length);
      const rest = this.#heads.takeRest();
      const fresh = piece.length - rest.length;
      piece = rest;
      if (head.status === 101) return this.#switchProtocols(head, rest, fresh);
      if (head.status === 100 && !this.#exchange.isBodyDone) {
        this.#host.responses.end(this.#deadline);
      }
      const hasRoom = head.status >= 200 || this.#exchange.inform(head, this.#returned(head));
      if (hasRoom) this.#stream.consumed(fresh);
      else this.#unconsumed += fresh;
      if (head.status >= 200) this.#begin(head, rest);
    }
  }

  /** The final head: decides how the body reaches the caller. */
  #begin(head: ResponseHead, rest: Uint8Array): void {
    this.#host.responses.end(this.#deadline);
    const framing = responseFraming(head, this.#exchange.head.method);
    this.#body = new BodyScanner(framing, true);
    this.#isReusable = keepsAlive(head);
    const returned = this.#returned(head);
    const fields = repeatsLength(head) ? withLengthOnce(returned) : returned;
    // RFC 9110 section 6.6.1: who forwards an answer without one says when it came.
    if (getField(fields, "date") === undefined) fields.push(dateField());
    const isChunked = framing.kind === "chunked";
    this.#isContent = framing.kind === "close" || (isChunked && !this.#exchange.takesChunks);
    if (isChunked && !this.#isContent) {
      fields.push(field("Transfer-Encoding", "chunked"));
    }
    const mode = framing.kind === "none" ? "none" : this.#isContent ? "content" : "framed";
    this.#exchange.respond(head.status, head.reason, fields, mode);
    if (this.#body.isDone) return this.#complete(rest.length === 0);
    if (rest.length > 0) this.#receiveBody(rest, 0);
    if (!this.#isOver) this.#beWatched();
  }

  #returned(head: ResponseHead): Field[] {
    const fields = returnedFields(head);
    return this.#host.returned?.(fields, head.status) ?? fields;
  }

  #receiveBody(bytes: Uint8Array, start: number, free?: () => void): void {
    const body = this.#body!;
    this.moved++;
    let hasRoom = true;
    let last = noBytes;
    let end: number;
    try {
      if (this.#isContent) {
        end = body.scan(bytes, start, (from, to) => {
          hasRoom = this.#exchange.write(bytes.subarray(from, to));
        });
      } else {
        end = body.scan(bytes, start);
        const framed = body.clean(bytes, start, end);
        // The end of an answer may have to wait, so it is handed over as that.
        if (body.isDone) last = framed;
        else hasRoom = this.#exchange.write(framed, free);
      }
    } catch (error) {
      if (!(error instanceof BodyError)) throw error;
      return this.#fail(because(badResponse, error.message), error.message);
    }
    if (hasRoom) this.#stream.consumed(bytes.length - start);
    else this.#unconsumed += bytes.length - start;
    if (body.isDone) this.#complete(end === bytes.length, last);
  }

  #callerDrained(): void {
    const bytes = this.#unconsumed;
    this.moved++;
    this.#unconsumed = 0;
    this.#stream.consumed(bytes);
  }

  /** The agent sends no more. */
  end(): void {
    if (this.#isOver) return;
    if (this.#body?.ended()) this.#complete(false);
    else this.failed(new StreamError("reset", "The answer ended too soon"));
  }

  /** The agent gave the stream up. */
  closed(): void {
    this.failed(new StreamError("reset", "The agent closed the stream"));
  }

  /** The whole answer is with the caller's socket; what the agent still wants to say is not needed. */
  #complete(isExact: boolean, last?: Uint8Array): void {
    if (this.#isOver) return;
    this.#over();
    this.#exchange.finish(last);
    this.#callerDrained();
    if (this.#exchange.isBodyDone) this.#stream.finish(isExact && this.#isReusable);
    else this.#stream.close();
  }

  #switchProtocols(head: ResponseHead, rest: Uint8Array, unconsumed: number): void {
    const protocol = getField(head.fields, "upgrade");
    if (this.#upgrade === undefined || protocol === undefined || !this.#exchange.isBodyDone) {
      return this.#fail(because(badResponse, headFaults.unasked), headFaults.unasked);
    }
    const fields = this.#returned(head);
    fields.push(field("Connection", "Upgrade"), field("Upgrade", protocol));
    const fault = this.#exchange.switchProtocols(head, fields, this.#stream, rest);
    if (fault !== undefined) return this.#fail(because(badResponse, fault), fault);
    this.#over();
    this.#stream.consumed(unconsumed);
  }

  /** The stream ended before the answer was whole. */
  failed(error: StreamError): void {
    if (this.#isOver) return;
    if (!this.#hasAnswer && (this.#sendAgain(error) || this.#handOver(error))) return;
    this.#fail(this.#host.answerTo(error), error.message);
  }

  /** Goes on with another channel, if there is one for this request. */
  #sendAgain(error: StreamError): boolean {
    const channel = this.#host.again?.(error);
    if (!channel) return false;
    this.#stream.close();
    this.#stream = paced(channel, this.#host.bandwidths);
    this.#stream.listen(this);
    if (this.#exchange.isBodyDone && this.#upgrade === undefined) this.#stream.end();
    // An empty piece asks whether there is room.
    else if (this.#stream.write(noBytes)) this.drained();
    return true;
  }

  /** Leaves the exchange to who finds another way for it, if anybody does. */
  #handOver(error: StreamError): boolean {
    const goOn = this.#host.handOver?.(error);
    if (!goOn) return false;
    this.#over();
    // Another relay that ended its half has not closed the connection: nobody else would.
    this.#stream.close();
    goOn();
    return true;
  }

  #fail(error: RelayError, detail: string): void {
    if (this.#isOver) return;
    this.#over();
    this.#stream.close();
    this.#host.failed(error, detail);
    answerError(this.#exchange, error);
  }

  /** The caller went away: the agent is told at once, so that the target is too. */
  #abandon(): void {
    if (this.#isOver) return;
    this.#over();
    this.#stream.close();
  }

  #over(): void {
    this.#isOver = true;
    this.#host.responses.end(this.#deadline);
    this.#limits.transfers.stop(this.#idleTimer);
    this.#exchange.onAborted = nobody;
    this.#exchange.onDrain = nobody;
  }
}
