/** A clock whose time passes only when the test says so. */

interface Due {
  readonly atMs: number;
  readonly due: () => void;
}

export class ManualClock {
  #ms = 0;
  readonly #planned = new Set<Due>();

  readonly nowMs = (): number => this.#ms;

  readonly after = (ms: number, due: () => void): () => void => {
    const planned = { atMs: this.#ms + ms, due };
    this.#planned.add(planned);
    return () => this.#planned.delete(planned);
  };

  /** Lets time pass. What is due happens at its time, and what it has begun goes on before later things. */
  async pass(ms: number): Promise<void> {
    const endMs = this.#ms + ms;
    await settled();
    for (let next = this.#next(endMs); next; next = this.#next(endMs)) {
      this.#planned.delete(next);
      this.#ms = Math.max(this.#ms, next.atMs);
      next.due();
      await settled();
    }
    this.#ms = Math.max(this.#ms, endMs);
  }

  /** Lets time pass while something is under way; what is due happens when time passes next. */
  skip(ms: number): void {
    this.#ms += ms;
  }

  #next(endMs: number): Due | undefined {
    return [...this.#planned].filter(({ atMs }) => atMs <= endMs)
      .sort((one, other) => one.atMs - other.atMs)[0];
  }
}

/** Lets everything happen that waits for nothing but its turn: a timer fires after all of that. */
async function settled(): Promise<void> {
  for (let turns = 0; turns < 3; turns++) await new Promise((resolve) => setTimeout(resolve));
}
