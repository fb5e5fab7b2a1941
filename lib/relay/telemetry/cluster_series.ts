/** The figures of all clusters, each for as long as somebody may want them. */
import { ClusterMetrics } from "./cluster_metrics.ts";

/** For how long a cluster that was removed keeps its series once it is quiet, in milliseconds. */
export const keptMs = 10 * 60_000;

/** Since when a removed cluster has been quiet, and how many requests it had then. */
interface Quiet {
  readonly sinceMs: number;
  readonly finished: number;
}

/**
 * Clusters come and go with the configuration. The series of one that is gone stay for a few scrapes,
 * so that rates over its last minutes are right, and end then.
 */
export class ClusterSeries {
  readonly #series = new Map<string, ClusterMetrics>();
  readonly #quiet = new Map<string, Quiet>();
  readonly #nowMs: () => number;
  #configured: ReadonlySet<string> = new Set();

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Says which clusters there are. */
  useClusters(ids: Iterable<string>): void {
    this.#configured = new Set(ids);
    this.#forgetQuiet();
  }

  /** The figures of a cluster, begun if there are none. */
  of(cluster: string): ClusterMetrics {
    const known = this.#series.get(cluster);
    if (known) return known;
    const added = new ClusterMetrics();
    this.#series.set(cluster, added);
    return added;
  }

  /** All figures that are still wanted. */
  entries(): [cluster: string, figures: ClusterMetrics][] {
    this.#forgetQuiet();
    return [...this.#series];
  }

  #forgetQuiet(): void {
    const nowMs = this.#nowMs();
    for (const [cluster, figures] of this.#series) {
      if (this.#configured.has(cluster) || cluster === unknownCluster || figures.open > 0) {
        this.#quiet.delete(cluster);
        continue;
      }
      const { finishedCount: finished } = figures;
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
