/** Sessions, their peers and the owners of their streams, as the tests of this room need them. */
import { StreamError } from "../../lib/protocol/errors.ts";
import { Session } from "../../lib/protocol/session.ts";
import type { SessionOptions } from "../../lib/protocol/session_options.ts";
import type { SessionEnd } from "../../lib/protocol/session_end.ts";
import { defaultSettings, type Settings } from "../../lib/protocol/settings.ts";
import type { TunnelSocket, TunnelSocketEvents } from "../../lib/protocol/socket.ts";
import type { Stream } from "../../lib/protocol/stream.ts";
import type { StreamEvents } from "../../lib/protocol/stream_events.ts";
import { within } from "../support/deadline.ts";
import { Changes } from "./changes.ts";
import type { Role, Transport, Wire } from "./transports.ts";
import { bytesOf, type Frame, frame, framesOf, joined, T } from "./wire.ts";

/** Settings of the tests' sessions. */
export const relaySettings: Settings = {
  ...defaultSettings,
  instance: "relay-instance",
  software: "culvert-relay/test",
};
export const agentSettings: Settings = {
  ...defaultSettings,
  instance: "agent-instance",
  software: "culvert-agent/test",
};

/** A stream's owner that keeps what it is told. */
export class StreamLog implements StreamEvents {
  readonly stream: Stream;
  /** What happened besides data, in order: `end`, `closed`, `failed CODE: MESSAGE`. */
  readonly events: string[] = [];
  /** Whether bytes are taken as they come. */
  takesAtOnce: boolean;
  /** The most bytes that had arrived and were not taken. */
  maxUnconsumed = 0;
  drainedCount = 0;
  /** Bytes that have arrived. */
  length = 0;
  #pieces: Uint8Array[] = [];
  #unconsumed = 0;
  readonly #changes = new Changes();

  constructor(stream: Stream, { takesAtOnce = true } = {}) {
    this.stream = stream;
    this.takesAtOnce = takesAtOnce;
    stream.listen(this);
  }

  /** All bytes that have arrived. */
  get bytes(): Uint8Array {
    return joined(...this.#pieces);
  }

  /** What has arrived, as text. */
  get text(): string {
    return new TextDecoder().decode(this.bytes);
  }

  data(bytes: Uint8Array): void {
    this.#pieces.push(Uint8Array.from(bytes));
    this.length += bytes.length;
    this.#unconsumed += bytes.length;
    this.maxUnconsumed = Math.max(this.maxUnconsumed, this.#unconsumed);
    if (this.takesAtOnce) this.takeAll();
    this.#changes.happened();
  }

  end(): void {
    this.#note("end");
  }

  closed(): void {
    this.#note("closed");
  }

  failed(error: StreamError): void {
    this.#note(`failed ${error.code}: ${error.message}`);
  }

  drained(): void {
    this.drainedCount++;
    this.#changes.happened();
  }

  /** Reports everything that has arrived as taken. */
  takeAll(): void {
    const bytes = this.#unconsumed;
    this.#unconsumed = 0;
    this.stream.consumed(bytes);
  }

  /** Takes what is there and, from now on, what comes. */
  flow(): void {
    this.takesAtOnce = true;
    this.takeAll();
  }

  /** Writes all bytes in pieces, waiting whenever the stream says so. */
  async send(bytes: Uint8Array, pieceBytes = 10_000): Promise<void> {
    for (let at = 0; at < bytes.length; at += pieceBytes) {
      const before = this.drainedCount;
      if (this.stream.write(bytes.subarray(at, at + pieceBytes))) continue;
      await this.until(() => this.drainedCount > before, "room in the stream");
    }
  }

  /** Resolves once the condition holds. */
  until(condition: () => boolean, what: string): Promise<void> {
    return this.#changes.until(condition, () => `${what} (so far ${this.#summary()})`);
  }

  /** Resolves once so many bytes have arrived. */
  untilBytes(count: number): Promise<void> {
    return this.until(() => this.length >= count, `${count} bytes`);
  }

  /** Resolves once an event of this kind has come. */
  untilEvent(kind: "end" | "closed" | "failed"): Promise<void> {
    return this.until(() => this.events.some((event) => event.startsWith(kind)), kind);
  }

  #note(event: string): void {
    this.events.push(event);
    this.#changes.happened();
  }

  #summary(): string {
    return `${this.length} bytes, [${this.events.join("; ")}]`;
  }
}

/** A stream that the agent's session was asked to open. */
export interface Accepted {
  readonly target: string;
  readonly log: StreamLog;
}

/** How a pair of sessions differs from the usual. */
export interface PairOptions {
  relay?: Partial<SessionOptions>;
  agent?: Partial<SessionOptions>;
  /** Whether agents' streams are taken as they come. */
  takesAtOnce?: boolean;
  /** Deals with agents' streams in place of the pair's own logs. */
  opened?: (stream: Stream, target: string) => void;
}

/** A relay's and an agent's session at the two ends of a WebSocket. */
export class SessionPair implements AsyncDisposable {
  readonly wire: Wire;
  readonly relay: Session;
  readonly agent: Session;
  /** Streams that the agent's session got, in order. */
  readonly accepted: Accepted[] = [];
  /** Sides that were asked for no new streams. */
  readonly drainingEvents: Role[] = [];
  readonly faults: unknown[] = [];
  readonly #changes = new Changes();

  private constructor(wire: Wire, transport: Transport, options: PairOptions) {
    this.wire = wire;
    this.relay = new Session(wire.relay, {
      role: "relay",
      settings: relaySettings,
      offersVersion2: true,
      defer: transport.defer,
      ...options.relay,
      events: { ...this.#events("relay", options), ...options.relay?.events },
    });
    this.agent = new Session(wire.agent, {
      role: "agent",
      settings: agentSettings,
      offersVersion2: true,
      defer: transport.defer,
      ...options.agent,
      events: { ...this.#events("agent", options), ...options.agent?.events },
    });
  }

  /** Connects two sessions that may not have settled their version yet. */
  static async connect(transport: Transport, options: PairOptions = {}): Promise<SessionPair> {
    return new SessionPair(await transport.connect(), transport, options);
  }

  /** Connects two sessions and waits until both speak version 2. */
  static async ready(transport: Transport, options: PairOptions = {}): Promise<SessionPair> {
    const pair = await SessionPair.connect(transport, options);
    await within(Promise.all([pair.relay.ready, pair.agent.ready]), "both sessions to be ready");
    return pair;
  }

  /** Opens a stream at the relay and waits for it at the agent. */
  async open(first: Uint8Array | string = "", target = "target:1"): Promise<[StreamLog, Accepted]> {
    const count = this.accepted.length;
    const log = new StreamLog(this.relay.open(target, bytesOf(first)));
    return [log, await this.acceptedAt(count)];
  }

  /** The stream that the agent got as its `index`th, once it has. */
  async acceptedAt(index: number): Promise<Accepted> {
    await this.#changes.until(
      () => this.accepted.length > index,
      () => `stream ${index} at the agent (${this.accepted.length} so far)`,
    );
    return this.accepted[index]!;
  }

  /** Resolves once this side was asked for no new streams. */
  untilDraining(role: Role): Promise<void> {
    const condition = () => this.drainingEvents.includes(role);
    return this.#changes.until(condition, () => `Drain to reach the ${role}`);
  }

  /** How both sessions ended. */
  async ends(): Promise<{ relay: SessionEnd; agent: SessionEnd }> {
    const both = Promise.all([this.relay.closed, this.agent.closed]);
    const [relay, agent] = await within(both, "both sessions to end");
    return { relay, agent };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const session of [this.relay, this.agent]) session.close(1001, "The test is over");
    await this.wire[Symbol.asyncDispose]();
    if (this.faults.length > 0) throw new AggregateError(this.faults, "A session had a fault");
  }

  #events(role: Role, { takesAtOnce = true, opened }: PairOptions) {
    return {
      opened: (stream: Stream, target: string) => {
        if (opened) return opened(stream, target);
        this.accepted.push({ target, log: new StreamLog(stream, { takesAtOnce }) });
        this.#changes.happened();
      },
      draining: () => {
        this.drainingEvents.push(role);
        this.#changes.happened();
      },
      fault: (error: unknown) => {
        this.faults.push(error);
      },
    };
  }
}

/** A peer that sends whatever bytes a test wants and keeps the frames that come. */
export class RawPeer implements TunnelSocketEvents {
  readonly socket: TunnelSocket;
  /** All frames, those of a Batch one by one. */
  readonly frames: Frame[] = [];
  /** Whether several frames have come in one message. */
  hasSeenBatch = false;
  /** How the socket closed. */
  end: SessionEnd | undefined;
  readonly #changes = new Changes();

  constructor(socket: TunnelSocket) {
    this.socket = socket;
    socket.listen(this);
  }

  message(bytes: Uint8Array): void {
    this.hasSeenBatch ||= bytes[0] === T.Batch;
    for (const item of framesOf(Uint8Array.from(bytes))) this.frames.push(item);
    this.#changes.happened();
  }

  text(): void {
    throw new Error("A session sent a text message");
  }

  closed(code: number, reason: string): void {
    this.end = { code, reason };
    this.#changes.happened();
  }

  drained(): void {}

  /** Sends messages as they are. */
  send(...messages: Uint8Array[]): void {
    for (const message of messages) this.socket.send(message);
  }

  /** Sends Settings. */
  sendSettings(settings: Settings): void {
    this.send(frame(T.Settings, 0, JSON.stringify(settings)));
  }

  /** The first frame of a type, on a stream if given, once it has come. */
  async frame(type: number, stream?: number): Promise<Frame> {
    const isWanted = (item: Frame) =>
      item.type === type && (stream === undefined || item.stream === stream);
    await this.until(
      () => this.frames.some(isWanted),
      `frame ${type} on stream ${stream ?? "any"}`,
    );
    return this.frames.find(isWanted)!;
  }

  /** Proves that the session has dealt with everything sent so far and is still there. */
  async roundTrip(): Promise<void> {
    const mark = crypto.getRandomValues(new Uint8Array(8));
    this.send(frame(T.Ping, 0, mark));
    const isEcho = (item: Frame) =>
      item.type === T.Pong && item.payload.every((byte, index) => byte === mark[index]);
    await this.until(() => this.frames.some(isEcho), "the Pong");
  }

  /** How the socket closed, once it has. */
  async ended(): Promise<SessionEnd> {
    await this.#changes.until(() => this.end !== undefined, () => "the close to reach the peer");
    return this.end!;
  }

  /** Resolves once the condition holds; fails at once when the socket closes before. */
  async until(condition: () => boolean, what: string): Promise<void> {
    await this.#changes.until(() => condition() || this.end !== undefined, () => what);
    if (condition()) return;
    throw new Error(`Closed with ${this.end!.code} "${this.end!.reason}" before ${what}`);
  }
}

/** A session of one role, and a peer under the test's control. */
export class RawPair implements AsyncDisposable {
  readonly wire: Wire;
  readonly session: Session;
  readonly peer: RawPeer;
  readonly role: Role;
  readonly transport: Transport;
  /** Streams that the session got (agents only). */
  readonly accepted: Accepted[] = [];
  readonly faults: unknown[] = [];

  private constructor(
    wire: Wire,
    role: Role,
    transport: Transport,
    options: Partial<SessionOptions>,
  ) {
    this.wire = wire;
    this.role = role;
    this.transport = transport;
    this.peer = new RawPeer(role === "relay" ? wire.agent : wire.relay);
    this.session = new Session(role === "relay" ? wire.relay : wire.agent, {
      role,
      settings: role === "relay" ? relaySettings : agentSettings,
      offersVersion2: true,
      defer: transport.defer,
      ...options,
      events: {
        opened: (stream, target) => this.accepted.push({ target, log: new StreamLog(stream) }),
        fault: (error) => this.faults.push(error),
        ...options.events,
      },
    });
  }

  /** Connects; nothing has been said yet. */
  static async connect(
    transport: Transport,
    role: Role,
    options: Partial<SessionOptions> = {},
  ): Promise<RawPair> {
    return new RawPair(await transport.connect(), role, transport, options);
  }

  /** Connects and exchanges Settings. */
  static async ready(
    transport: Transport,
    role: Role,
    options: Partial<SessionOptions> = {},
    peerSettings: Partial<Settings> = {},
  ): Promise<RawPair> {
    const pair = await RawPair.connect(transport, role, options);
    const settings = role === "relay" ? agentSettings : relaySettings;
    pair.peer.sendSettings({ ...settings, ...peerSettings });
    await within(pair.session.ready, "the session to be ready");
    await pair.peer.frame(T.Settings);
    return pair;
  }

  /** The code that reaches the peer when the session closes with `code`. */
  codeOnWire(code: number): number {
    const isStandard = this.transport.hasStandardAgent && this.role === "agent";
    return isStandard && code < 3_000 ? code + 2_000 : code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.session.close(1001, "The test is over");
    await this.wire[Symbol.asyncDispose]();
    if (this.faults.length > 0) throw new AggregateError(this.faults, "The session had a fault");
  }
}

/** A socket that does nothing by itself: the test plays the network. */
export class ManualSocket implements TunnelSocket {
  readonly sent: Uint8Array[] = [];
  bufferedAmount = 0;
  closedWith: SessionEnd | undefined;
  isTerminated = false;
  isPaused = false;
  events!: TunnelSocketEvents;

  listen(events: TunnelSocketEvents): void {
    this.events = events;
  }

  send(message: Uint8Array, sent?: () => void): void {
    this.sent.push(Uint8Array.from(message));
    sent?.();
  }

  close(code: number, reason: string): void {
    this.closedWith ??= { code, reason };
  }

  terminate(): void {
    this.isTerminated = true;
  }

  pause(): void {
    this.isPaused = true;
  }

  resume(): void {
    this.isPaused = false;
  }

  /** Takes out the frames of all messages sent so far. */
  takeFrames(): Frame[] {
    return this.sent.splice(0).flatMap(framesOf);
  }
}
