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
  serviceBandwidthLimited,
  serviceRateLimited,
  serviceRequestsLimited,
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

/** A service, as far as its limits go. */
export interface LimitedService {
  readonly name: string;
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
const serviceRefusals: Refusals = {
  rate: serviceRateLimited,
  requests: serviceRequestsLimited,
  bandwidth: serviceBandwidthLimited,
};

/** What a request has as long as no limit is set. */
export const unlimited: Permit = { bandwidths: [], release() {} };

/** Whose request it is that asks to be let in. */
export interface LimitSubject {
  readonly cluster: string;
  /** Undefined for a request under the cluster's path. */
  readonly service?: string | undefined;
  /** The caller's name; no limit counts callers yet. */
  readonly caller?: string | undefined;
}

/** Lets requests in, or says which limit they met. */
export class Limits {
  readonly #relay: Scope | undefined;
  readonly #clusters: ScopeGroup;
  readonly #services: ScopeGroup;

  /**
   * @param relay Over all clusters together.
   * @param cluster For each cluster that has no values of its own.
   */
  constructor(
    relay: LimitValues,
    cluster: LimitValues,
    nowMs: () => number = () => performance.now(),
  ) {
    this.#relay = isBounded(relay) ? new Scope(relay, relayRefusals, nowMs) : undefined;
    this.#clusters = new ScopeGroup(cluster, clusterRefusals, nowMs);
    this.#services = new ScopeGroup(noLimits, serviceRefusals, nowMs);
  }

  /** Says which clusters there are. Values that stay the same go on with what is used of them. */
  useClusters(clusters: readonly LimitedCluster[]): void {
    this.#clusters.use(clusters.map(({ id, limits }) => [id, limits]));
  }

  /** The same for services. */
  useServices(services: readonly LimitedService[]): void {
    this.#services.use(services.map(({ name, limits }) => [name, limits]));
  }

  /** Whether there is such a cluster. */
  knows(clusterId: string): boolean {
    return this.#clusters.knows(clusterId);
  }

  /**
   * Counts a request, if there is room for it.
   *
   * The narrowest scope is asked first: what one cluster's storm is refused costs the others nothing.
   * Names that are no cluster's count for the relay alone, so that they leave nothing behind.
   */
  permit(subject: LimitSubject): Permit | RelayError {
    const scopes = this.#scopesOf(subject);
    if (scopes.length === 0) return unlimited;
    for (const scope of scopes) {
      const refusal = scope.refusal();
      if (refusal) return refusal;
    }
    return permitOf(scopes);
  }

  #scopesOf({ cluster, service }: LimitSubject): readonly Scope[] {
    if (!this.#relay && this.#clusters.isOff && this.#services.isOff) return noScopes;
    return [
      service === undefined ? undefined : this.#services.of(service),
      this.#clusters.of(cluster),
      this.#relay,
    ].filter((scope) => scope !== undefined);
  }
}

const noScopes: readonly Scope[] = [];

/** Scopes of one kind, by name: those of all clusters, say. */
class ScopeGroup {
  readonly #defaults: LimitValues;
  readonly #refusals: Refusals;
  readonly #nowMs: () => number;
  #own: ReadonlyMap<string, Partial<LimitValues> | undefined> = new Map();
  readonly #scopes = new Map<string, Scope>();
  /** Nobody has set any limit. */
  isOff = true;

  constructor(defaults: LimitValues, refusals: Refusals, nowMs: () => number) {
    this.#defaults = defaults;
    this.#refusals = refusals;
    this.#nowMs = nowMs;
  }

  use(entries: readonly (readonly [name: string, limits: Partial<LimitValues> | undefined])[]) {
    const own = new Map(entries);
    for (const name of this.#scopes.keys()) if (!own.has(name)) this.#scopes.delete(name);
    this.#own = own;
    this.isOff = !isBounded(this.#defaults) && entries.every(([, limits]) => limits === undefined);
  }

  knows(name: string): boolean {
    return this.#own.has(name);
  }

  /** The scope of a name that is known, if it is bounded. */
  of(name: string): Scope | undefined {
    if (this.isOff || !this.knows(name)) return undefined;
    const own = this.#own.get(name);
    const values = own ? { ...this.#defaults, ...own } : this.#defaults;
    if (!isBounded(values)) return undefined;
    const known = this.#scopes.get(name);
    if (known && isSame(known.values, values)) return known;
    const scope = new Scope(values, this.#refusals, this.#nowMs, known?.open);
    this.#scopes.set(name, scope);
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
  const slots = scopes.map(({ open }) => open.acquire());
  return {
    bandwidths: scopes.flatMap(({ bandwidth }) => bandwidth ? [bandwidth] : []),
    release() {
      for (const slot of slots) slot.release();
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
