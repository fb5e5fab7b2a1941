/**
 * A version 1 agent for the tests, as argocd-cluster-proxy describes it: it dials the relay, opens a plain TCP
 * connection to its target per stream, puts its own credential into the request's head and pipes the
 * rest. It is deliberately as unforgiving as the real one: it knows a stream only once the target is
 * dialled, so Data and Close that arrive before are lost.
 *
 * Written from the protocol's text alone; it shares no code with the product.
 */
import { connect, type Socket } from "node:net";
import { concatBytes, indexOfBytes } from "../support/byte_reader.ts";
import { splitAddress } from "../support/raw_connection.ts";
import { V1, V1_MAX_MESSAGE_BYTES, type V1Frame } from "./v1_frame.ts";
import { type RecordedFrame, V1Link } from "./v1_link.ts";
import { WsClient, type WsSocket } from "./ws.ts";

/** Bytes waiting in the WebSocket over which the agent stops reading its targets. */
const SEND_HIGH_WATER_BYTES = 1024 * 1024;

/** How to start a version 1 agent. */
export interface V1AgentOptions {
  /** The relay's `ws://host:port/connect`. */
  readonly relayUrl: string;
  /** The cluster's pre-shared token. */
  readonly token: string;
  /** The only `host:port` that the agent dials. */
  readonly target: string;
  /** The ServiceAccount token that the agent injects; without one it injects nothing. */
  readonly credential?: string;
  /** Further headers of the handshake, such as `Origin`. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Awaited before a target is dialled, so that a test can hold Connected back. */
  readonly beforeDial?: (streamId: number) => Promise<void>;
  /** Whether recorded Data frames keep their bytes (the default). */
  readonly keepsPayloads?: boolean;
}

/** The relay answered the handshake with something else than 101. */
export class V1HandshakeError extends Error {
  override name = "V1HandshakeError";
  readonly status: number;

  constructor(status: number) {
    super(`Relay refused the handshake with status ${status}`);
    this.status = status;
  }
}

/** A connected version 1 agent. */
export interface V1Agent extends AsyncDisposable {
  /** Every frame, both ways. */
  readonly frames: readonly RecordedFrame[];
  /** What the relay did that version 1 does not allow. */
  readonly violations: readonly string[];
  /** Bytes of Data that were lost because no dialled target was there for them. */
  readonly droppedBytes: number;
  /** Streams with a dialled target now. */
  readonly openStreams: number;
  /** Resolves when the WebSocket has gone. */
  readonly closed: V1Link["closed"];
  /** Stops reading the WebSocket, so that the relay's writes pile up on its own side. */
  pause(): void;
  resume(): void;
  /** Sends Ping and waits for its Pong. */
  ping(timeoutMs?: number): Promise<void>;
  /** Sends any frame, also one that version 1 does not know. */
  sendFrame(type: number, streamId: number, payload?: Uint8Array<ArrayBuffer>): Promise<void>;
  /** Sends any bytes as one binary message. */
  sendMessage(message: Uint8Array): Promise<void>;
  waitForFrame: V1Link["waitForFrame"];
  /** The last frames in words, for failure messages. */
  summary(): string;
  /** Closes the WebSocket in good order. */
  close(): Promise<void>;
  /** Drops the TCP connection, as a crash would. */
  terminate(): Promise<void>;
}

/**
 * Connects to the relay; rejects with {@link V1HandshakeError} when the relay refuses, or with the
 * socket's error when it cannot be reached.
 */
export async function startV1Agent(options: V1AgentOptions): Promise<V1Agent> {
  const ws = new WsClient(options.relayUrl, {
    headers: { authorization: `Bearer ${options.token}`, ...options.headers },
    perMessageDeflate: false,
    maxPayload: V1_MAX_MESSAGE_BYTES,
  });
  // The first frames may arrive with the handshake's answer, so the agent listens before it awaits.
  const agent = new Agent(ws, options);
  try {
    await opened(ws);
  } catch (error) {
    await agent.closed;
    throw error;
  }
  return agent;
}

async function opened(ws: WsSocket): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    ws.on("open", () => resolve());
    ws.on("error", reject);
    ws.on("unexpected-response", (_request, response) => {
      reject(new V1HandshakeError(response.statusCode ?? 0));
      response.destroy();
      ws.terminate();
    });
  });
}

class Agent implements V1Agent {
  readonly #options: V1AgentOptions;
  readonly #link: V1Link;
  readonly #streams = new Map<number, AgentStream>();
  /** Attempts to dial the target for streams that are not registered yet. */
  readonly #dials = new Set<Dial>();
  /** Streams whose connection to the target has not gone yet, ended ones too. */
  readonly #unfinished = new Set<AgentStream>();
  readonly #work = new Set<Promise<void>>();
  #droppedBytes = 0;

  constructor(ws: WsSocket, options: V1AgentOptions) {
    this.#options = options;
    this.#link = new V1Link(ws, {
      watched: "relay",
      keepsPayloads: options.keepsPayloads ?? true,
      onFrame: (frame) => this.#onFrame(frame),
      onClose: () => this.#endAll(),
    });
  }

  get frames(): readonly RecordedFrame[] {
    return this.#link.frames;
  }

  get violations(): readonly string[] {
    return this.#link.violations;
  }

  get droppedBytes(): number {
    return this.#droppedBytes;
  }

  get openStreams(): number {
    return this.#streams.size;
  }

  get closed(): V1Link["closed"] {
    return this.#link.closed;
  }

  pause(): void {
    this.#link.pause();
  }

  resume(): void {
    this.#link.resume();
  }

  async ping(timeoutMs?: number): Promise<void> {
    await this.#link.ping(timeoutMs);
  }

  async sendFrame(
    type: number,
    streamId: number,
    payload?: Uint8Array<ArrayBuffer>,
  ): Promise<void> {
    await this.#link.send(type, streamId, payload);
  }

  async sendMessage(message: Uint8Array): Promise<void> {
    await this.#link.sendMessage(message);
  }

  async waitForFrame(
    ...wait: Parameters<V1Link["waitForFrame"]>
  ): ReturnType<V1Link["waitForFrame"]> {
    return await this.#link.waitForFrame(...wait);
  }

  summary(): string {
    return this.#link.summary();
  }

  async close(): Promise<void> {
    await this.#link.close();
  }

  async terminate(): Promise<void> {
    await this.#link.terminate();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#link.terminate();
    await Promise.all(this.#work);
  }

  #onFrame(frame: V1Frame): void {
    switch (frame.type) {
      case V1.connect:
        return this.#track(this.#open(frame.streamId, new TextDecoder().decode(frame.payload)));
      case V1.data:
        return this.#onData(frame);
      case V1.close:
      case V1.error:
        this.#streams.get(frame.streamId)?.end();
        this.#streams.delete(frame.streamId);
    }
  }

  #onData({ streamId, payload }: V1Frame): void {
    const stream = this.#streams.get(streamId);
    if (stream) stream.receive(payload);
    else this.#droppedBytes += payload.length;
  }

  /** Dials the target for a new stream; only then is the stream registered and Connected sent. */
  async #open(streamId: number, address: string): Promise<void> {
    if (address !== this.#options.target) {
      await this.#sendError(streamId, "address not allowed");
      return;
    }
    const dial = new Dial();
    this.#dials.add(dial);
    try {
      // A test that fails while it holds Connected back must not hold up the end of the agent too.
      await Promise.race([this.#options.beforeDial?.(streamId), this.#link.closed]);
      const socket = await dial.connect(address);
      if (socket) this.#register(streamId, socket);
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      await this.#sendError(streamId, `dial ${address}: ${text}`);
    } finally {
      this.#dials.delete(dial);
    }
  }

  #register(streamId: number, socket: Socket): void {
    const stream = new AgentStream(socket, this.#link, streamId, this.#options.credential);
    this.#streams.set(streamId, stream);
    this.#unfinished.add(stream);
    this.#track(stream.finished.then(() => {
      this.#unfinished.delete(stream);
      if (this.#streams.get(streamId) === stream) this.#streams.delete(streamId);
    }));
    this.#track(this.#link.send(V1.connected, streamId));
  }

  async #sendError(streamId: number, text: string): Promise<void> {
    await this.#link.send(V1.error, streamId, new TextEncoder().encode(text));
  }

  #endAll(): void {
    for (const dial of this.#dials) dial.abandon();
    for (const stream of this.#unfinished) stream.abort();
    this.#streams.clear();
  }

  #track(work: Promise<void>): void {
    this.#work.add(work);
    void work.finally(() => this.#work.delete(work));
  }
}

/** An attempt to connect to the target, given up when the session ends. */
class Dial {
  #isAbandoned = false;
  #socket: Socket | undefined;

  /** The connected socket, or undefined when the attempt was abandoned. */
  async connect(address: string): Promise<Socket | undefined> {
    if (this.#isAbandoned) return undefined;
    const socket = connect(splitAddress(address));
    this.#socket = socket;
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
      socket.once("close", () => resolve());
    });
    return this.#isAbandoned ? undefined : socket;
  }

  abandon(): void {
    this.#isAbandoned = true;
    this.#socket?.destroy();
  }
}

/** One stream with its dialled target. */
class AgentStream {
  /** Resolves when the connection to the target has gone. */
  readonly finished: Promise<void>;
  readonly #socket: Socket;
  readonly #link: V1Link;
  readonly #streamId: number;
  readonly #credential: string | undefined;
  /** The bytes of the request's head so far; undefined once it has been forwarded. */
  #head: Uint8Array | undefined = new Uint8Array(0);
  #isEndedByRelay = false;
  #holdsLink = false;

  constructor(socket: Socket, link: V1Link, streamId: number, credential: string | undefined) {
    this.#socket = socket;
    this.#link = link;
    this.#streamId = streamId;
    this.#credential = credential;
    this.finished = this.#follow();
  }

  /** Takes bytes from the relay: the head with the credential put in, everything else as it is. */
  receive(payload: Uint8Array): void {
    if (this.#head === undefined) return this.#forward(payload);
    const bytes = concatBytes([this.#head, payload]);
    const end = indexOfBytes(bytes, HEAD_END);
    if (end < 0) {
      this.#head = bytes;
      return;
    }
    this.#head = undefined;
    const bodyAt = end + HEAD_END.length;
    this.#forward(withCredential(bytes.subarray(0, bodyAt), this.#credential));
    if (bytes.length > bodyAt) this.#forward(bytes.subarray(bodyAt));
  }

  /** Ends the connection to the target after what was written to it. */
  end(): void {
    this.#isEndedByRelay = true;
    this.#socket.destroySoon();
  }

  /** Gives up the connection to the target at once. */
  abort(): void {
    this.#isEndedByRelay = true;
    this.#socket.destroy();
  }

  #forward(bytes: Uint8Array): void {
    if (this.#socket.destroyed || this.#socket.write(bytes) || this.#holdsLink) return;
    // A target that does not read holds up the whole session: version 1 has no other valve.
    this.#holdsLink = true;
    this.#link.pause();
    this.#socket.once("drain", () => this.#releaseLink());
  }

  #releaseLink(): void {
    if (!this.#holdsLink) return;
    this.#holdsLink = false;
    this.#link.resume();
  }

  async #follow(): Promise<void> {
    const socket = this.#socket;
    socket.setNoDelay(true);
    socket.on("data", (chunk: Uint8Array) => this.#sendData(chunk));
    let failure: Error | undefined;
    socket.on("error", (error: Error) => failure = error);
    await new Promise<void>((resolve) => socket.once("close", () => resolve()));
    this.#releaseLink();
    if (this.#isEndedByRelay) return;
    if (!failure) return await this.#link.send(V1.close, this.#streamId);
    await this.#link.send(V1.error, this.#streamId, new TextEncoder().encode(failure.message));
  }

  #sendData(chunk: Uint8Array): void {
    if (this.#isEndedByRelay) return;
    const sent = this.#link.send(V1.data, this.#streamId, new Uint8Array(chunk));
    if (this.#link.bufferedBytes <= SEND_HIGH_WATER_BYTES) return;
    this.#socket.pause();
    void sent.then(() => this.#socket.resume());
  }
}

const HEAD_END = new TextEncoder().encode("\r\n\r\n");

/** A request's head with `credential` in the place of any credential that was there. */
function withCredential(head: Uint8Array, credential: string | undefined): Uint8Array {
  if (credential === undefined) return head;
  // One character per byte, so that every byte of the head stays as it is.
  const text = Array.from(head, (byte) => String.fromCharCode(byte)).join("");
  const kept = text.split("\r\n").filter((line) => !/^authorization:/i.test(line));
  kept.splice(1, 0, `Authorization: Bearer ${credential}`);
  return Uint8Array.from(kept.join("\r\n"), (character) => character.charCodeAt(0));
}
