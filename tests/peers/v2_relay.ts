/**
 * A version 2 relay for the tests: it accepts agents at `/connect`, opens streams as the test asks and
 * sends exactly the frames and bytes that the test gives it, wrong ones too.
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
import { eventually } from "../support/deadline.ts";
import { V1_MAX_MESSAGE_BYTES } from "./v1_frame.ts";
import {
  encodeV2Frame,
  jsonPayload,
  openPayload,
  parseJson,
  V2,
  type V2Frame,
  type V2Settings,
} from "./v2_frame.ts";
import { V2Link, v2Settings } from "./v2_link.ts";
import { V2Stream } from "./v2_stream.ts";
import { WsAcceptor, type WsServer, type WsSocket } from "./ws.ts";

/** How to start a version 2 relay. */
export interface V2RelayOptions {
  /** The token that agents must show; all others are answered with 401. */
  readonly token: string;
  /** What the relay's Settings say instead of the defaults. */
  readonly settings?: Partial<V2Settings>;
  /** The whole payloads of the first sessions' Settings, in order; later ones say `settings`. */
  readonly firstSettings?: readonly Uint8Array[];
}

/** A listening relay. Disposing it drops all sessions. */
export class V2Relay implements AsyncDisposable {
  /** All sessions so far, the newest last. */
  readonly sessions: V2RelaySession[] = [];
  readonly #options: V2RelayOptions;
  readonly #acceptor: WsServer;
  readonly #server: Server;
  #connectUrl = "";

  private constructor(options: V2RelayOptions) {
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

  /** Starts a relay on a free loopback port. */
  static async start(options: V2RelayOptions): Promise<V2Relay> {
    const relay = new V2Relay(options);
    relay.#server.listen({ host: "127.0.0.1", port: 0 });
    await once(relay.#server, "listening");
    const bound = relay.#server.address();
    if (bound === null || typeof bound === "string") throw new Error("Relay has no TCP address");
    relay.#connectUrl = `ws://127.0.0.1:${bound.port}/connect`;
    return relay;
  }

  /** What agents dial: `ws://host:port/connect`. */
  get connectUrl(): string {
    return this.#connectUrl;
  }

  /** A session that is open and has the agent's Settings, awaited if there is none. */
  async session(): Promise<V2RelaySession> {
    const find = () => this.sessions.findLast(({ isReady }) => isReady);
    await eventually(() => find() !== undefined, "an agent's Settings");
    return find()!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.sessions.map(({ link }) => link.terminate()));
    this.#acceptor.close();
    const closed = once(this.#server, "close");
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  #onUpgrade(request: IncomingMessage, socket: Duplex, head: Uint8Array): void {
    if (request.headers.authorization !== `Bearer ${this.#options.token}`) {
      socket.end("HTTP/1.1 401 Refused\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
      return;
    }
    this.#acceptor.handleUpgrade(request, socket, head, (ws) => {
      const { settings, firstSettings = [] } = this.#options;
      const payload = firstSettings[this.sessions.length] ?? jsonPayload(v2Settings(settings));
      this.sessions.push(new V2RelaySession(ws, request.headers, payload));
    });
  }
}

/** How a stream is opened. */
export interface V2OpenOptions {
  /** Bytes of the request that go with Open; the rest follows as Data. All by default. */
  readonly firstBytes?: number;
  /** Whether End follows the request (the default). */
  readonly ends?: boolean;
  /** Whether every byte of the answer is credited at once (the default). */
  readonly grantsCredit?: boolean;
}

/** One agent's connection. */
export class V2RelaySession {
  readonly link: V2Link;
  /** The headers of the agent's handshake. */
  readonly headers: IncomingHttpHeaders;
  /** What the agent has announced, in order. */
  readonly announcements: Record<string, unknown>[] = [];
  readonly #streams = new Map<number, V2Stream>();
  #settings: Record<string, unknown> | undefined;
  #lastStreamId = 0;

  constructor(ws: WsSocket, headers: IncomingHttpHeaders, settings: Uint8Array) {
    this.headers = headers;
    this.link = new V2Link(ws, {
      onFrame: (frame) => this.#onFrame(frame),
      onClose: () => {
        for (const stream of [...this.#streams.values()]) stream.endWithSession();
      },
    });
    void this.link.send(V2.settings, 0, settings);
  }

  /** Whether the session is open and the agent has sent its Settings. */
  get isReady(): boolean {
    return this.#settings !== undefined && !this.link.isClosed;
  }

  /** What the agent's Settings say. */
  get settings(): Record<string, unknown> {
    if (!this.#settings) throw new Error("The agent has not sent its Settings");
    return this.#settings;
  }

  /** Bytes that may be sent on a new stream. */
  get window(): number {
    return Number(this.settings.window);
  }

  /** Opens a stream with a request, within the agent's credit. */
  async open(
    target: string,
    request: Uint8Array,
    { firstBytes = request.length, ends = true, grantsCredit = true }: V2OpenOptions = {},
  ): Promise<V2Stream> {
    const stream = this.newStream(grantsCredit);
    const first = request.subarray(0, Math.min(firstBytes, this.window));
    stream.spent(first.length);
    await this.link.sendMessage(encodeV2Frame(V2.open, stream.id, openPayload(target, first)));
    await stream.send(request.subarray(first.length));
    if (ends) await stream.end();
    return stream;
  }

  /** A stream of which the agent knows nothing yet: the test sends its Open itself. */
  newStream(grantsCredit = true): V2Stream {
    const id = ++this.#lastStreamId;
    const onOver = () => this.#streams.delete(id);
    const stream = new V2Stream(id, this.link, { credit: this.window, grantsCredit, onOver });
    this.#streams.set(id, stream);
    return stream;
  }

  #onFrame(frame: V2Frame): void {
    if (frame.type === V2.settings) this.#settings = parseJson(frame.payload);
    else if (frame.type === V2.announce) this.announcements.push(parseJson(frame.payload));
    else this.#streams.get(frame.streamId)?.receive(frame);
  }
}
