/** Clusters whose sessions have left where they were a moment ago: they are likely to be back soon. */
import { setNewest } from "../../set_newest.ts";

/** Clusters that are remembered; the one that moved first makes room. */
const maxMoves = 100_000;

/** Remembers moves for a while. */
export class Moves {
  readonly #forMs: number;
  readonly #nowMs: () => number;
  readonly #untilMs = new Map<string, number>();

  /** @param forMs How long a session is worth waiting for, in milliseconds. */
  constructor(forMs: number, nowMs: () => number = () => performance.now()) {
    this.#forMs = forMs;
    this.#nowMs = nowMs;
  }

  /** A cluster's session is not where it was. */
  begin(cluster: string): void {
    setNewest(this.#untilMs, cluster, this.#nowMs() + this.#forMs, maxMoves);
  }

  /** A session of the cluster is here. */
  end(cluster: string): void {
    this.#untilMs.delete(cluster);
  }

  /** Whether a cluster's session left a moment ago and has not come here since. */
  has(cluster: string): boolean {
    const untilMs = this.#untilMs.get(cluster);
    if (untilMs === undefined) return false;
    if (untilMs > this.#nowMs()) return true;
    this.#untilMs.delete(cluster);
    return false;
  }
}
