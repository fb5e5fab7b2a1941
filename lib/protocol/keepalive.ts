/** Notices a dead peer and measures the round trip. */

/** Unless told otherwise, in milliseconds. */
export const defaultKeepalive = {
  pingIntervalMs: 15_000,
  idleTimeoutMs: 45_000,
  answerTimeoutMs: 5_000,
} as const;

/** What a keepalive needs. */
export interface KeepaliveOptions {
  nowMs: () => number;
  /** The time between two pings, in milliseconds. */
  pingIntervalMs: number;
  /** Silence after which the session is dead. */
  idleTimeoutMs: number;
  /**
   * While {@link isWaited}, or while a message is long in coming, pings come this often. While
   * {@link isWaited}, a session is dead when one of them has been unanswered for as long, and the
   * silence has lasted twice as long.
   */
  answerTimeoutMs: number;
  /** Whether somebody waits for this session's peer, which answers its Pings at once. */
  isWaited: () => boolean;
  /**
   * A number that changes whenever bytes move that only a living peer can have moved: read from the
   * line, be a message whole or not, or taken by a line that was full.
   */
  movedBytes: () => number;
  /** Sends a Ping with these 8 bytes, which Pong echoes. */
  ping: (payload: Uint8Array) => void;
  /** Nothing has been heard for `idleMs`. */
  dead: (idleMs: number) => void;
  /** The timer came and the session goes on. */
  checked?: () => void;
}

/** How often the timer comes in each answer timeout: so much later is a dead session found. */
const checksPerAnswerTimeout = 5;

/** One timer for a whole session; nothing is done for a single request. */
export class Keepalive {
  readonly #options: KeepaliveOptions;
  readonly #timer: ReturnType<typeof setInterval>;
  /** The time between two checks in milliseconds, if this process gets its turns. */
  readonly #intervalMs: number;
  #lastCheckMs: number;
  #lastHeardMs: number;
  #lastPingMs: number;
  /** When the first Ping went out of those behind which nothing has been heard. */
  #unansweredSinceMs: number | undefined;
  #movedBytes = 0;
  /** Whether a whole message has come since the last check. */
  #hasMessage = false;
  /** Bytes move, but no message is whole: its sender may hear nothing for as long as it takes. */
  #isPartial = false;
  #roundTripMs = 0;
  #minRoundTripMs = 0;
  /** We stopped reading on purpose: silence says nothing then. */
  isPaused = false;

  constructor(options: KeepaliveOptions) {
    this.#options = options;
    this.#lastCheckMs = this.#lastHeardMs = this.#lastPingMs = options.nowMs();
    const { answerTimeoutMs, pingIntervalMs } = options;
    this.#intervalMs = Math.min(pingIntervalMs / 3, answerTimeoutMs / checksPerAnswerTimeout);
    this.#timer = setInterval(() => this.check(), this.#intervalMs);
  }

  /** The last measured round trip in milliseconds; 0 before the first. */
  get roundTripMs(): number {
    return this.#roundTripMs;
  }

  /** The shortest round trip so far: the line itself, without what queues on it. */
  get minRoundTripMs(): number {
    return this.#minRoundTripMs;
  }

  /** Whether a Ping has been unanswered for so long that another session is the better choice. */
  get isSuspect(): boolean {
    return this.#isUnanswered(this.#lastCheckMs);
  }

  /** A message has arrived. */
  heard(): void {
    this.#hasMessage = true;
    this.#alive();
  }

  /** Sends a Ping now. */
  probe(): void {
    this.#lastPingMs = this.#options.nowMs();
    this.#unansweredSinceMs ??= this.#lastPingMs;
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
    this.#forgetAbsence(now);
    this.#lookForBytes();
    const silentMs = now - this.#lastHeardMs;
    if (!this.isPaused && this.#isDead(now, silentMs)) return this.#options.dead(silentMs);
    this.#options.checked?.();
    if (now - this.#lastPingMs >= this.#pingDueMs) this.probe();
  }

  /** Ends the timer. */
  stop(): void {
    clearInterval(this.#timer);
  }

  #alive(): void {
    this.#lastHeardMs = this.#options.nowMs();
    this.#unansweredSinceMs = undefined;
  }

  #lookForBytes(): void {
    const moved = this.#options.movedBytes();
    const isMoving = moved !== this.#movedBytes;
    this.#movedBytes = moved;
    this.#isPartial = isMoving && !this.#hasMessage;
    this.#hasMessage = false;
    if (isMoving) this.#alive();
  }

  get #pingDueMs(): number {
    const { isWaited, answerTimeoutMs, pingIntervalMs } = this.#options;
    return isWaited() || this.#isPartial
      ? Math.min(answerTimeoutMs, pingIntervalMs)
      : pingIntervalMs;
  }

  #isDead(now: number, silentMs: number): boolean {
    const { idleTimeoutMs, answerTimeoutMs, isWaited } = this.#options;
    if (silentMs >= idleTimeoutMs) return true;
    return silentMs >= 2 * answerTimeoutMs && this.#isUnanswered(now) && isWaited();
  }

  #isUnanswered(now: number): boolean {
    const since = this.#unansweredSinceMs;
    return since !== undefined && now - since >= this.#options.answerTimeoutMs;
  }

  /**
   * A process that was stopped, or busy, did not listen: what came meanwhile may be read only after
   * this check. That time counts for no more than the check it was late for.
   */
  #forgetAbsence(now: number): void {
    const absentMs = now - this.#lastCheckMs - 2 * this.#intervalMs;
    this.#lastCheckMs = now;
    if (absentMs <= 0) return;
    this.#lastHeardMs = Math.min(now, this.#lastHeardMs + absentMs);
    if (this.#unansweredSinceMs !== undefined) {
      this.#unansweredSinceMs = Math.min(now, this.#unansweredSinceMs + absentMs);
    }
  }
}
