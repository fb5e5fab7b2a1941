/**
 * A version 1 relay for the tests, as argocd-cluster-proxy describes it: it accepts agents at `/connect` and opens
 * streams as the test asks. It waits for Connected before it sends Data, and keeps every frame, so
 * that a test can assert what an agent sends to a relay that knows version 1 only.
 *
 * Written from the protocol's text alone; it shares no code with the product.
 */
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
} from "node:http";
import { once } from "node:events";
import type { Duplex } from "node:stream";
import { ByteQueue, ByteReader } from "../support/byte_reader.ts";
import { DEFAULT_DEADLINE_MS, eventually, within } from "../support/deadline.ts";
import { type RawHead, type RawMessage, readHead, readResponse } from "../support/raw_http.ts";
import { V1, V1_MAX_MESSAGE_BYTES, type V1Frame } from "./v1_frame.ts";
import { type RecordedFrame, V1Link } from "./v1_link.ts";
import { WsAcceptor, type WsServer, type WsSocket } from "./ws.ts";

/** Bytes of Data in one frame, as a relay that copies through a buffer of this size sends them. */
const DATA_BYTES = 32 * 1024;

/** How to start a version 1 relay. */
export interface V1RelayOptions {
  /** Tokens of agents, and the cluster that each stands for. */
  readonly tokens: Readonly<Record<string, string>>;
  /** How often the relay sends Ping, in milliseconds; never without it. */
  readonly pingIntervalMs?: number;
  /** Whether recorded Data frames keep their bytes (the default). */
  readonly keepsPayloads?: boolean;
  /**
   * Called as soon as an agent is accepted. What it sends synchronously leaves in one TCP segment
   * with the handshake's answer, as it may for an agent that returns while callers wait for it.
   */
  readonly onSession?: (session: V1RelaySession) => void;
}

/** A handshake that the relay refused. */
export interface RefusedHandshake {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
}

/** A running version 1 relay. */
export interface V1Relay extends AsyncDisposable {
  /** What agents dial: `ws://host:port/connect`. */
  readonly connectUrl: string;
  /** All sessions so far, the newest last. */
  readonly sessions: readonly V1RelaySession[];
  /** Handshakes answered with 401, 403 or 404, in order. */
  readonly refused: readonly RefusedHandshake[];
  /** What agents did, in any session, that version 1 does not allow. */
  readonly violations: readonly string[];
  /** The cluster's session, awaited if there is none yet. */
  session(clusterId: string, timeoutMs?: number): Promise<V1RelaySession>;
  /**
   * One whole exchange in the cluster's session: opens a stream to `target`, sends `request` once
   * connected, reads the response and waits for the end of the stream.
   */
  request(clusterId: string, target: string, request: Uint8Array | string): Promise<V1Response>;
  /** Opens a stream that becomes a raw connection once its response's head says 101. */
  upgrade(clusterId: string, target: string, request: Uint8Array | string): Promise<V1Upgrade>;
}

/** A response with how its stream ended. */
export interface V1Response extends RawMessage {
  readonly stream: V1RelayStream;
  readonly end: V1StreamEnd;
}

/** A stream after its upgrade: raw bytes both ways. */
export interface V1Upgrade {
  readonly head: RawHead;
  readonly stream: V1RelayStream;
}

/** How a stream ended: by a frame of either side, or because the session did. */
export type V1StreamEnd =
  | { readonly kind: "close"; readonly by: "agent" | "relay" }
  | { readonly kind: "error"; readonly by: "agent"; readonly message: string }
  | { readonly kind: "session" };

/** Thrown by reads and opens of a stream that the agent ended with Error. */
export class V1StreamError extends Error {
  override name = "V1StreamError";
}

/** Starts a version 1 relay on a free loopback port. */
export async function startV1Relay(options: V1RelayOptions): Promise<V1Relay> {
  const relay = new Relay(options);
  await relay.listen();
  return relay;
}

class Relay implements V1Relay {
  readonly sessions: V1RelaySession[] = [];
  readonly refused: RefusedHandshake[] = [];
  readonly #options: V1RelayOptions;
  readonly #server: Server;
  readonly #acceptor: WsServer;
  #connectUrl = "";

  constructor(options: V1RelayOptions) {
    this.#options = options;
    this.#acceptor = new WsAcceptor({
      noServer: true,
      perMessageDeflate: false,
      maxPayload: V1_MAX_MESSAGE_BYTES,
    });
    this.#server = createServer((_request, response) => response.writeHead(404).end());
    this.#server.on(
      "upgrade",
      (request: IncomingMessage, socket: Duplex, head: Uint8Array) =>
        this.#onUpgrade(request, socket, head),
    );
  }

  async listen(): Promise<void> {
    this.#server.listen({ host: "127.0.0.1", port: 0 });
    await once(this.#server, "listening");
    const bound = this.#server.address();
    if (bound === null || typeof bound === "string") throw new Error("Relay has no TCP address");
    this.#connectUrl = `ws://127.0.0.1:${bound.port}/connect`;
  }

  get connectUrl(): string {
    return this.#connectUrl;
  }

  get violations(): readonly string[] {
    return this.sessions.flatMap((session) => session.violations);
  }

  async session(clusterId: string, timeoutMs = DEFAULT_DEADLINE_MS): Promise<V1RelaySession> {
    const find = () =>
      this.sessions.findLast((session) => session.clusterId === clusterId && !session.isClosed);
    await eventually(() => find() !== undefined, `an agent of "${clusterId}"`, timeoutMs);
    return find()!;
  }

  async request(
    clusterId: string,
    target: string,
    request: Uint8Array | string,
  ): Promise<V1Response> {
    const session = await this.session(clusterId);
    const stream = await session.open(target);
    await stream.send(request);
    const method = new TextDecoder().decode(toBytes(request).subarray(0, 16)).split(" ")[0];
    const what = () => `a response on stream ${stream.id}\n${session.summary()}`;
    const response = await within(readResponse(stream.reader, method), what);
    const end = await within(stream.ended, () => `the end of stream ${stream.id}`);
    return { ...response, stream, end };
  }

  async upgrade(
    clusterId: string,
    target: string,
    request: Uint8Array | string,
  ): Promise<V1Upgrade> {
    const session = await this.session(clusterId);
    const stream = await session.open(target);
    await stream.send(request);
    const head = await within(readHead(stream.reader), `a response on stream ${stream.id}`);
    return { head, stream };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.sessions.map((session) => session.terminate()));
    this.#acceptor.close();
    const closed = once(this.#server, "close");
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  #onUpgrade(request: IncomingMessage, socket: Duplex, head: Uint8Array): void {
    const status = this.#refusalOf(request);
    if (status !== undefined) {
      this.refused.push({ status, headers: request.headers });
      socket.end(`HTTP/1.1 ${status} Refused\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
      return;
    }
    const clusterId = this.#options.tokens[tokenOf(request)]!;
    socket.cork();
    this.#acceptor.handleUpgrade(request, socket, head, (ws) => {
      // The last agent with a token wins; the one before it is sent away.
      const older = this.sessions.filter((session) => session.clusterId === clusterId);
      for (const session of older) void session.terminate();
      const session = new V1RelaySession(ws, clusterId, request.headers, this.#options);
      this.sessions.push(session);
      this.#options.onSession?.(session);
    });
    socket.uncork();
  }

  #refusalOf(request: IncomingMessage): number | undefined {
    if (request.method !== "GET" || request.url !== "/connect") return 404;
    if (request.headers.origin !== undefined) return 403;
    return Object.hasOwn(this.#options.tokens, tokenOf(request)) ? undefined : 401;
  }
}

function tokenOf(request: IncomingMessage): string {
  return /^Bearer (.+)$/.exec(request.headers.authorization ?? "")?.[1] ?? "";
}

/** One agent's connection. */
export class V1RelaySession {
  readonly clusterId: string;
  /** The headers of the agent's handshake. */
  readonly headers: IncomingHttpHeaders;
  readonly #link: V1Link;
  readonly #streams = new Map<number, V1RelayStream>();
  #lastStreamId = 0;

  constructor(
    ws: WsSocket,
    clusterId: string,
    headers: IncomingHttpHeaders,
    options: V1RelayOptions,
  ) {
    this.clusterId = clusterId;
    this.headers = headers;
    let pings: ReturnType<typeof setInterval> | undefined;
    this.#link = new V1Link(ws, {
      watched: "agent",
      keepsPayloads: options.keepsPayloads ?? true,
      onFrame: (frame) => this.#onFrame(frame),
      onClose: () => {
        clearInterval(pings);
        this.#endAll();
      },
    });
    if (options.pingIntervalMs !== undefined) {
      pings = setInterval(() => void this.#link.send(V1.ping, 0), options.pingIntervalMs);
    }
  }

  /** Every frame, both ways. */
  get frames(): readonly RecordedFrame[] {
    return this.#link.frames;
  }

  /** What the agent did that version 1 does not allow. */
  get violations(): readonly string[] {
    return this.#link.violations;
  }

  /** Whether the session has ended. */
  get isClosed(): boolean {
    return this.#link.isClosed;
  }

  /** Resolves when the WebSocket has gone. */
  get closed(): V1Link["closed"] {
    return this.#link.closed;
  }

  /** Streams that have not ended. */
  get openStreams(): number {
    return this.#streams.size;
  }

  /** Opens a stream and waits for Connected; rejects with {@link V1StreamError} if it is refused. */
  async open(target: string, timeoutMs?: number): Promise<V1RelayStream> {
    const stream = await this.connect(target);
    await within(stream.opened, () => `Connected\n${this.summary()}`, timeoutMs);
    return stream;
  }

  /** Sends Connect and returns the stream without waiting for the agent. */
  async connect(target: string): Promise<V1RelayStream> {
    const id = ++this.#lastStreamId;
    const stream = new V1RelayStream(id, this.#link, () => this.#streams.delete(id));
    this.#streams.set(id, stream);
    await this.#link.send(V1.connect, id, new TextEncoder().encode(target));
    return stream;
  }

  /** Stops reading the WebSocket, so that the agent's writes pile up on its own side. */
  pause(): void {
    this.#link.pause();
  }

  resume(): void {
    this.#link.resume();
  }

  /** Sends Ping and waits for its Pong. */
  async ping(timeoutMs?: number): Promise<void> {
    await this.#link.ping(timeoutMs);
  }

  /** Sends any frame, also one that version 1 does not know. */
  async sendFrame(
    type: number,
    streamId: number,
    payload?: Uint8Array<ArrayBuffer>,
  ): Promise<void> {
    await this.#link.send(type, streamId, payload);
  }

  /** Sends any bytes as one binary message. */
  async sendMessage(message: Uint8Array): Promise<void> {
    await this.#link.sendMessage(message);
  }

  async waitForFrame(
    ...wait: Parameters<V1Link["waitForFrame"]>
  ): ReturnType<V1Link["waitForFrame"]> {
    return await this.#link.waitForFrame(...wait);
  }

  /** The last frames in words, for failure messages. */
  summary(): string {
    return this.#link.summary();
  }

  /** Closes the WebSocket in good order. */
  async close(code?: number, reason?: string): Promise<void> {
    await this.#link.close(code, reason);
  }

  /** Drops the TCP connection, as a crash would. */
  async terminate(): Promise<void> {
    await this.#link.terminate();
  }

  #onFrame(frame: V1Frame): void {
    this.#streams.get(frame.streamId)?.receive(frame);
  }

  #endAll(): void {
    for (const stream of [...this.#streams.values()]) stream.endWithSession();
  }
}

/** One stream, as the relay has it. */
export class V1RelayStream {
  readonly id: number;
  /** Reads the Data of the agent, to the agent's Close; throws {@link V1StreamError} at an Error. */
  readonly reader: ByteReader;
  /** Resolves at Connected; rejects if the stream ends before. */
  readonly opened: Promise<void>;
  /** Resolves when the stream has ended, in whatever way. */
  readonly ended: Promise<V1StreamEnd>;

  readonly #link: V1Link;
  readonly #onEnd: () => void;
  readonly #queue = new ByteQueue();
  readonly #opened = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<V1StreamEnd>();
  #isEnded = false;

  constructor(id: number, link: V1Link, onEnd: () => void) {
    this.id = id;
    this.#link = link;
    this.#onEnd = onEnd;
    this.reader = new ByteReader(() => this.#queue.next());
    this.opened = this.#opened.promise;
    this.ended = this.#ended.promise;
    // A stream that is refused while nobody waits for it is no unhandled error.
    this.opened.catch(() => undefined);
  }

  /** Sends bytes as Data frames of at most `frameBytes`; resolves once they have been written. */
  async send(bytes: Uint8Array | string, frameBytes = DATA_BYTES): Promise<void> {
    const all = toBytes(bytes);
    for (let at = 0; at < all.length && !this.#isEnded; at += frameBytes) {
      await this.#link.send(V1.data, this.id, all.slice(at, at + frameBytes));
    }
  }

  /** Ends the stream with Close. */
  async close(): Promise<void> {
    if (this.#isEnded) return;
    this.#end({ kind: "close", by: "relay" });
    await this.#link.send(V1.close, this.id);
  }

  /** Takes a frame of this stream from the agent. */
  receive({ type, payload }: V1Frame): void {
    if (type === V1.connected) this.#opened.resolve();
    if (type === V1.data) this.#queue.push(payload);
    if (type === V1.close) this.#end({ kind: "close", by: "agent" });
    if (type === V1.error) {
      this.#end({ kind: "error", by: "agent", message: new TextDecoder().decode(payload) });
    }
  }

  /** The WebSocket has gone, and the stream with it. */
  endWithSession(): void {
    this.#end({ kind: "session" });
  }

  #end(end: V1StreamEnd): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    const failure = failureOf(end);
    this.#queue.end(failure);
    this.#opened.reject(failure ?? new V1StreamError("Stream was closed before Connected"));
    this.#ended.resolve(end);
    this.#onEnd();
  }
}

function failureOf(end: V1StreamEnd): Error | undefined {
  switch (end.kind) {
    case "close":
      return undefined;
    case "error":
      return new V1StreamError(end.message);
    case "session":
      return new V1StreamError("Session ended before the stream did");
  }
}

function toBytes(bytes: Uint8Array | string): Uint8Array<ArrayBuffer> {
  return typeof bytes === "string" ? new TextEncoder().encode(bytes) : new Uint8Array(bytes);
}
