/** A server's connection in memory, the caller at its other end, and a clock that stands still. */
import { decodeLatin1, encodeLatin1 } from "../../lib/bytes/bytes.ts";
import { defaultHeadLimits, type HeadLimits } from "../../lib/http1/head.ts";
import type { BodyConsumer, ExchangeEnd } from "../../lib/net/exchange.ts";
import { HttpConnection } from "../../lib/net/http_connection.ts";
import type { RawExchange } from "../../lib/net/raw_exchange.ts";
import { Changes } from "../protocol/changes.ts";
import { joined } from "../protocol/wire.ts";
import {
  type MemorySocket,
  type MemorySocketOptions,
  memorySockets,
} from "../support/memory_socket.ts";

/** Whoever is at the other end of a socket: what came from it, and how it ended. */
export class Caller {
  readonly socket: MemorySocket;
  /** `end`, `error CODE` and `close`, in order. */
  readonly events: string[] = [];
  /** Bytes that have come and were not taken out. */
  length = 0;
  #pieces: Uint8Array[] = [];
  readonly #changes = new Changes();

  constructor(socket: MemorySocket) {
    this.socket = socket;
    socket.on("data", (bytes) => {
      this.length += bytes.length;
      this.#pieces.push(Uint8Array.from(bytes));
      this.#changes.happened();
    });
    socket.on("end", () => this.#note("end"));
    socket.on("error", (error: Error & { code?: string }) => this.#note(`error ${error.code}`));
    socket.on("close", () => this.#note("close"));
    socket.on("drain", () => this.#changes.happened());
  }

  /** What has come, one character a byte. */
  get text(): string {
    return decodeLatin1(joined(...this.#pieces));
  }

  /** Sends text, one byte a character. */
  send(text: string): void {
    this.socket.write(encodeLatin1(text));
  }

  /** Takes out what has come so far. */
  take(): string {
    const { text } = this;
    this.#pieces = [];
    this.length = 0;
    return text;
  }

  /** Resolves once the condition holds. */
  until(condition: () => boolean, what: string): Promise<void> {
    const soFar = () =>
      `${what}; so far ${JSON.stringify(this.text.slice(0, 2_000))}, ${this.events}`;
    return this.#changes.until(condition, soFar);
  }

  /** Resolves once this very text has come, or more than it, and gives all that has. */
  async response(text: string): Promise<string> {
    await this.until(() => this.length >= text.length, `${text.length} bytes`);
    return this.take();
  }

  /** Resolves once the other side has ended its half. */
  async ended(): Promise<string> {
    await this.until(() => this.events.includes("end"), "the end");
    return this.text;
  }

  /** Resolves once the connection is gone, with how it went. */
  async closed(): Promise<string[]> {
    await this.until(() => this.events.includes("close"), "the close");
    return this.events;
  }

  #note(event: string): void {
    this.events.push(event);
    this.#changes.happened();
  }
}

/** A body's consumer that keeps what comes. */
export class Body implements BodyConsumer {
  text = "";
  endCount = 0;

  data(bytes: Uint8Array): void {
    this.text += String.fromCharCode(...bytes);
  }

  end(): void {
    this.endCount++;
  }
}

/** An exchange, how its owner was told that it is over, and its body. */
export interface Served {
  readonly exchange: RawExchange;
  readonly ends: ExchangeEnd[];
  abortedCount: number;
  drainCount: number;
  readonly body: Body;
}

/** How a setup differs from the usual. */
export interface SetupOptions extends MemorySocketOptions {
  /** Deals with a request; without it a test does, later. */
  readonly handle?: (served: Served) => void;
  readonly limits?: HeadLimits;
}

export const timeouts = { headMs: 30_000, idleMs: 180_000, lingerMs: 5_000, stallMs: 300_000 };

/** A caller and the server's connection that it has. */
export class Setup implements AsyncDisposable {
  readonly caller: Caller;
  readonly server: MemorySocket;
  readonly connection: HttpConnection;
  /** Requests that came, in order. */
  readonly served: Served[] = [];
  /** `STATUS reason` of requests that were refused before they were any. */
  readonly refused: string[] = [];
  closedCount = 0;
  nowMs = 1_000_000;
  readonly #changes = new Changes();

  constructor({ handle, limits = defaultHeadLimits, ...options }: SetupOptions = {}) {
    const [caller, server] = memorySockets(options);
    this.caller = new Caller(caller);
    this.server = server;
    this.connection = new HttpConnection(server, {
      peer: { address: "192.0.2.1", isTls: false },
      limits,
      timeouts,
      handle: (exchange) => {
        const served = watch(exchange);
        this.served.push(served);
        handle?.(served);
        this.#changes.happened();
      },
      refused: (status, reason) => {
        this.refused.push(`${status} ${reason}`);
        this.#changes.happened();
      },
      closed: () => {
        this.closedCount++;
        this.#changes.happened();
      },
      nowMs: () => this.nowMs,
    });
  }

  /** The request number `index`, from 0, once it has come. */
  async request(index = 0): Promise<Served> {
    await this.until(() => this.served.length > index, `request ${index}`);
    return this.served[index]!;
  }

  /** Resolves once the condition, about the server's side, holds. */
  until(condition: () => boolean, what: string): Promise<void> {
    return this.#changes.until(condition, () => `${what}; refused: ${this.refused}`);
  }

  /** Resolves once everything on its way has arrived and nothing more happens by itself. */
  async settled(): Promise<void> {
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
  }

  /** Time goes by, and the server looks at its connections. */
  later(ms: number): void {
    this.nowMs += ms;
    this.connection.checkDeadline(this.nowMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of [this.caller.socket, this.server]) socket.destroy();
    await this.settled();
    if (this.server.hasWrittenAfterEnd) throw new Error("The server wrote after its end");
    if (this.server.hasEndedTwice) throw new Error("The server ended its half twice");
  }
}

function watch(exchange: RawExchange): Served {
  const served: Served = { exchange, ends: [], abortedCount: 0, drainCount: 0, body: new Body() };
  exchange.onEnd = (end) => served.ends.push(end);
  exchange.onAborted = () => served.abortedCount++;
  exchange.onDrain = () => served.drainCount++;
  return served;
}

/** How exchanges ended, without times and the request's bytes. */
export function outcomes(ends: readonly ExchangeEnd[]) {
  return ends.map(({ status, bytes, isComplete }) => ({ status, bytes, isComplete }));
}

/** Bytes of a text of one character a byte. */
export function bytes(text: string): Uint8Array {
  return encodeLatin1(text);
}
