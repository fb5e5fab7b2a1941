/**
 * A bare connection as an exchange: a request to be joined to a channel, which is answered with
 * nothing but the channel's bytes, or with a reset.
 */
import { noBytes } from "../bytes/bytes.ts";
import type { Framing } from "../http1/body.ts";
import { type Field, field, type RequestHead, type ResponseHead } from "../http1/head.ts";
import type { ByteSocket } from "./byte_socket.ts";
import type { Channel } from "./channel.ts";
import type {
  BodyConsumer,
  EndDecision,
  Exchange,
  ExchangeEnd,
  Peer,
  Progress,
} from "./exchange.ts";
import { pipe, type PipeProgress } from "./pipe.ts";

const nobody = (): void => {};

/** A connection of which nothing has been read; its socket is paused. */
export interface BareConnection {
  readonly socket: ByteSocket;
  readonly peer: Peer;
}

/** What a bare connection asks for. */
export interface SocketRequest extends BareConnection {
  /** The path for the log and for other relays. */
  readonly path: string;
  readonly host: string;
  /** The protocol of the channel's bytes between relays. */
  readonly upgrade: string;
}

/** One connection. Its socket is paused, and nothing of it has been read. */
export class SocketExchange implements Exchange {
  readonly head: RequestHead;
  readonly framing: Framing = { kind: "none" };
  peer: Peer;
  readonly isBodyDone = true;
  readonly takesChunks = true;
  answerField: Field | undefined;
  beforeEnd: ((end: ExchangeEnd, settle: (decision: EndDecision) => void) => void) | undefined;
  onAborted: () => void = nobody;
  onDrain: () => void = nobody;
  onEnd: (end: ExchangeEnd) => void = nobody;
  readonly #socket: ByteSocket;
  readonly #startMs = performance.now();
  #respondedMs: number | undefined;
  #pipe: PipeProgress | undefined;
  #state: "open" | "joined" | "over" = "open";
  #status = 0;

  constructor({ socket, peer, path, host, upgrade }: SocketRequest) {
    this.#socket = socket;
    this.peer = peer;
    const fields = [
      field("Host", host),
      field("Connection", "Upgrade"),
      field("Upgrade", upgrade),
    ];
    this.head = { method: "GET", target: path, minor: 1, fields };
    socket.on("error", nobody);
    socket.on("close", () => this.#closed());
  }

  get isAnswered(): boolean {
    return this.#state !== "open";
  }

  get isOver(): boolean {
    return this.#state === "over";
  }

  readBody(consumer: BodyConsumer): void {
    consumer.end();
  }

  pauseBody(): void {}

  resumeBody(): void {}

  inform(): boolean {
    return true;
  }

  /** Whatever the answer is, a client that speaks no HTTP can't read it. */
  respond(status: number): void {
    this.#refuse(status);
  }

  write(): boolean {
    return true;
  }

  finish(): void {}

  answer(status: number): void {
    this.#refuse(status);
  }

  abort(): void {
    if (this.#state === "over") return;
    this.#socket.resetAndDestroy();
    if (this.#state === "open") this.#ended(0, 0, false);
  }

  switchProtocols(
    { status }: ResponseHead,
    _fields: readonly Field[],
    channel: Channel,
    rest: Uint8Array,
  ): string | undefined {
    if (this.#state !== "open") return "The client has gone";
    this.#state = "joined";
    this.#status = status;
    this.#respondedMs = performance.now();
    this.#pipe = pipe(this.#socket, channel, {
      head: noBytes,
      streamHead: rest,
      closed: (bytes, bytesIn) => this.#ended(bytes, bytesIn, true),
    });
    return undefined;
  }

  progress(): Progress {
    return { bytes: this.#pipe?.toSocket ?? 0, bytesIn: this.#pipe?.fromSocket ?? 0 };
  }

  #refuse(status: number): void {
    if (this.#state !== "open") return;
    this.#status = status;
    this.#socket.resetAndDestroy();
    this.#ended(0, 0, true);
  }

  #closed(): void {
    if (this.#state !== "open") return;
    this.onAborted();
    this.#ended(0, 0, false);
  }

  #ended(bytes: number, bytesIn: number, isComplete: boolean): void {
    if (this.#state === "over") return;
    this.#state = "over";
    const onEnd = this.onEnd;
    this.onEnd = nobody;
    onEnd({
      status: this.#status,
      bytes,
      bytesIn,
      ms: performance.now() - this.#startMs,
      firstByteMs: this.#respondedMs === undefined ? undefined : this.#respondedMs - this.#startMs,
      isComplete,
    });
  }
}
