/** Answers of the directory, kept until they prove wrong. */
import type { Directory, Holder } from "./directory.ts";
import type { Moves } from "./moves.ts";
import { setNewest } from "../../set_newest.ts";

/** Clusters whose holders are remembered; the one that was looked up first makes room. */
const maxKept = 100_000;
/**
 * How long "nobody holds it" is believed, and how long an answer is new: a name that nobody serves
 * costs one look-up a second, and so does a cluster whose agents do not answer.
 */
const newMs = 1_000;

interface Kept {
  readonly holders: readonly Holder[];
  /** Until when the answer is new. An empty answer does not count for longer. */
  readonly untilMs: number;
}

/** What happened to a look-up, for the metrics. */
export type LookupResult = "found" | "none" | "failed";

/** Look-ups of clusters' holders, one at a time for each cluster. */
export class Lookups {
  readonly #directory: Directory;
  readonly #moves: Moves;
  readonly #count: (result: LookupResult) => void;
  readonly #nowMs: () => number;
  readonly #kept = new Map<string, Kept>();
  readonly #pending = new Map<string, Promise<readonly Holder[]>>();

  constructor(
    directory: Directory,
    moves: Moves,
    count: (result: LookupResult) => void,
    nowMs: () => number = () => performance.now(),
  ) {
    this.#directory = directory;
    this.#moves = moves;
    this.#count = count;
    this.#nowMs = nowMs;
  }

  /** What is known of a cluster without asking, or nothing. */
  kept(cluster: string): readonly Holder[] | undefined {
    const kept = this.#kept.get(cluster);
    if (!kept) return undefined;
    if (kept.holders.length > 0 || kept.untilMs > this.#nowMs()) return kept.holders;
    this.#kept.delete(cluster);
    return undefined;
  }

  /**
   * Asks the directory; who asks for the same meanwhile shares the answer. Where nobody holds a
   * session, one that left another relay a moment ago counts as moving from then on.
   *
   * @throws {DirectoryError}
   */
  find(cluster: string): Promise<readonly Holder[]> {
    const pending = this.#pending.get(cluster);
    if (pending) return pending;
    const asked = this.#ask(cluster).finally(() => this.#pending.delete(cluster));
    this.#pending.set(cluster, asked);
    return asked;
  }

  /**
   * As {@link find}, unless the last answer is new: of an agent that has fallen silent since, an
   * older one says nothing.
   */
  findAnew(cluster: string): Promise<readonly Holder[]> {
    const kept = this.#kept.get(cluster);
    return kept && kept.untilMs > this.#nowMs()
      ? Promise.resolve(kept.holders)
      : this.find(cluster);
  }

  /** A relay did not have what it was said to hold. */
  forget(cluster: string, relay: string): void {
    const kept = this.#kept.get(cluster);
    if (!kept) return;
    const holders = kept.holders.filter((holder) => holder.relay !== relay);
    // What is left may be old as well; an empty rest must not pass for an answer.
    if (holders.length > 0) this.#kept.set(cluster, { holders, untilMs: 0 });
    else this.#kept.delete(cluster);
  }

  async #ask(cluster: string): Promise<readonly Holder[]> {
    let holders: readonly Holder[];
    try {
      holders = await this.#directory.find(cluster);
      // Before "nobody holds it" is kept: whoever comes next goes by that alone.
      if (holders.length === 0) await this.#learnMove(cluster);
    } catch (error) {
      this.#count("failed");
      throw error;
    }
    this.#count(holders.length > 0 ? "found" : "none");
    this.#keep(cluster, holders);
    return holders;
  }

  async #learnMove(cluster: string): Promise<void> {
    if (this.#moves.has(cluster)) return;
    if (await this.#directory.isMoving(cluster)) this.#moves.begin(cluster);
  }

  #keep(cluster: string, holders: readonly Holder[]): void {
    setNewest(this.#kept, cluster, { holders, untilMs: this.#nowMs() + newMs }, maxKept);
  }
}
