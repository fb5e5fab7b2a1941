/** Waits for a cluster's session to turn up, here or elsewhere, after it has left where it was. */
import type { Holder } from "../directory/directory.ts";

/** How long a request waits for an agent that has just moved, in milliseconds. */
export const sessionWaitMs = 5_000;

/** The time between the first two checks, in milliseconds: short, as most agents are back at once. */
const firstPauseMs = 50;
const longestPauseMs = 400;

/** Where a session was found. */
export type Found = "here" | readonly Holder[];

/** What a wait goes by. */
export interface SessionWaitOptions {
  /** Whether this relay has a session now. */
  isHere: (cluster: string) => boolean;
  /** Relays that hold one and that may be asked; may throw. */
  find: (cluster: string) => Promise<readonly Holder[]>;
}

/** One wait for each cluster at most, however many requests share it. */
export class SessionWaits {
  readonly #options: SessionWaitOptions;
  readonly #open = new Map<string, Promise<Found | undefined>>();
  readonly #wakers = new Map<string, () => void>();

  constructor(options: SessionWaitOptions) {
    this.#options = options;
  }

  /** Clusters that are being looked for. */
  get size(): number {
    return this.#open.size;
  }

  /** Looks now and then until there is a session, or for {@link sessionWaitMs}. */
  search(cluster: string): Promise<Found | undefined> {
    const open = this.#open.get(cluster);
    if (open) return open;
    const wait = this.#wait(cluster).finally(() => {
      this.#open.delete(cluster);
      this.#wakers.delete(cluster);
    });
    this.#open.set(cluster, wait);
    return wait;
  }

  /** A session of this cluster has come to this relay. */
  arrived(cluster: string): void {
    this.#wakers.get(cluster)?.();
  }

  async #wait(cluster: string): Promise<Found | undefined> {
    const endMs = performance.now() + sessionWaitMs;
    let pauseMs = firstPauseMs;
    do {
      await this.#pause(cluster, pauseMs);
      pauseMs = Math.min(pauseMs * 2, longestPauseMs);
      if (this.#options.isHere(cluster)) return "here";
      try {
        const holders = await this.#options.find(cluster);
        if (holders.length > 0) return holders;
      } catch {
        // The directory is unavailable, and says so itself; the agent may still come here.
      }
    } while (performance.now() < endMs);
    return undefined;
  }

  /** Waits, or less when a session arrives here. */
  #pause(cluster: string, ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    this.#wakers.set(cluster, () => {
      clearTimeout(timer);
      resolve();
    });
    return promise;
  }
}
