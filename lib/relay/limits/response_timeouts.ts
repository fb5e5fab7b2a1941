/** How long targets may take for their response heads: one timeout, and others for some clusters. */
import type { Route } from "../route.ts";
import { Deadlines } from "./deadlines.ts";

/** A cluster, as far as this timeout goes. */
export interface TimedCluster {
  readonly id: string;
  /** The timeout in milliseconds; 0 means no limit. If absent, the relay's applies. */
  readonly responseTimeoutMs?: number | undefined;
}

/** Finds the deadlines of a cluster's requests. */
export class ResponseTimeouts {
  readonly #ofRelay: Deadlines;
  #byCluster: ReadonlyMap<string, Deadlines> = new Map();
  /** Clusters with the same timeout share its deadlines, and a reload keeps them. */
  readonly #byMs = new Map<number, Deadlines>();

  /** @param relayMs For clusters without a timeout of their own; 0 is no limit. */
  constructor(relayMs: number) {
    this.#ofRelay = new Deadlines(relayMs);
    this.#byMs.set(relayMs, this.#ofRelay);
  }

  /** Says which clusters there are. Requests that are under way keep the timeout that they began with. */
  useClusters(clusters: readonly TimedCluster[]): void {
    const byCluster = new Map<string, Deadlines>();
    for (const { id, responseTimeoutMs } of clusters) {
      if (responseTimeoutMs !== undefined) byCluster.set(id, this.#deadlines(responseTimeoutMs));
    }
    this.#byCluster = byCluster;
  }

  /** The deadlines of a cluster's requests, known or not. */
  of(clusterId: string): Deadlines {
    return this.#byCluster.get(clusterId) ?? this.#ofRelay;
  }

  /** The deadlines of a route's requests. */
  ofRoute(route: Route): Deadlines {
    if (route.kind === "cluster") return this.of(route.cluster);
    // The relay that has let a service's request in waits for its answer; two clocks would be one too many.
    if (!route.service) return this.#deadlines(0);
    const { responseTimeoutMs } = route.service;
    return responseTimeoutMs === undefined
      ? this.of(route.cluster)
      : this.#deadlines(responseTimeoutMs);
  }

  #deadlines(ms: number): Deadlines {
    const known = this.#byMs.get(ms);
    if (known) return known;
    const deadlines = new Deadlines(ms);
    this.#byMs.set(ms, deadlines);
    return deadlines;
  }
}
