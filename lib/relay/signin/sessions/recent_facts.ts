/**
 * What a relay has told the store lately and what must not be forgotten. A server that takes over
 * after a failover may lack what the one before was told last.
 */

/** How long a fact may take to reach the servers that can take over, in milliseconds. */
const recentMs = 5 * 60_000;
const maxFacts = 10_000;

interface Fact {
  readonly tell: () => Promise<unknown>;
  readonly toldMs: number;
}

/** Facts of the last minutes, to be told again. */
export class RecentFacts {
  readonly #nowMs: () => number;
  readonly #facts = new Set<Fact>();
  /** Those that are still to be told again. */
  #due: Fact[] = [];

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Remembers a fact that the store has taken. @param tell tells it again, and does no harm */
  add(tell: () => Promise<unknown>): void {
    const [oldest] = this.#facts;
    if (oldest && this.#facts.size >= maxFacts) this.#facts.delete(oldest);
    this.#facts.add({ tell, toldMs: this.#nowMs() });
  }

  /** The store may have forgotten all of them. */
  doubt(): void {
    const sinceMs = this.#nowMs() - recentMs;
    for (const fact of this.#facts) {
      if (fact.toldMs >= sinceMs) break;
      this.#facts.delete(fact);
    }
    this.#due = [...this.#facts];
  }

  /** Tells those again that are in doubt. @throws when the store does not take one: then it stays so */
  async tellAgain(): Promise<void> {
    for (let fact = this.#due[0]; fact; fact = this.#due[0]) {
      await fact.tell();
      if (this.#due[0] === fact) this.#due.shift();
    }
  }
}
