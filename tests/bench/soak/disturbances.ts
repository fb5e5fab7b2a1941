/** When something was restarting, and how: what excuses a request that fails. */

/** What was done to a cluster's agent or target: SIGTERM stops it, SIGKILL kills it. */
export type DisturbanceKind = "agent stopped" | "agent killed" | "target stopped" | "target killed";

interface Disturbance {
  readonly kind: DisturbanceKind;
  readonly cluster: string;
  readonly fromMs: number;
  toMs: number;
}

/**
 * How long after everything is back a failure is still put down to the restart: an answer that was
 * on its way to the client when the restart was over.
 */
const AFTERMATH_MS = 1_000;

/** The record of a soak's restarts. */
export class Disturbances {
  readonly #all: Disturbance[] = [];

  /** How many there were. */
  get count(): number {
    return this.#all.length;
  }

  /** Notes that one begins; the returned function notes that all is well again. */
  begin(cluster: string, kind: DisturbanceKind): () => void {
    const disturbance = { kind, cluster, fromMs: performance.now(), toMs: Infinity };
    this.#all.push(disturbance);
    return () => {
      disturbance.toMs = performance.now() + AFTERMATH_MS;
    };
  }

  /** The kinds of those that touched the cluster within the span. */
  during(
    cluster: string,
    { fromMs, toMs }: { readonly fromMs: number; readonly toMs: number },
  ): DisturbanceKind[] {
    return this.#all
      .filter((one) => one.cluster === cluster && one.fromMs <= toMs && one.toMs >= fromMs)
      .map(({ kind }) => kind);
  }
}
