/** An exchange where a platform has read the request already and takes a `Response` for an answer. */
import { noBytes } from "../bytes/bytes.ts";
import type { Framing } from "../http1/body.ts";
import { handshakeFaults } from "../http1/faults.ts";
import {
  type Field,
  field,
  getField,
  HeadError,
  type RequestHead,
  type ResponseHead,
} from "../http1/head.ts";
import { errorBody } from "./error_body.ts";
import { createHandshakeKey, type HandshakeKey } from "../websocket/handshake.ts";
import type { Channel } from "./channel.ts";
import type { BodyConsumer, BodyMode, Exchange, ExchangeEnd, Peer } from "./exchange.ts";
import { bridge } from "./websocket_bridge.ts";

/** What a platform lends to an exchange. */
export interface FetchHost {
  /** Whether the platform can complete this handshake. @throws {HeadError} that says why not. */
  checkHandshake?(request: Request): void;
  /**
   * The caller's own `Accept-Encoding`, where the platform puts another in its place; null for a caller
   * that sent none.
   */
  acceptEncoding?(request: Request): string | null;
  /** Has the platform send the body as it is; it may change the answer's fields. */
  keepBody?(fields: Field[], acceptEncoding: string | null): void;
  /** Completes the request's WebSocket handshake, with this subprotocol if there is one. */
  upgrade(protocol: string | undefined): { socket: WebSocket; response: Response };
  /** See `WebSocketTraits`. */
  readonly copiesOnSend: boolean;
  /** See `WebSocketTraits`. */
  readonly cut?: (socket: WebSocket) => void;
  /** Something of this exchange threw: a bug, for the log. */
  readonly fault?: (error: unknown) => void;
  /** Has a body keep its length on the wire, where `Content-Length` alone does not. */
  withLength?(body: ReadableStream<Uint8Array>, bytes: number): ReadableStream<Uint8Array>;
}

/** Bytes of an answer that may wait for the platform to take them. */
const highWaterBytes = 256 * 1024;

/** Statuses whose `Response` must have no body (Fetch standard, "null body status"). */
const nullBodyStatuses = new Set([204, 205, 304]);

/** Fields that speak of the caller's hop; the target's handshake is one of our own. */
const handshakeFields = new Set([
  "connection",
  "upgrade",
  "sec-websocket-key",
  "sec-websocket-version",
  // Frames with extensions are none that a bridge could pass on.
  "sec-websocket-extensions",
]);

/** What of the request is known only after some waiting. */
interface Prepared {
  readonly framing: Framing;
  /** Where the body comes from; its first piece may have been read. */
  readonly body: BodySource | undefined;
  readonly handshake: HandshakeKey | undefined;
}

interface BodySource {
  readonly reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly first: Uint8Array | undefined;
}

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
  readonly #body: BodySource | undefined;
  readonly #signal: AbortSignal;
  readonly #leave = (): void => this.connectionLost();
  readonly #response = Promise.withResolvers<Response>();
  #consumer: BodyConsumer | undefined;
  #isBodyPaused = false;
  #isReading = false;
  #isBodyDone: boolean;
  #bodyBytes = 0;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  #wantsDrain = false;
  /** Once protocols were changed. */
  #socket: WebSocket | undefined;
  #status = 0;
  #sentBytes = 0;
  readonly #startMs = performance.now();
  #respondedMs: number | undefined;
  #state: "open" | "responding" | "ending" | "finished" | "aborted" | "switched" = "open";
  answerField: Field | undefined;
  beforeEnd: Exchange["beforeEnd"];
  onAborted: () => void = () => {};
  onDrain: () => void = () => {};
  onEnd: (end: ExchangeEnd) => void = () => {};

  private constructor(request: Request, peer: Peer, host: FetchHost, prepared: Prepared) {
    this.#acceptEncoding = host.acceptEncoding?.(request) ?? null;
    this.head = headOf(request, prepared, host.acceptEncoding && this.#acceptEncoding);
    this.peer = peer;
    this.framing = prepared.framing;
    this.#host = host;
    this.#handshake = prepared.handshake;
    this.#body = prepared.body;
    this.#isBodyDone = prepared.framing.kind === "none";
    this.#signal = request.signal;
    this.#signal.addEventListener("abort", this.#leave);
  }

  /**
   * Looks at a request as far as it has to be known before the answer begins.
   *
   * @throws {HeadError} for a request that the platform can't hand over whole.
   */
  static async of(request: Request, peer: Peer, host: FetchHost): Promise<FetchExchange> {
    checkIdentity(request);
    if (isWebSocket(request)) {
      if (request.method !== "GET") {
        throw new HeadError(400, "A WebSocket handshake is a GET request");
      }
      host.checkHandshake?.(request);
    }
    const handshake = isWebSocket(request) ? await createHandshakeKey() : undefined;
    const prepared = { handshake, ...await framingOf(request) };
    return new FetchExchange(request, peer, host, prepared);
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
    return this.#isBodyDone;
  }

  readBody(consumer: BodyConsumer): void {
    this.#consumer = consumer;
    if (this.#isBodyDone) return consumer.end();
    this.#read();
  }

  pauseBody(): void {
    this.#isBodyPaused = true;
  }

  resumeBody(): void {
    if (!this.#isBodyPaused) return;
    this.#isBodyPaused = false;
    this.#read();
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
      const body = hasBody ? this.#createBody(fields) : null;
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
    this.#controller = undefined;
    this.#response.resolve(unanswerable());
    this.#dropBody();
    // Whoever responds just now is not to be called back in the middle of it.
    queueMicrotask(() => {
      this.onAborted();
      this.#ended(false);
    });
  }

  write(bytes: Uint8Array): boolean {
    if (this.#state !== "responding" || bytes.length === 0 || !this.#controller) return true;
    try {
      this.#controller.enqueue(bytes);
    } catch {
      // The platform has given the body up without saying so.
      this.connectionLost();
      return true;
    }
    this.#sentBytes += bytes.length;
    this.#wantsDrain = (this.#controller.desiredSize ?? 0) <= 0;
    return !this.#wantsDrain;
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
      this.#controller?.close();
    } catch {
      return this.connectionLost(); // As in `write`.
    }
    this.#state = "finished";
    this.#ended(true);
    this.#dropBody();
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
    const fault = this.#handshakeFault(head);
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
    this.#bodyBytes = bytesIn;
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

  /** Why the target's 101 is not the answer to our handshake (RFC 6455 section 4.1), if it isn't. */
  #handshakeFault({ fields }: ResponseHead): string | undefined {
    if (!this.#handshake) return handshakeFaults.noHandshake;
    if (getField(fields, "upgrade")?.toLowerCase() !== "websocket") {
      return handshakeFaults.protocol;
    }
    if (getField(fields, "sec-websocket-accept") !== this.#handshake.accept) {
      return handshakeFaults.accept;
    }
    if (getField(fields, "sec-websocket-extensions") !== undefined) {
      return handshakeFaults.extension;
    }
    const chosen = getField(fields, "sec-websocket-protocol");
    const offered = getField(this.head.fields, "sec-websocket-protocol")?.split(",") ?? [];
    if (chosen !== undefined && !offered.some((protocol) => protocol.trim() === chosen)) {
      return handshakeFaults.subprotocol;
    }
    return undefined;
  }

  #createBody(fields: readonly Field[]): ReadableStream<Uint8Array<ArrayBuffer>> {
    const length = getField(fields, "content-length");
    const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
      start: (controller) => {
        this.#controller = controller as ReadableStreamDefaultController<Uint8Array>;
      },
      pull: () => this.#drained(),
      cancel: () => this.connectionLost(),
    }, { highWaterMark: highWaterBytes, size: ({ byteLength }) => byteLength });
    if (length === undefined || !this.#host.withLength) return body;
    return this.#host.withLength(body, Number(length)) as ReadableStream<Uint8Array<ArrayBuffer>>;
  }

  #drained(): void {
    if (!this.#wantsDrain || this.#state !== "responding") return;
    this.#wantsDrain = false;
    this.onDrain();
  }

  /** Hands the body over piece by piece, as long as nobody has stopped it. */
  async #read(): Promise<void> {
    try {
      await this.#readOn();
    } catch (error) {
      // Nobody awaits this: what a consumer throws would end the process.
      this.#host.fault?.(error);
      this.connectionLost();
    }
  }

  async #readOn(): Promise<void> {
    if (this.#isReading || !this.#body) return;
    this.#isReading = true;
    const { reader, first } = this.#body;
    if (first && this.#bodyBytes === 0) this.#receive(first);
    while (this.#wantsBody) {
      const piece = await nextPiece(reader);
      // What was asked for before somebody stopped it is still to be passed on.
      if (this.isOver) break;
      if (!piece) this.connectionLost();
      else if (piece.done) this.#bodyEnded();
      else this.#receive(piece.value);
    }
    this.#isReading = false;
  }

  get #wantsBody(): boolean {
    return !this.#isBodyPaused && !this.#isBodyDone && !this.isOver;
  }

  #receive(bytes: Uint8Array): void {
    this.#bodyBytes += bytes.length;
    const { framing } = this;
    if (framing.kind === "length" && this.#bodyBytes > framing.bytes) return this.connectionLost();
    this.#consumer?.data(bytes);
    // The target may answer as soon as it has all: the request is whole then, whatever else comes.
    if (framing.kind === "length" && this.#bodyBytes === framing.bytes) this.#bodyEnded();
  }

  #bodyEnded(): void {
    const { framing } = this;
    if (framing.kind === "length" && this.#bodyBytes < framing.bytes) return this.connectionLost();
    this.#isBodyDone = true;
    this.#consumer?.end();
  }

  #breakOff(): void {
    const wasOpen = this.#state === "open";
    this.#state = "aborted";
    if (wasOpen) this.#response.resolve(new Response(null, { status: 502 }));
    this.#controller?.error(new Error("The answer was broken off"));
    this.#dropBody();
  }

  /** What is left of the body is nobody's. */
  #dropBody(): void {
    if (this.#isBodyDone || !this.#body) return;
    this.#body.reader.cancel().catch(() => {
      // It broke before: nothing is left then, either.
    });
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
      bytesIn: this.#bodyBytes,
      ms: performance.now() - this.#startMs,
      firstByteMs: this.#respondedMs === undefined ? undefined : this.#respondedMs - this.#startMs,
      isComplete,
    };
  }
}

/** Nothing for a connection that broke: the platform's own words about it would say nothing more. */
async function nextPiece(
  reader: ReadableStreamDefaultReader<Uint8Array>,
): Promise<ReadableStreamReadResult<Uint8Array> | undefined> {
  try {
    return await reader.read();
  } catch {
    return undefined;
  }
}

function isWebSocket({ headers }: Request): boolean {
  return headers.get("upgrade")?.toLowerCase() === "websocket";
}

/**
 * Platforms join the lines of a repeated field by a comma and a blank (Fetch standard, "combine"), so
 * two groups look like one whose name has these.
 *
 * @throws {HeadError} for what might be read as another identity than the caller's.
 */
function checkIdentity({ headers }: Request): void {
  for (const [name, value] of headers) {
    if (!name.startsWith("impersonate-") || !value.includes(", ")) continue;
    const message =
      "Impersonate-* with a comma and a blank, or several times, is not supported on this platform";
    throw new HeadError(400, message);
  }
}

/** @param acceptEncoding The caller's own, null for none; undefined where the platform's is that. */
function headOf(
  request: Request,
  { handshake, framing }: Prepared,
  acceptEncoding: string | null | undefined,
): RequestHead {
  const fields: Field[] = [];
  for (const [name, value] of request.headers) {
    if (handshakeFields.has(name) || name === "transfer-encoding") continue;
    if (acceptEncoding !== undefined && name === "accept-encoding") continue;
    fields.push(field(name, value));
  }
  if (typeof acceptEncoding === "string") fields.push(field("accept-encoding", acceptEncoding));
  // Over HTTP/2 the authority stands in the URL alone.
  if (!request.headers.has("host")) fields.push(field("host", new URL(request.url).host));
  const upgrade = request.headers.get("upgrade");
  if (upgrade !== null) fields.push(field("connection", "Upgrade"), field("upgrade", upgrade));
  if (handshake) {
    fields.push(field("sec-websocket-version", "13"), field("sec-websocket-key", handshake.key));
  }
  if (framing.kind === "chunked") fields.push(field("transfer-encoding", "chunked"));
  return { method: request.method, target: targetOf(request.url), minor: 1, fields };
}

/** Path and query as the platform has them: a `URL` would normalise them once more. */
export function targetOf(url: string): string {
  const start = url.indexOf("/", url.indexOf("://") + 3);
  const target = start === -1 ? "/" : url.slice(start);
  const fragment = target.indexOf("#");
  return fragment === -1 ? target : target.slice(0, fragment);
}

/**
 * How the body is framed towards the target. A platform does not say whether there is one, if it came
 * without a length, as it may over HTTP/2.
 */
async function framingOf(request: Request): Promise<Omit<Prepared, "handshake">> {
  const length = request.headers.get("content-length");
  if (request.body === null) {
    const isDeclared = (length !== null && length !== "0") ||
      request.headers.has("transfer-encoding");
    if (!isDeclared) return { framing: { kind: "none" }, body: undefined };
    throw new HeadError(501, `A body with ${request.method} is not supported on this platform`);
  }
  if (length !== null) {
    if (!/^\d{1,15}$/.test(length)) throw new HeadError(400, "Content-Length is not a number");
    const bytes = Number(length);
    if (bytes === 0) return { framing: { kind: "none" }, body: undefined };
    const reader = request.body.getReader();
    return { framing: { kind: "length", bytes }, body: { reader, first: undefined } };
  }
  const reader = request.body.getReader();
  let first = await nextPiece(reader);
  while (first?.value?.length === 0) first = await nextPiece(reader);
  // Deno hands over a stream for each request that may have a body, and an empty one stands for none.
  const isChunked = request.headers.has("transfer-encoding");
  if (first?.done && !isChunked) return { framing: { kind: "none" }, body: undefined };
  return { framing: { kind: "chunked" }, body: { reader, first: first?.value } };
}

/** `encodeBody` keeps Cloudflare from encoding a body that is encoded already. */
function responseInit(status: number, reason: string, fields: readonly Field[]): ResponseInit {
  const headers = new Headers();
  for (const { name, value, key } of fields) {
    if (key !== "transfer-encoding" && key !== "connection") headers.append(name, value);
  }
  const init = { status, statusText: reason, headers, encodeBody: "manual" };
  return init;
}

/** For an answer of the target's that this platform can't pass on. */
function unanswerable(): Response {
  const message = "the target's answer can't be passed on by this platform";
  const body = errorBody(502, "protocol", message) as Uint8Array<ArrayBuffer>;
  const headers = { "Content-Type": "application/json", "Cache-Control": "no-store" };
  return new Response(body, { status: 502, headers });
}
