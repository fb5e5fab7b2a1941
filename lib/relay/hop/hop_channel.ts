/** A connection to another relay, once that has accepted a request: what a stream is elsewhere. */
import { noBytes } from "../../bytes/bytes.ts";
import type { Channel } from "../../net/channel.ts";
import type { UpstreamConnection, UpstreamPool } from "../../net/upstream_pool.ts";
import { StreamError } from "../../protocol/errors.ts";
import type { StreamEvents } from "../../protocol/stream_events.ts";

/** Bytes that the consumer may hold before the connection is read no further, and when it goes on. */
const highWaterBytes = 256 * 1024;
const lowWaterBytes = 64 * 1024;

/** What a hop channel is made from. */
export interface HopChannelOptions {
  connection: UpstreamConnection;
  /** Where the connection goes when its answer is complete. */
  pool: UpstreamPool;
  /** Bytes that came behind the other relay's word that it has the request. */
  rest: Uint8Array;
  /** Whether the caller asked to change protocols: only then is an end of ours sent as one. */
  isUpgrade: boolean;
}

/** Carries one request's body and its answer; the head has been sent. */
export class HopChannel implements Channel {
  readonly #connection: UpstreamConnection;
  readonly #pool: UpstreamPool;
  readonly #isUpgrade: boolean;
  #events: StreamEvents | undefined;
  /** What came before somebody listened. */
  #early: Uint8Array;
  /** Bytes that were handed on and not reported as consumed. */
  #unconsumed = 0;
  #isPaused = false;
  #hasEnded = false;
  #isOver = false;
  /** Nothing more goes through it, whoever has ended it. */
  onOver: () => void = () => {};

  constructor({ connection, pool, rest, isUpgrade }: HopChannelOptions) {
    this.#connection = connection;
    this.#pool = pool;
    this.#early = rest;
    this.#isUpgrade = isUpgrade;
    connection.use({
      data: (bytes) => this.#received(bytes),
      drained: () => this.#events?.drained(),
      ended: (isOrderly) => this.#ended(isOrderly),
      closed: () => this.#closed(),
    });
  }

  readonly canHalfClose = true;

  listen(events: StreamEvents): void {
    const isFirst = this.#events === undefined;
    this.#events = events;
    // Not within this call, as a stream would not either: the listener is still being set up.
    if (isFirst && this.#early.length > 0) queueMicrotask(() => this.#flush());
  }

  write(bytes: Uint8Array): boolean {
    if (this.#isOver || bytes.length === 0) return true;
    return this.#connection.socket.write(bytes);
  }

  end(): void {
    // The request's framing says where it ends; a half-close would be taken for a caller that left.
    if (this.#isUpgrade && !this.#isOver) this.#connection.socket.end();
  }

  finish(isReusable = false): void {
    if (this.#isOver) return;
    this.#over();
    const { socket } = this.#connection;
    // What the socket has not taken yet must go out first.
    if (!isReusable || this.#early.length > 0) {
      socket.resume();
      socket.destroySoon();
    } else this.#pool.putBack(this.#connection);
  }

  close(): void {
    this.#break();
  }

  fail(): void {
    this.#break();
  }

  /** Ends both sides with an error: this relay stops and waits no longer. */
  breakOff(error: StreamError): void {
    if (this.#isOver) return;
    this.#break();
    this.#events?.failed(error);
  }

  consumed(bytes: number): void {
    this.#unconsumed -= bytes;
    if (!this.#isPaused || this.#unconsumed > lowWaterBytes) return;
    this.#isPaused = false;
    if (!this.#isOver) this.#connection.socket.resume();
  }

  /** Ends the connection with a reset, so that the other relay does not take its part for the whole. */
  #break(): void {
    if (this.#isOver) return;
    this.#over();
    this.#connection.socket.resetAndDestroy();
    this.#connection.destroy();
  }

  #received(bytes: Uint8Array): void {
    if (this.#isOver) return;
    this.#flush();
    this.#deliver(bytes);
  }

  #flush(): void {
    const early = this.#early;
    this.#early = noBytes;
    if (early.length > 0 && !this.#isOver) this.#deliver(early);
  }

  #deliver(bytes: Uint8Array): void {
    this.#unconsumed += bytes.length;
    this.#events?.data(bytes);
    if (this.#unconsumed <= highWaterBytes || this.#isOver || this.#isPaused) return;
    this.#isPaused = true;
    this.#connection.socket.pause();
  }

  #ended(isOrderly: boolean): void {
    if (this.#isOver) return;
    this.#flush();
    if (this.#isOver) return;
    this.#hasEnded = true;
    if (isOrderly) return this.#events?.end();
    this.#over();
    this.#events?.failed(new StreamError("reset", "The other relay broke off"));
  }

  #closed(): void {
    if (this.#isOver || !this.#hasEnded) return;
    this.#over();
    this.#events?.closed();
  }

  #over(): void {
    this.#isOver = true;
    this.onOver();
  }
}
