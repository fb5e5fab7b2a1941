/** Whether either side of a session still wants new streams, and when the last one is over. */
import type { ProtocolVersion } from "./protocol_version.ts";

/** The drain of one session. */
export class Drain {
  readonly #openStreams: () => number;
  /** Called when no stream is open any more, or never will be. */
  readonly #onIdle = new Set<() => void>();
  /** This side has asked for no new streams. */
  isOwn = false;
  /** The peer has. */
  isPeers = false;
  /** Our Drain may not have been heard: streams that were opened before that are still to come. */
  #mayOpenCross = false;

  constructor(openStreams: () => number) {
    this.#openStreams = openStreams;
  }

  /** Asks the peer for no new streams. */
  begin(version: ProtocolVersion): void {
    this.isOwn = true;
    this.#mayOpenCross = version.sendDrain();
  }

  /** A Pong has come. @returns whether it was the peer's answer to our Drain */
  isHeard(pong: Uint8Array, version: ProtocolVersion): boolean {
    if (!this.#mayOpenCross || !version.isDrainHeard(pong)) return false;
    this.#mayOpenCross = false;
    this.streamEnded();
    return true;
  }

  /** One stream fewer is open. */
  streamEnded(): void {
    if (this.#isIdle) this.stop();
  }

  /** Nobody needs to wait any more. */
  stop(): void {
    for (const resolve of this.#onIdle) resolve();
  }

  /** Waits until no stream is open, `graceMs` at most. */
  async idle(graceMs: number): Promise<void> {
    if (this.#isIdle) return;
    const idle = Promise.withResolvers<void>();
    const timer = setTimeout(idle.resolve, graceMs);
    this.#onIdle.add(idle.resolve);
    await idle.promise;
    this.#onIdle.delete(idle.resolve);
    clearTimeout(timer);
  }

  /** Whether no stream is open, and none is on its way. */
  get #isIdle(): boolean {
    return this.#openStreams() === 0 && !this.#mayOpenCross;
  }
}
