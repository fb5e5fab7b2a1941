/** What callers may ask of the relay, and of each cluster: requests a second, open ones, bytes. */
import { Counter } from "../../counter.ts";
import { Bandwidth } from "./bandwidth.ts";
import {
  bandwidthLimited,
  clusterBandwidthLimited,
  clusterRateLimited,
  clusterRequestsLimited,
  rateLimited,
  type RelayError,
  requestsLimited,
} from "../errors.ts";
import type { LimitValues } from "../../domain/limits.ts";
import { RateLimit } from "./rate_limit.ts";

/** No bounds at all. */
export const noLimits: LimitValues = { requestsPerSecond: 0, openRequests: 0, bytesPerSecond: 0 };

/** A cluster, as far as its limits go. */
export interface LimitedCluster {
  readonly id: string;
  readonly limits?: Partial<LimitValues> | undefined;
}

/** A request that was let in. */
export interface Permit {
  /** What its bytes have to keep to; empty for nothing. */
  readonly bandwidths: readonly Bandwidth[];
  /** The request is over. A second call changes nothing. */
  release(): void;
}

/** How far bytes may be ahead of their rate before new requests are refused, in milliseconds. */
const maxDebtMs = 2_000;

/** What a scope answers when it is full. */
interface Refusals {
  readonly rate: RelayError;
  readonly requests: RelayError;
  readonly bandwidth: RelayError;
}

const relayRefusals: Refusals = {
  rate: rateLimited,
  requests: requestsLimited,
  bandwidth: bandwidthLimited,
};
const clusterRefusals: Refusals = {
  rate: clusterRateLimited,
  requests: clusterRequestsLimited,
  bandwidth: clusterBandwidthLimited,
};

/** What a request has as long as no limit is set. */
export const unlimited: Permit = { bandwidths: [], release() {} };

/** Lets requests in, or says which limit they met. */
export class Limits {
  readonly #relay: Scope | undefined;
  readonly #clusterDefaults: LimitValues;
  #clusters: ReadonlyMap<string, Partial<LimitValues> | undefined> = new Map();
  /** Nobody has set any limit. */
  #isOff = false;
  readonly #scopes = new Map<string, Scope>();
  readonly #nowMs: () => number;

  /**
   * @param relay Over all clusters together.
   * @param cluster For each cluster that has no values of its own.
   */
  constructor(
    relay: LimitValues,
    cluster: LimitValues,
    nowMs: () => number = () => performance.now(),
  ) {
    this.#nowMs = nowMs;
    this.#relay = isBounded(relay) ? new Scope(relay, relayRefusals, nowMs) : undefined;
    this.#clusterDefaults = cluster;
  }

  /** Says which clusters there are. Values that stay the same go on with what is used of them. */
  useClusters(clusters: readonly LimitedCluster[]): void {
    const known = new Map(clusters.map(({ id, limits }) => [id, limits]));
    for (const id of this.#scopes.keys()) if (!known.has(id)) this.#scopes.delete(id);
    this.#clusters = known;
    this.#isOff = !this.#relay && !isBounded(this.#clusterDefaults) &&
      clusters.every(({ limits }) => limits === undefined);
  }

  /** Whether there is such a cluster. */
  knows(clusterId: string): boolean {
    return this.#clusters.has(clusterId);
  }

  /**
   * Counts a request, if there is room for it.
   *
   * The cluster is asked first: what one cluster's storm is refused costs the others nothing. Names
   * that are no cluster's count for the relay alone, so that they leave nothing behind.
   */
  permit(clusterId: string): Permit | RelayError {
    if (this.#isOff) return unlimited;
    const scopes: Scope[] = [];
    const ofCluster = this.knows(clusterId) && this.#scopeOf(clusterId);
    if (ofCluster) scopes.push(ofCluster);
    if (this.#relay) scopes.push(this.#relay);
    if (scopes.length === 0) return unlimited;
    for (const scope of scopes) {
      const refusal = scope.refusal();
      if (refusal) return refusal;
    }
    return permitOf(scopes);
  }

  #scopeOf(id: string): Scope | undefined {
    const own = this.#clusters.get(id);
    const values = own ? { ...this.#clusterDefaults, ...own } : this.#clusterDefaults;
    if (!isBounded(values)) return undefined;
    const known = this.#scopes.get(id);
    if (known && isSame(known.values, values)) return known;
    const scope = new Scope(values, clusterRefusals, this.#nowMs, known?.open);
    this.#scopes.set(id, scope);
    return scope;
  }
}

/** The bounds of one scope, and how much of them is used. */
class Scope {
  readonly values: LimitValues;
  /** Requests that are open; shared with the scope that replaces this one when values change. */
  readonly open: Counter;
  readonly bandwidth: Bandwidth | undefined;
  readonly #refusals: Refusals;
  readonly #rate: RateLimit;

  constructor(
    values: LimitValues,
    refusals: Refusals,
    nowMs: () => number,
    open = new Counter(),
  ) {
    this.values = values;
    this.open = open;
    this.#refusals = refusals;
    this.#rate = new RateLimit(values.requestsPerSecond, nowMs);
    const { bytesPerSecond } = values;
    this.bandwidth = bytesPerSecond > 0 ? new Bandwidth(bytesPerSecond, nowMs) : undefined;
  }

  /** Why there is no room for one more request, or nothing; then it has been counted as come. */
  refusal(): RelayError | undefined {
    const { openRequests } = this.values;
    if (openRequests > 0 && this.open.count >= openRequests) return this.#refusals.requests;
    const debtMs = this.bandwidth?.debtMs ?? 0;
    if (debtMs > maxDebtMs) return after(this.#refusals.bandwidth, debtMs);
    if (!this.#rate.admits()) return after(this.#refusals.rate, this.#rate.waitMs);
    return undefined;
  }
}

function permitOf(scopes: readonly Scope[]): Permit {
  const places = scopes.map(({ open }) => open.take());
  return {
    bandwidths: scopes.flatMap(({ bandwidth }) => bandwidth ? [bandwidth] : []),
    release() {
      for (const place of places) place.release();
    },
  };
}

function after(error: RelayError, ms: number): RelayError {
  return { ...error, retryAfterSeconds: Math.max(1, Math.ceil(ms / 1000)) };
}

function isBounded(values: LimitValues): boolean {
  return values.requestsPerSecond > 0 || values.openRequests > 0 || values.bytesPerSecond > 0;
}

function isSame(a: LimitValues, b: LimitValues): boolean {
  return a.requestsPerSecond === b.requestsPerSecond && a.openRequests === b.openRequests &&
    a.bytesPerSecond === b.bytesPerSecond;
}
