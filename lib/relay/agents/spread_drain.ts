/** Asks agents to go elsewhere, one after the other: each comes back with a handshake. */

/**
 * Milliseconds for each agent: what a handshake costs the relay that it goes to, TLS included, and as
 * much again for the requests that this relay serves meanwhile.
 */
const msPerAgent = 3;
/** The part of the time over which they are spread; in the rest the last ones arrive. */
const share = 0.8;
/** The time between two rounds, in milliseconds. */
const roundMs = 20;

/** What is done with agents. */
export interface DrainSteps<Agent> {
  /** Asks one of them. */
  readonly ask: (agent: Agent) => void;
  /** All of them have been asked. */
  readonly done: () => void;
}

/** Agents that are asked to go elsewhere over a while, in random order. */
export class SpreadDrain<Agent> {
  readonly #left: Agent[];
  readonly #steps: DrainSteps<Agent>;
  readonly #nowMs: () => number;
  readonly #startMs: number;
  readonly #spreadMs: number;
  readonly #total: number;
  #timer: ReturnType<typeof setInterval> | undefined;

  /** @param withinMs The time in which all of them have to be gone; 0 asks all at once. */
  constructor(
    agents: Iterable<Agent>,
    withinMs: number,
    steps: DrainSteps<Agent>,
    nowMs: () => number = () => performance.now(),
  ) {
    this.#nowMs = nowMs;
    this.#startMs = nowMs();
    this.#left = shuffled([...agents]);
    this.#steps = steps;
    this.#total = this.#left.length;
    this.#spreadMs = Math.min(share * withinMs, this.#total * msPerAgent);
    this.#timer = setInterval(() => this.#round(), roundMs);
    this.#round();
  }

  /** Asks all that are left at once. */
  finish(): void {
    this.#askUntil(0);
  }

  #round(): void {
    const elapsedMs = this.#nowMs() - this.#startMs + roundMs;
    const due = elapsedMs < this.#spreadMs ? this.#total * elapsedMs / this.#spreadMs : this.#total;
    this.#askUntil(this.#total - due);
  }

  #askUntil(left: number): void {
    while (this.#left.length > left) this.#steps.ask(this.#left.pop()!);
    if (this.#left.length > 0 || this.#timer === undefined) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#steps.done();
  }
}

/** Fisher and Yates: agents of one cluster connected one after the other, and should not go so. */
function shuffled<T>(items: T[]): T[] {
  for (let last = items.length - 1; last > 0; last--) {
    const index = Math.floor(Math.random() * (last + 1));
    [items[last], items[index]] = [items[index]!, items[last]!];
  }
  return items;
}
