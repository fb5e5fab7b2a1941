/** The other relays as they are reached: connections to each, and which of them fail just now. */
import type { ByteSocket } from "../../net/byte_socket.ts";
import { UpstreamPool } from "../../net/upstream_pool.ts";
import type { Holder } from "../directory/directory.ts";

/** Connects to another relay's internal listener. @throws {StreamError} that says why it can't. */
export type DialPeer = (url: string, signal: AbortSignal) => Promise<ByteSocket>;

/** Idle connections to one relay that are kept. */
const maxIdle = 256;
/** How long they are kept: shorter than a relay keeps its callers', 180 s. */
const idleTimeoutMs = 60_000;
/** How long a relay that could not be reached is left alone. */
const suspectMs = 1_000;

/** Pools and failures, by relay. */
export class Peers {
  readonly #dial: DialPeer;
  readonly #nowMs: () => number;
  readonly #pools = new Map<string, UpstreamPool>();
  readonly #suspects = new Map<string, number>();

  constructor(dial: DialPeer, nowMs: () => number = () => performance.now()) {
    this.#dial = dial;
    this.#nowMs = nowMs;
  }

  /** Connections to a relay. */
  pool({ relay, url }: Holder): UpstreamPool {
    const known = this.#pools.get(relay);
    if (known) return known;
    this.#forgetUnused();
    const dial = (signal: AbortSignal): Promise<ByteSocket> => this.#dial(url, signal);
    const pool = new UpstreamPool({ dial, maxIdle, idleTimeoutMs });
    this.#pools.set(relay, pool);
    return pool;
  }

  /** The first of these relays that has not failed just now. */
  firstUsable(holders: readonly Holder[]): Holder | undefined {
    return holders.find(({ relay }) => !this.#isSuspect(relay));
  }

  /**
   * A relay could not be reached, or broke off: others are asked first for a while.
   *
   * @returns whether that is news.
   */
  suspect(relay: string): boolean {
    const isNews = !this.#isSuspect(relay);
    this.#suspects.set(relay, this.#nowMs() + suspectMs);
    // It may never come back under this name. What is under way goes on without its pool.
    this.#pools.get(relay)?.close();
    this.#pools.delete(relay);
    return isNews;
  }

  /** Relays of which something is remembered. */
  get size(): number {
    return this.#pools.size + this.#suspects.size;
  }

  /** Ends all idle connections. */
  close(): void {
    for (const pool of this.#pools.values()) pool.close();
    this.#pools.clear();
  }

  /** Relays come under new names and leave without a word: those that nobody uses must not add up. */
  #forgetUnused(): void {
    for (const [relay, pool] of this.#pools) {
      if (pool.idleCount > 0) continue;
      pool.close();
      this.#pools.delete(relay);
    }
    for (const relay of this.#suspects.keys()) this.#isSuspect(relay);
  }

  #isSuspect(relay: string): boolean {
    const untilMs = this.#suspects.get(relay);
    if (untilMs === undefined) return false;
    if (untilMs > this.#nowMs()) return true;
    this.#suspects.delete(relay);
    return false;
  }
}
