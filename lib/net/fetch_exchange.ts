/** An exchange where a platform has read the request already and takes a `Response` for an answer. */
import { noBytes } from "../bytes/bytes.ts";
import type { Framing } from "../http1/body.ts";
import { type Field, field, getField, type RequestHead, type ResponseHead } from "../http1/head.ts";
import type { HandshakeKey } from "../websocket/handshake.ts";
import type { Channel } from "./channel.ts";
import type { BodyConsumer, BodyMode, Exchange, ExchangeEnd, Peer } from "./exchange.ts";
import { FetchBody } from "./fetch_body.ts";
import { answerFault } from "./fetch_handshake.ts";
import type { FetchHost } from "./fetch_host.ts";
import { type FetchedRequest, readRequest } from "./fetch_request.ts";
import { nullBodyStatuses, ResponseBody, responseInit, unanswerable } from "./fetch_response.ts";
import { bridge } from "./websocket_bridge.ts";

/** A request as `Request`, its answer as `Response`. */
export class FetchExchange implements Exchange {
  readonly head: RequestHead;
  readonly framing: Framing;
  peer: Peer;
  /** Platforms frame bodies by themselves. */
  readonly takesChunks = false;
  readonly #host: FetchHost;
  readonly #acceptEncoding: string | null;
  readonly #handshake: HandshakeKey | undefined;
  readonly #requestBody: FetchBody;
  readonly #signal: AbortSignal;
  readonly #leave = (): void => this.connectionLost();
  readonly #response = Promise.withResolvers<Response>();
  #responseBody: ResponseBody | undefined;
  /** Once protocols were changed. */
  #socket: WebSocket | undefined;
  #status = 0;
  #sentBytes = 0;
  /** What the caller's WebSocket has carried, in place of a body. */
  #socketBytesIn: number | undefined;
  readonly #startMs = performance.now();
  #respondedMs: number | undefined;
  #state: "open" | "responding" | "ending" | "finished" | "aborted" | "switched" = "open";
  answerField: Field | undefined;
  beforeEnd: Exchange["beforeEnd"];
  onAborted: () => void = () => {};
  onDrain: () => void = () => {};
  onEnd: (end: ExchangeEnd) => void = () => {};

  private constructor(request: Request, peer: Peer, host: FetchHost, fetched: FetchedRequest) {
    this.head = fetched.head;
    this.peer = peer;
    this.framing = fetched.framing;
    this.#host = host;
    this.#acceptEncoding = fetched.acceptEncoding;
    this.#handshake = fetched.handshake;
    this.#requestBody = new FetchBody(fetched.framing, fetched.body, {
      isOver: () => this.isOver,
      broken: () => this.connectionLost(),
      fault: (error) => host.fault?.(error),
    });
    this.#signal = request.signal;
    this.#signal.addEventListener("abort", this.#leave);
  }

  /**
   * Looks at a request as far as it has to be known before the answer begins.
   *
   * @throws {HeadError} for a request that the platform can't hand over whole.
   */
  static async of(request: Request, peer: Peer, host: FetchHost): Promise<FetchExchange> {
    return new FetchExchange(request, peer, host, await readRequest(request, host));
  }

  /** The answer, once it has begun. */
  get response(): Promise<Response> {
    return this.#response.promise;
  }

  get isAnswered(): boolean {
    return this.#state !== "open";
  }

  get isOver(): boolean {
    return !["open", "responding", "ending"].includes(this.#state);
  }

  get isBodyDone(): boolean {
    return this.#requestBody.isDone;
  }

  readBody(consumer: BodyConsumer): void {
    this.#requestBody.readBy(consumer);
  }

  pauseBody(): void {
    this.#requestBody.pause();
  }

  resumeBody(): void {
    this.#requestBody.resume();
  }

  /** There is no way to: platforms send 100 by themselves and no others. */
  inform(): boolean {
    return true;
  }

  respond(status: number, reason: string, fields: Field[], mode: BodyMode): void {
    if (this.#state !== "open") return;
    this.#state = "responding";
    this.#responded(status);
    if (this.answerField) fields.push(this.answerField);
    const hasBody = mode !== "none" && this.head.method !== "HEAD" && !nullBodyStatuses.has(status);
    if (hasBody) this.#host.keepBody?.(fields, this.#acceptEncoding);
    try {
      const body = hasBody ? this.#createBody().toStream(fields, this.#host) : null;
      this.#response.resolve(new Response(body, responseInit(status, reason, fields)));
    } catch {
      this.#cannotAnswer();
    }
  }

  /**
   * The target's answer is none that a `Response` can hold, such as one with status 600: which values
   * those are, and what is thrown for them, each platform decides for itself.
   */
  #cannotAnswer(): void {
    this.#state = "aborted";
    this.#status = 502;
    this.#responseBody = undefined;
    this.#response.resolve(unanswerable());
    this.#requestBody.drop();
    // Whoever responds just now is not to be called back in the middle of it.
    queueMicrotask(() => {
      this.onAborted();
      this.#ended(false);
    });
  }

  write(bytes: Uint8Array): boolean {
    if (this.#state !== "responding" || bytes.length === 0 || !this.#responseBody) return true;
    try {
      const hasRoom = this.#responseBody.write(bytes);
      this.#sentBytes += bytes.length;
      return hasRoom;
    } catch {
      // The platform has given the body up without saying so.
      this.connectionLost();
      return true;
    }
  }

  finish(last: Uint8Array = noBytes): void {
    if (this.#state !== "responding") return;
    if (!this.beforeEnd) return this.#finish(last);
    this.#state = "ending";
    this.beforeEnd(this.#endOf(true, last.length), (decision) => {
      if (this.#state !== "ending") return; // The caller has gone.
      this.#state = "responding";
      // Its head has left already, so it can't be replaced by another.
      if (decision === "send") this.#finish(last);
      else this.abort();
    });
  }

  #finish(last: Uint8Array): void {
    this.write(last);
    if (this.isOver) return;
    try {
      this.#responseBody?.close();
    } catch {
      return this.connectionLost(); // As in `write`.
    }
    this.#state = "finished";
    this.#ended(true);
    this.#requestBody.drop();
  }

  answer(status: number, reason: string, fields: Field[], body: Uint8Array): void {
    const all = [...fields, field("Content-Length", String(body.length))];
    this.respond(status, reason, all, "framed");
    this.finish(body);
  }

  abort(): void {
    // What joined the two sides is told by the socket.
    if (this.#state === "switched") this.#socket?.close();
    if (this.isOver) return;
    this.#breakOff();
    this.#ended(false);
  }

  switchProtocols(
    head: ResponseHead,
    _fields: readonly Field[],
    channel: Channel,
    rest: Uint8Array,
  ): string | undefined {
    if (this.#state !== "open") return "The caller has gone";
    const fault = answerFault(head, this.head, this.#handshake);
    if (fault !== undefined) return fault;
    let socket: WebSocket;
    try {
      socket = this.#upgrade(getField(head.fields, "sec-websocket-protocol"));
    } catch (error) {
      return `The platform can't complete the handshake: ${error}`;
    }
    bridge(socket, channel, {
      rest,
      cut: this.#host.cut,
      fault: this.#host.fault,
      closed: (bytes, bytesIn) => this.detachedEnd(bytes, bytesIn),
    });
    return undefined;
  }

  /**
   * Completes the handshake of a caller that is itself to be talked to: an agent, or `access`.
   *
   * @param protocol The subprotocol, one of those that were offered.
   * @returns once the socket is open; rejects if the caller goes away before.
   */
  acceptWebSocket(protocol?: string): Promise<WebSocket> {
    const socket = this.#upgrade(protocol);
    if (socket.readyState === 1) return Promise.resolve(socket);
    const { promise, resolve, reject } = Promise.withResolvers<WebSocket>();
    const failed = () => reject(new Error("The WebSocket handshake failed"));
    socket.addEventListener("open", () => resolve(socket), { once: true });
    socket.addEventListener("close", failed, { once: true });
    socket.addEventListener("error", failed, { once: true });
    return promise;
  }

  detachedEnd(bytes: number, bytesIn: number): void {
    this.#sentBytes = bytes;
    this.#socketBytesIn = bytesIn;
    this.#ended(true);
  }

  /** The caller went away, as far as the platform says so. */
  connectionLost(): void {
    if (this.isOver) return;
    this.#breakOff();
    this.onAborted();
    this.#ended(false);
  }

  #upgrade(protocol: string | undefined): WebSocket {
    // Deno aborts it here, and from now on the socket tells.
    this.#signal.removeEventListener("abort", this.#leave);
    let upgraded: ReturnType<FetchHost["upgrade"]>;
    try {
      upgraded = this.#host.upgrade(protocol);
    } catch (error) {
      this.#signal.addEventListener("abort", this.#leave);
      throw error;
    }
    const { socket, response } = upgraded;
    this.#state = "switched";
    this.#responded(101);
    this.#response.resolve(response);
    this.#socket = socket;
    return socket;
  }

  #createBody(): ResponseBody {
    return this.#responseBody = new ResponseBody({
      drained: () => {
        if (this.#state === "responding") this.onDrain();
      },
      cancelled: () => this.connectionLost(),
    });
  }

  #breakOff(): void {
    const wasOpen = this.#state === "open";
    this.#state = "aborted";
    if (wasOpen) this.#response.resolve(new Response(null, { status: 502 }));
    this.#responseBody?.breakOff();
    this.#requestBody.drop();
  }

  #responded(status: number): void {
    this.#status = status;
    this.#respondedMs = performance.now();
  }

  #ended(isComplete: boolean): void {
    this.#signal.removeEventListener("abort", this.#leave);
    const onEnd = this.onEnd;
    this.onEnd = () => {};
    onEnd(this.#endOf(isComplete, 0));
  }

  /** @param more Bytes of the body that are still to be written. */
  #endOf(isComplete: boolean, more: number): ExchangeEnd {
    return {
      status: this.#status,
      bytes: this.#sentBytes + more,
      bytesIn: this.#socketBytesIn ?? this.#requestBody.bytes,
      ms: performance.now() - this.#startMs,
      firstByteMs: this.#respondedMs === undefined ? undefined : this.#respondedMs - this.#startMs,
      isComplete,
    };
  }
}
