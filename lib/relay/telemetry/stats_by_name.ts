/** The stats of all clusters, or of all services, each for as long as somebody may want them. */
import { RequestStats } from "./request_stats.ts";

/** How long a removed name keeps its series once it is quiet, in milliseconds. */
export const keptMs = 10 * 60_000;

/** Since when a removed name has been quiet, and how many requests it had then. */
interface Quiet {
  readonly sinceMs: number;
  readonly finished: number;
}

/**
 * Clusters and services come and go with the configuration. The series of one that is gone stay for a few scrapes,
 * so that rates over its last minutes are right, and end then.
 */
export class StatsByName {
  readonly #series = new Map<string, RequestStats>();
  readonly #quiet = new Map<string, Quiet>();
  readonly #nowMs: () => number;
  #configured: ReadonlySet<string> = new Set();

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Says which names there are. */
  use(names: Iterable<string>): void {
    this.#configured = new Set(names);
    this.#forgetQuiet();
  }

  /** The stats of a name, begun if there are none. */
  of(name: string): RequestStats {
    const known = this.#series.get(name);
    if (known) return known;
    const added = new RequestStats();
    this.#series.set(name, added);
    return added;
  }

  /** All stats that are still wanted. */
  entries(): [name: string, stats: RequestStats][] {
    this.#forgetQuiet();
    return [...this.#series];
  }

  #forgetQuiet(): void {
    const nowMs = this.#nowMs();
    for (const [cluster, stats] of this.#series) {
      if (this.#configured.has(cluster) || cluster === unknownCluster || stats.open > 0) {
        this.#quiet.delete(cluster);
        continue;
      }
      const { finishedCount: finished } = stats;
      const quiet = this.#quiet.get(cluster);
      if (quiet?.finished !== finished) this.#quiet.set(cluster, { sinceMs: nowMs, finished });
      else if (nowMs - quiet.sinceMs >= keptMs) this.#forget(cluster);
    }
  }

  #forget(cluster: string): void {
    this.#series.delete(cluster);
    this.#quiet.delete(cluster);
  }
}

/** Stands for all names that are no cluster's. */
export const unknownCluster = "unknown";
