/** When something was restarting, and how: what excuses a request that fails. */

/** Programs that are disturbed. */
export type Role = "relay" | "agent" | "target";

/** What is done to one: SIGTERM stops it, SIGKILL kills it, SIGSTOP freezes it for a while. */
export type Action = "stopped" | "killed" | "frozen";

/** What was done to which program. */
export type DisturbanceKind = `${Role} ${Action}`;

interface Disturbance {
  readonly kind: DisturbanceKind;
  readonly clusters: readonly string[];
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
  #longestRecoveryMs = 0;

  /** How many there were. */
  get count(): number {
    return this.#all.length;
  }

  /** The longest time in which requests did not pass yet although nothing was disturbed any more. */
  get longestRecoveryMs(): number {
    return this.#longestRecoveryMs;
  }

  /** Notes how long it took until requests passed again. */
  recovered(afterMs: number): void {
    this.#longestRecoveryMs = Math.max(this.#longestRecoveryMs, afterMs);
  }

  /** How often each kind happened, in a few words. */
  summary(): string {
    const counts = Map.groupBy(this.#all, ({ kind }) => kind);
    return [...counts].map(([kind, ones]) => `${kind} ${ones.length}`).toSorted().join(", ");
  }

  /** Notes that one begins; the returned function notes that all is well again. */
  begin(clusters: readonly string[], kind: DisturbanceKind): () => void {
    const disturbance = { kind, clusters, fromMs: performance.now(), toMs: Infinity };
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
      .filter((one) => one.clusters.includes(cluster) && one.fromMs <= toMs && one.toMs >= fromMs)
      .map(({ kind }) => kind);
  }
}
