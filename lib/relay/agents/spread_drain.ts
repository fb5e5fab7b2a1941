/** Asks agents to go elsewhere, one after the other: each comes back with a handshake. */
import type { Session } from "../../protocol/session.ts";

/**
 * Milliseconds for each agent: what a handshake costs the relay that it goes to, TLS included, and as
 * much again for the requests that this relay serves meanwhile.
 */
const msPerAgent = 3;
/** The part of the time over which they are spread; in the rest the last ones arrive. */
const share = 0.8;
/** Between two rounds, in milliseconds. */
const roundMs = 20;

/** Sessions that are asked to drain over a while, in random order. */
export class SpreadDrain {
  readonly #sessions: Session[];
  readonly #startMs = performance.now();
  readonly #spreadMs: number;
  readonly #total: number;
  #timer: ReturnType<typeof setInterval> | undefined;

  /** @param withinMs The time in which all of them have to be gone; 0 asks all at once. */
  constructor(sessions: Iterable<Session>, withinMs: number, random: () => number = Math.random) {
    this.#sessions = shuffled([...sessions], random);
    this.#total = this.#sessions.length;
    this.#spreadMs = Math.min(share * withinMs, this.#total * msPerAgent);
    this.#timer = setInterval(() => this.#round(), roundMs);
    this.#round();
  }

  /** Asks all that are left at once. */
  finish(): void {
    clearInterval(this.#timer);
    for (const session of this.#sessions.splice(0)) session.announceDrain();
  }

  #round(): void {
    const elapsedMs = performance.now() - this.#startMs + roundMs;
    const due = elapsedMs < this.#spreadMs ? this.#total * elapsedMs / this.#spreadMs : this.#total;
    while (this.#sessions.length > this.#total - due) this.#sessions.pop()!.announceDrain();
    if (this.#sessions.length === 0) clearInterval(this.#timer);
  }
}

/** Fisher and Yates: agents of one cluster connected one after the other, and should not go so. */
function shuffled<T>(items: T[], random: () => number): T[] {
  for (let last = items.length - 1; last > 0; last--) {
    const index = Math.floor(random() * (last + 1));
    [items[last], items[index]] = [items[index]!, items[last]!];
  }
  return items;
}
