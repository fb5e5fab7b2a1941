/** Notices a dead peer and measures the round trip. */

/** What a keepalive needs. */
export interface KeepaliveOptions {
  nowMs: () => number;
  pingIntervalMs: number;
  idleTimeoutMs: number;
  /** Sends a Ping with these 8 bytes, which Pong echoes. */
  ping: (payload: Uint8Array) => void;
  /** Nothing has been heard for `idleMs`. */
  dead: (idleMs: number) => void;
}

/** One timer for a whole session; it runs a few times in each ping interval. */
export class Keepalive {
  readonly #options: KeepaliveOptions;
  readonly #timer: ReturnType<typeof setInterval>;
  #lastHeardMs: number;
  #lastPingMs: number;
  #roundTripMs = 0;
  #minRoundTripMs = 0;
  /** We stopped reading on purpose: silence says nothing then. */
  isPaused = false;

  constructor(options: KeepaliveOptions) {
    this.#options = options;
    this.#lastHeardMs = this.#lastPingMs = options.nowMs();
    this.#timer = setInterval(() => this.check(), options.pingIntervalMs / 3);
  }

  /** The last measured round trip in milliseconds; 0 before the first. */
  get roundTripMs(): number {
    return this.#roundTripMs;
  }

  /** The shortest round trip so far: the line itself, without what queues on it. */
  get minRoundTripMs(): number {
    return this.#minRoundTripMs;
  }

  /** A message has arrived. */
  heard(): void {
    this.#lastHeardMs = this.#options.nowMs();
  }

  /** Sends a Ping now. */
  probe(): void {
    this.#lastPingMs = this.#options.nowMs();
    const payload = new Uint8Array(8);
    new DataView(payload.buffer).setFloat64(0, this.#lastPingMs);
    this.#options.ping(payload);
  }

  /** Takes the echo of the last Ping; any other is late or forged and says nothing. */
  ponged(payload: Uint8Array): void {
    if (payload.length !== 8) return;
    const sentMs = new DataView(payload.buffer, payload.byteOffset, 8).getFloat64(0);
    if (sentMs !== this.#lastPingMs) return;
    const elapsedMs = this.#options.nowMs() - sentMs;
    this.#roundTripMs = elapsedMs;
    this.#minRoundTripMs = this.#minRoundTripMs === 0
      ? elapsedMs
      : Math.min(this.#minRoundTripMs, elapsedMs);
  }

  /** Sends what is due and looks for silence; the timer calls it, and so do tests. */
  check(): void {
    const now = this.#options.nowMs();
    const idleMs = now - this.#lastHeardMs;
    if (idleMs >= this.#options.idleTimeoutMs && !this.isPaused) this.#options.dead(idleMs);
    else if (now - this.#lastPingMs >= this.#options.pingIntervalMs) this.probe();
  }

  /** Ends the timer. */
  stop(): void {
    clearInterval(this.#timer);
  }
}
