/** Keep-alive connections to one HTTP server: an agent's target, or another relay. */
import type { ByteSocket, ByteSocketEvents } from "./byte_socket.ts";

/** What the user of a connection is told. */
export interface UpstreamEvents {
  data(bytes: Uint8Array): void;
  drained(): void;
  /** The connection has ended; `isOrderly` when the target closed its half. */
  ended(isOrderly: boolean): void;
  /** Both halves are closed, behind an orderly end. */
  closed?(): void;
}

const eventNames = ["data", "end", "drain", "close", "error"] as const;

/** A connection to the target, used for one request at a time. */
export class UpstreamConnection {
  readonly socket: ByteSocket;
  /** Whether it has carried a request before: only then a break may mean nothing. */
  isReused = false;
  /** When it was put into the pool. */
  idleSinceMs = 0;
  #user: UpstreamEvents | undefined;
  #isEnded = false;
  readonly #listeners: ByteSocketEvents;
  /** An idle connection ended, or the target sent something unasked. */
  onIdleEnd: () => void = () => {};

  constructor(socket: ByteSocket) {
    this.socket = socket;
    this.#listeners = {
      data: (bytes) => this.#received(bytes),
      end: () => this.#ended(true),
      drain: () => this.#user?.drained(),
      close: () => this.#closed(),
      error: () => {}, // `close` follows.
    };
    for (const event of eventNames) socket.on(event, this.#listeners[event]);
  }

  /** Whether it can still be used. */
  get isUsable(): boolean {
    return !this.#isEnded && !this.socket.destroyed;
  }

  /** Gives the connection to a request. */
  use(user: UpstreamEvents): void {
    this.#user = user;
  }

  /** Ends the connection; nobody is told. */
  destroy(): void {
    this.#user = undefined;
    this.#isEnded = true;
    this.socket.destroy();
  }

  /** Lets go of the socket: it carries another protocol from now on. */
  detach(): ByteSocket {
    this.#user = undefined;
    this.#isEnded = true;
    for (const event of eventNames) this.socket.off(event, this.#listeners[event]);
    return this.socket;
  }

  /** The request is over. */
  idle(nowMs: number): void {
    this.#user = undefined;
    this.isReused = true;
    this.idleSinceMs = nowMs;
    this.socket.resume();
  }

  #received(bytes: Uint8Array): void {
    if (this.#user) return this.#user.data(bytes);
    // A target that talks unasked has lost count: what it says next could be taken for an answer.
    this.destroy();
    this.onIdleEnd();
  }

  #closed(): void {
    if (this.#isEnded) this.#user?.closed?.();
    else this.#ended(false);
  }

  #ended(isOrderly: boolean): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    const user = this.#user;
    if (user) return user.ended(isOrderly);
    this.socket.destroy();
    this.onIdleEnd();
  }
}

/** How a pool is set up. */
export interface PoolOptions {
  /** Makes a connection, TLS included. @throws {StreamError} that says why it can't. */
  dial: (signal: AbortSignal) => Promise<ByteSocket>;
  /** Idle connections that are kept. */
  maxIdle: number;
  /** Milliseconds that an idle connection is kept; shorter than targets keep theirs. */
  idleTimeoutMs: number;
  nowMs?: () => number;
}

/** Connections to the one target of this agent. */
export class UpstreamPool {
  readonly #options: PoolOptions;
  readonly #nowMs: () => number;
  readonly #idle: UpstreamConnection[] = [];
  readonly #sweep: ReturnType<typeof setInterval>;
  #isClosed = false;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#nowMs = options.nowMs ?? (() => performance.now());
    this.#sweep = setInterval(() => this.#expire(), Math.max(options.idleTimeoutMs / 4, 100));
  }

  /** Idle connections. */
  get idleCount(): number {
    return this.#idle.length;
  }

  /** The connection that was used last, as it is the least likely to be closed already. */
  take(): UpstreamConnection | undefined {
    for (;;) {
      const connection = this.#idle.pop();
      if (!connection || connection.isUsable) return connection;
    }
  }

  /** A new connection, unless the signal comes first. @throws {StreamError} */
  async dial(signal: AbortSignal): Promise<UpstreamConnection> {
    return new UpstreamConnection(await this.#options.dial(signal));
  }

  /** Takes a connection back whose request is over, or ends it when enough are idle. */
  putBack(connection: UpstreamConnection): void {
    const hasRoom = this.#idle.length < this.#options.maxIdle && !this.#isClosed;
    if (!connection.isUsable || !hasRoom) return connection.destroy();
    connection.onIdleEnd = () => this.#forget(connection);
    connection.idle(this.#nowMs());
    this.#idle.push(connection);
  }

  /** Ends all idle connections and the pool. */
  close(): void {
    this.#isClosed = true;
    clearInterval(this.#sweep);
    for (const connection of this.#idle.splice(0)) connection.destroy();
  }

  #forget(connection: UpstreamConnection): void {
    const index = this.#idle.indexOf(connection);
    if (index !== -1) this.#idle.splice(index, 1);
  }

  #expire(): void {
    const limit = this.#nowMs() - this.#options.idleTimeoutMs;
    // The oldest are in front: they are put back at the end and taken from it.
    while (this.#idle[0] && this.#idle[0].idleSinceMs <= limit) this.#idle.shift()!.destroy();
  }
}
